"""The BLAS is chosen once, before mlx, and never in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other platforms have a fast BLAS")


def _said(script: str) -> str:
    done = subprocess.run(  # noqa: S603 (our own script)
        [sys.executable, "-c", f"from semantic_actors.engine import blas\n{script}"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "KMP_BLOCKTIME"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_room_does_not_import_mlx() -> None:
    """Importing the engine room, and loading a BLAS, leave mlx alone: it must come later."""
    script = "import sys; blas.preload(); print([m for m in sys.modules if m.startswith('mlx')])"

    assert _said(script) == "[]\n"


def test_the_first_answer_stands() -> None:
    """A process has one BLAS: later calls repeat what the first found."""
    assert _said("print(blas.preload('off'), '|', blas.preload())").count("by setting") == 2


@linux_only
def test_openmp_threads_do_not_spin() -> None:
    """KMP_BLOCKTIME is 0 before MKL is loaded, unless the operator says otherwise."""
    script = "import os; blas.preload(); print(os.environ['KMP_BLOCKTIME'])"

    assert _said(script) == "0\n"
    assert _said(f"import os; os.environ['KMP_BLOCKTIME'] = '5'\n{script}") == "5\n"


@linux_only
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("print(blas.preload('/no/such/lib.so'))", "/no/such/lib.so cannot be loaded"),
        ("import mlx.core; print(blas.preload())", "before another could be loaded"),
        ("blas._candidates = lambda: (); print(blas.preload())", "pip install mkl"),
    ],
)
def test_what_could_not_be_done_is_said(script: str, sentence: str) -> None:
    """A slow BLAS is never silent."""
    assert sentence in _said(script)

"""The official SDKs' own tests of their APIs: which, and where they come from.

They are in the source distributions on PyPI, of exactly the versions that this project's tests run
with; nothing of them is kept in the tree.
"""

import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parents[2]

DEPENDENCIES: Final = (
    *("pytest", "pytest-asyncio", "pytest-xdist", "rich", "inline-snapshot", "respx"),
    *("dirty-equals", "time-machine", "hypothesis", "importlib-metadata", "packaging"),
    "http-snapshot[httpx]==0.1.9",
)
"""What the tests import, as their own projects ask for it."""


class Suite(msgspec.Struct, frozen=True):
    """The tests of one SDK: its package, files below `tests/api_resources`, what `-k` selects.

    `path` is the base URL's path there; `plugins` are the tests' own.
    """

    package: str
    files: tuple[str, ...]
    path: str = ""
    select: str = ""
    plugins: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version this project is pinned to."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        pins: list[str] = project["tool"]["uv"]["constraint-dependencies"]
        return next(pin for pin in pins if pin.startswith(f"{self.package}==")).split("==")[1]


SUITES: Final = (
    Suite(
        "anthropic",
        ("test_messages.py", "test_models.py", "beta/test_messages.py", "beta/test_models.py"),
        plugins=("tests._alias_httpx",),
    ),
    Suite(
        "openai",
        ("chat/test_completions.py", "test_completions.py", "test_models.py", "test_responses.py"),
        path="/v1",
        select="(create and not embeddings) or (test_models and (list or retrieve))",
    ),
)


def prepare(suite: Suite, cache: Path) -> tuple[Path, Path]:
    """Return the folder of a suite's sources and the Python that can run them.

    What is missing is fetched from PyPI. Raises `CalledProcessError`.
    """
    name = f"{suite.package}-{suite.version}"
    sources, place = cache / name, cache / f"{name}-venv"
    python = place / "bin" / "python"
    if not python.exists():
        sys.stdout.write(f"installing {name} and its tests in {cache}\n")
        sdk = f"{suite.package}[aiohttp]=={suite.version}"
        options = ("--quiet", "--no-config")
        _run("uv", "venv", *options, "--clear", "--seed", "--python", sys.executable, place)
        _run("uv", "pip", "install", *options, "--python", place, sdk, *DEPENDENCIES)
    if not sources.exists():
        _fetch(name.replace("-", "=="), suite.package, python, cache)
    return sources, python


def _fetch(requirement: str, package: str, python: Path, cache: Path) -> None:
    """Download a source distribution and unpack it."""
    options = ("--quiet", "--no-deps", "--no-binary", package, "--dest", cache)
    _run(python, "-m", "pip", "download", *options, requirement)
    archive = cache / f"{requirement.replace('==', '-')}.tar.gz"
    with tarfile.open(archive) as tar:
        tar.extractall(cache, filter="data")


def _run(*command: str | Path) -> None:
    subprocess.run(tuple(map(str, command)), check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (fixed commands)

"""The last resort ends a stuck process, and only that."""

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from semantic_actors.engine import EXIT_STUCK, Watchdog

STUCK = """
    import asyncio, threading, time
    from semantic_actors.engine import EngineThread, FakeBackend, Plan, Watchdog

    class Stuck(FakeBackend):
        def launch(self, plan, collect_last=None):
            return threading.Event().wait

    async def main() -> None:
        engine = EngineThread(Stuck, asyncio.get_running_loop())
        await engine.start()
        Watchdog(lambda: engine.busy_since, time.monotonic, {step}, 60.0).start()
        engine.attach(print)
        engine.submit(Plan(1))
        await asyncio.Event().wait()

    asyncio.run(main())
"""

SILENT = """
    import time
    from semantic_actors.engine import Watchdog

    beat = time.monotonic()
    Watchdog(lambda: None, lambda: beat, 60.0, 0.2).start()
    while True:
        pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "reason"), [(STUCK.format(step=0.2), "engine step"), (SILENT, "event loop")]
)
def test_a_stuck_process_ends(script: str, reason: str) -> None:
    """A step or a loop that is stuck ends the process with 70 and one line on stderr."""
    done = subprocess.run(  # noqa: S603 (our own script)
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == EXIT_STUCK
    [line] = done.stderr.splitlines()
    assert reason in line


def _watchdog(busy_since: float | None = None, beat: float = 0.0) -> Watchdog:
    return Watchdog(lambda: busy_since, lambda: beat, 10.0, 5.0)


@pytest.mark.parametrize(
    ("busy_since", "beat", "stuck"),
    [
        (None, 100.0, None),
        (95.0, 100.0, None),
        (89.0, 100.0, "engine step runs for 11.0 s"),
        (None, 94.0, "loop is silent for 6.0 s"),
    ],
)
def test_the_verdict(busy_since: float | None, beat: float, stuck: str | None) -> None:
    """Only what lasts longer than its deadline is stuck."""
    said = _watchdog(busy_since, beat).verdict(now=100.0, awake_since=0.0)

    assert (stuck is None) == (said is None)
    assert stuck is None or stuck in str(said)


def test_time_asleep_counts_for_nothing() -> None:
    """After a machine was suspended everything gets its whole deadline anew."""
    watchdog = _watchdog(busy_since=1.0, beat=1.0)

    assert watchdog.verdict(now=100.0, awake_since=99.0) is None
    assert watchdog.verdict(now=105.0, awake_since=99.0) is not None


def test_a_live_process_is_left_alone() -> None:
    """With steps ending and a beating loop nothing is ended; `stop` ends the thread."""
    codes: list[int] = []
    looked = threading.Event()

    def beat() -> float:
        looked.set()
        return time.monotonic()

    watchdog = Watchdog(lambda: None, beat, 0.2, 0.2, exit=codes.append)
    watchdog.start()

    assert looked.wait(30)
    watchdog.stop()
    assert codes == []
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}

"""The last resort: end the process when a native call or the event loop is stuck.

A stuck call cannot be cured from inside the process; a service manager starts a new one, and
committed state serves the client's retry. So this is a plain thread that needs neither asyncio
nor mlx, and ends the process without running anything else.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Final

EXIT_STUCK: Final = 70
"""Exit code of a process that was ended here."""

_LOOKS_PER_DEADLINE = 8
_STDERR = 2


class Watchdog:
    """Ends the process with `EXIT_STUCK` after one line on stderr.

    `busy_since` gives the `time.monotonic()` at which the running step began, or None; `beat` that
    of the loop's last heartbeat. Deadlines are in seconds. Time in which this thread did not run
    either (a suspended machine, SIGSTOP) counts for nothing. Start it once the model is loaded:
    loading is a long step.
    """

    def __init__(
        self,
        busy_since: Callable[[], float | None],
        beat: Callable[[], float],
        step_deadline_s: float,
        loop_deadline_s: float,
        exit: Callable[[int], object] = os._exit,  # noqa: A002 (it stands in for the real one)
    ) -> None:
        self._busy_since = busy_since
        self._beat = beat
        self._step_deadline_s = step_deadline_s
        self._loop_deadline_s = loop_deadline_s
        self._exit = exit
        self._interval_s = min(step_deadline_s, loop_deadline_s) / _LOOKS_PER_DEADLINE
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Cease to watch; returns when the thread has ended."""
        self._stop.set()
        self._thread.join()

    def verdict(self, now: float, awake_since: float) -> str | None:
        """Say what is stuck at `now`, counting from `awake_since` at the earliest."""
        busy_since = self._busy_since()
        if busy_since is not None:
            step_s = now - max(busy_since, awake_since)
            if step_s > self._step_deadline_s:
                return f"an engine step runs for {step_s:.1f} s"
        silent_s = now - max(self._beat(), awake_since)
        if silent_s > self._loop_deadline_s:
            return f"the event loop is silent for {silent_s:.1f} s"
        return None

    def _run(self) -> None:
        awake_since = looked = time.monotonic()
        while not self._stop.wait(self._interval_s):
            now = time.monotonic()
            if now - looked > self._interval_s * _LOOKS_PER_DEADLINE / 2:
                awake_since = now
            looked = now
            stuck = self.verdict(now, awake_since)
            if stuck is not None:
                os.write(_STDERR, _line(stuck))
                self._exit(EXIT_STUCK)
                return


def _line(stuck: str) -> bytes:
    return f"semantic-actors: {stuck}; exit {EXIT_STUCK}\n".encode()

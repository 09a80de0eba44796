"""The longest gap of the event loop: how late it came back to who was waiting.

A timer measures its own lateness. It is due every few milliseconds while the process works, and
seldom while it does not, so that a daemon at rest stays at rest. What is told is right to within
`WORKING_S`: a gap that begins just after one look is noticed at the next.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Final, Self

import msgspec

from semantic_actors.sessions import Surroundings

WORKING_S: Final = 0.004
"""Between two looks while the process works: the pace at which the benches ask from outside."""

RESTING_S: Final = 0.1

WORK: Final = 0.1
"""Share of a core from which on it counts as work; the looks themselves take a hundredth."""


def settle() -> None:
    """Have the garbage collector look no more at what there is now, once all is loaded.

    A look at the modules and the tokenizer takes 30 ms, in which no other Python runs.
    """
    gc.collect()
    gc.freeze()


class LoopWatch:
    """Looks while it is entered, on the running loop. What else is known is `others`' to tell."""

    def __init__(
        self,
        others: Callable[[], Surroundings] = Surroundings,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._others = others
        self._cpu_s = cpu_s
        self._longest_s = 0.0
        self._looked_at = self._due = 0.0
        self._worked_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._arm(RESTING_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def surroundings(self) -> Surroundings:
        """Add the longest gap since this was asked last."""
        around, longest_s, self._longest_s = self._others(), self._longest_s, 0.0
        counters = {**around.counters, "loop_gap_seconds_max": longest_s}
        return msgspec.structs.replace(around, counters=counters)

    def _look(self) -> None:
        now, worked_s = asyncio.get_running_loop().time(), self._cpu_s()
        self._longest_s = max(self._longest_s, now - self._due)
        works = worked_s - self._worked_s > WORK * (now - self._looked_at)
        self._arm(WORKING_S if works else RESTING_S)

    def _arm(self, interval_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._looked_at, self._worked_s = loop.time(), self._cpu_s()
        self._due = self._looked_at + interval_s
        self._timer = loop.call_at(self._due, self._look)

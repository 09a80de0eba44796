"""How fast the queue moves, for the `Retry-After` of who finds it full.

By Little's law: with n sequences running, each of which stays so many seconds on average, n leave
in that time. Counting departures per second instead would measure how many came, wherever there
was no queue. Times are loop time. Owner: the scheduler.
"""

import math
from collections import deque
from statistics import fmean
from typing import Final

from semantic_actors.domain.ids import SequenceId

DEPARTURES_REMEMBERED: Final = 32

LONGEST_WAIT_S: Final = 60
"""The official SDKs ignore a longer `Retry-After`, and come back at once instead."""


class Turnover:
    """Hears who is admitted and who leaves."""

    def __init__(self) -> None:
        self._since: dict[SequenceId, float] = {}
        self._stays: deque[float] = deque(maxlen=DEPARTURES_REMEMBERED)

    def admitted(self, sequence: SequenceId, now: float) -> None:
        """Note that a sequence runs; once more after it was preempted counts from the first."""
        self._since.setdefault(sequence, now)

    def left(self, sequence: SequenceId, now: float) -> None:
        """Note that a sequence is gone; one that never ran counts for nothing."""
        since = self._since.pop(sequence, None)
        if since is not None:
            self._stays.append(now - since)

    def forget(self, sequence: SequenceId) -> None:
        """Count this one for nothing: it is nobody's turn."""
        self._since.pop(sequence, None)

    def retry_after_s(self, waiting: int, now: float) -> int:
        """Whole seconds until `waiting` sequences and one more have had their turn, if known.

        As long as nobody has left, the longest stay so far stands for all of them.
        """
        oldest = now - min(self._since.values(), default=now)
        stay = fmean(self._stays) if self._stays else max(1.0, oldest)
        running = max(1, len(self._since))
        return min(LONGEST_WAIT_S, max(1, math.ceil(stay * (waiting + 1) / running)))

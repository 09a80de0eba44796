"""A circuit breaker: after some failures in a row nothing is tried for a while, ever longer.

Pure: it is told the time. Idea: Nygard, "Release It!".
"""

from typing import Final

FAILURES: Final = 3
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class Breaker:
    """Closed while things work; open, and `blocked`, after FAILURES failures in a row."""

    def __init__(self) -> None:
        self.reason = ""
        """Why the last attempt failed; empty once one has worked again."""
        self._failures = 0
        self._until = 0.0

    def blocked(self, now: float) -> bool:
        """Whether nothing is to be tried yet."""
        return self._failures >= FAILURES and now < self._until

    def failed(self, now: float, reason: str) -> float:
        """Record a failure, and return the seconds until the next attempt that makes sense."""
        self.reason = reason
        self._failures += 1
        doublings = max(0, self._failures - FAILURES)
        pause_s: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(doublings, 10))
        self._until = now + pause_s
        return pause_s

    def worked(self) -> None:
        """Record that an attempt worked."""
        self.reason = ""
        self._failures = 0

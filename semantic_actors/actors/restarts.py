"""How often, and how soon: OTP's restart intensity with a jittered exponential backoff. Pure."""

import random
from collections import deque


class RestartBudget:
    """At most `intensity` restarts in any `period` seconds."""

    def __init__(
        self,
        intensity: int,
        period: float,
        backoff: tuple[float, float],
        rng: random.Random,
    ) -> None:
        self.intensity = intensity
        self.period = period
        self._first, self._longest = backoff
        self._rng = rng
        self._recent: deque[float] = deque()

    def spend(self, now: float) -> float | None:
        """Spend one restart and return the seconds to pause before it; None if none is left."""
        while self._recent and self._recent[0] <= now - self.period:
            self._recent.popleft()
        if len(self._recent) >= self.intensity:
            return None
        pause = min(self._longest, self._first * 2.0 ** len(self._recent))
        self._recent.append(now)
        return pause * self._rng.uniform(0.5, 1.0)

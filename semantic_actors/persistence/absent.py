"""No store, for a while: what stands in for one that keeps failing.

Nothing is found and nothing is kept; everyone is told so at once, and nobody else is harmed.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from semantic_actors.actors import Actor, ActorStopped
from semantic_actors.persistence.messages import (
    Fetch,
    Fetched,
    InspectStore,
    ListSessions,
    LookUp,
    Recall,
    Reopen,
    Save,
    Saved,
    StoreMessage,
)
from semantic_actors.persistence.statistics import StoreStatistics

FAILURES: Final = 2
"""Crashes of a store within `PERIOD_S` after which there is none for as long again."""

PERIOD_S: Final = 60.0

REASON: Final = "the store has failed too often, and is tried again later"

log = structlog.get_logger(__name__)


class NoStore(Actor[StoreMessage]):
    """Answers as a store that has nothing; leaves after `PERIOD_S`, for the next to come."""

    async def on_start(self) -> None:
        """Say that nothing is kept."""
        log.error("store_absent", seconds=PERIOD_S)
        self.after(PERIOD_S, Reopen())

    async def on_message(self, message: StoreMessage) -> object:
        """Answer whoever waits."""
        with suppress(ActorStopped):
            match message:
                case Save(save=save, reply_to=reply_to):
                    reply_to.post(Saved(save, REASON))
                case Fetch(fetch=fetch, reply_to=reply_to):
                    reply_to.post(Fetched(fetch, (), REASON))
                case LookUp():
                    return 0
                case Recall() | ListSessions():
                    return ()
                case InspectStore():
                    return StoreStatistics(
                        REASON, *(0 for _ in StoreStatistics.__struct_fields__[1:])
                    )
                case Reopen():
                    self.stop()
                case _:
                    pass
        return None


class StoreOrNone:
    """Makes stores, and none where they fail too often."""

    def __init__(
        self,
        make_store: Callable[[], Actor[StoreMessage]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_store = make_store
        self._clock = clock
        self._made: deque[float] = deque(maxlen=FAILURES)

    def __call__(self) -> Actor[StoreMessage]:
        """Make the next; all before it have ended."""
        now = self._clock()
        if len(self._made) == FAILURES and now - self._made[0] < PERIOD_S:
            self._made.clear()
            return NoStore()
        self._made.append(now)
        return self._make_store()

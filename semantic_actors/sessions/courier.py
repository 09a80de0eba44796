"""The courier: carries rows between the store and whoever is no actor.

The store answers by telling; this actor is told, and answers who asked. One lives as long as one
file is on its way.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, assert_never

from semantic_actors.actors import Actor, ActorRef, ActorStopped, ChildSpec, Deferred, Message
from semantic_actors.actors import Request as Asked
from semantic_actors.domain.ids import Principal, TokenIds
from semantic_actors.kv.layout import Rows
from semantic_actors.persistence.messages import Fetch, Fetched, Save, Saved, StoreMessage

_NUMBERS = count(1)


class Bring(Asked[tuple[Rows, ...]], frozen=True):
    """Ask for rows `start..stop` of a path; fewer, or none, if they cannot be had."""

    principal: Principal
    tokens: TokenIds
    start: int
    stop: int


class Put(Asked[str], frozen=True):
    """Have rows of a path stored; the answer is why they are not, or nothing."""

    principal: Principal
    tokens: TokenIds
    rows: Rows


class Arrived(Message, frozen=True):
    """All was carried."""


CourierMessage = Bring | Put | Arrived | Fetched | Saved


class Courier(Actor[CourierMessage]):
    """See the module."""

    def __init__(self, store: ActorRef[StoreMessage]) -> None:
        self._store = store
        self._asked: dict[int, Deferred[Any]] = {}

    async def on_message(self, message: CourierMessage) -> object:
        """Pass on what is asked, and what is answered."""
        match message:
            case Bring() | Put():
                number = next(_NUMBERS)
                self._asked[number] = self.defer()
                self._store.post(self._order(number, message))
            case Fetched(fetch=number, rows=rows):
                self._asked.pop(number).resolve(rows)
            case Saved(save=number, reason=reason):
                self._asked.pop(number).resolve(reason)
            case Arrived():
                self.stop()
            case _:
                assert_never(message)
        return None

    def _order(self, number: int, message: Bring | Put) -> Fetch | Save:
        path = (message.principal, message.tokens)
        if isinstance(message, Bring):
            return Fetch(number, *path, message.start, message.stop, self.ref)
        return Save(number, *path, (message.rows,), self.ref)


@asynccontextmanager
async def courier(
    spawn: Callable[[ChildSpec], ActorRef[CourierMessage]], store: ActorRef[StoreMessage]
) -> AsyncIterator[ActorRef[CourierMessage]]:
    """Have a courier for the `with` block."""
    name = f"courier-{next(_NUMBERS)}"
    actor = spawn(ChildSpec(name, lambda: Courier(store), restart="temporary"))
    try:
        yield actor
    finally:
        with suppress(ActorStopped):
            actor.post(Arrived())

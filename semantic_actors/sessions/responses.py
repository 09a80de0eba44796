"""Responses that can be gone on from by their id: in RAM the last ones, on disk as many as fit.

A response is kept in RAM before it is on disk, so a disk that is slow, broken or off costs what it
would have outlived and nothing else. What it says is for whoever keeps it: here it is bytes.

State: those in RAM, in order of last use. Owner: this object, on the event loop.
"""

from collections import OrderedDict
from contextlib import suppress
from typing import TypeVar

import msgspec

from semantic_actors.actors import ActorError, ActorRef, Request
from semantic_actors.domain.errors import SemanticActorsError, Unavailable
from semantic_actors.domain.ids import Principal, SessionId
from semantic_actors.domain.limits import MAX_RESPONSES, MAX_RESPONSES_BYTES
from semantic_actors.persistence.messages import (
    DropResponse,
    FindResponse,
    KeepResponse,
    StoreMessage,
)

KEEP_TIMEOUT_S = 2.0
"""A store that takes longer is not waited for: until it is done, the response is in RAM only."""

FIND_TIMEOUT_S = 10.0
"""Seconds behind what waits to be written; then the client is told to try again."""

R = TypeVar("R")
Key = tuple[Principal, str]


class _Held(msgspec.Struct, frozen=True):
    session: SessionId
    content: bytes


class Responses:
    """See the module. Without a store all is kept in RAM only."""

    def __init__(self, store: ActorRef[StoreMessage] | None = None) -> None:
        self._store = store
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._size_bytes = 0

    async def keep(
        self, principal: Principal, session: SessionId, response: str, content: bytes
    ) -> None:
        """Keep what was answered in a session; on return it is durable, if it can be."""
        self._hold((principal, response), _Held(session, content))
        if self._store is not None:
            keep = KeepResponse(principal, session, response, content)
            with suppress(ActorError, SemanticActorsError):
                await self._store.ask(keep, timeout=KEEP_TIMEOUT_S)

    async def find(self, principal: Principal, response: str) -> bytes | None:
        """Return what was kept under an id of a principal's. Raises Unavailable."""
        key = (principal, response)
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
            return held.content
        return await self._ask(FindResponse(principal, response))

    async def drop(self, principal: Principal, response: str) -> bool:
        """Forget a response; False if there is none. Raises Unavailable."""
        held = self._let_go((principal, response))
        stored = await self._ask(DropResponse(principal, response))
        return held or bool(stored)

    def forget(self, principal: Principal, session: SessionId) -> None:
        """Forget all of a session that is in RAM; the store forgets with the session."""
        for key, held in list(self._held.items()):
            if (key[0], held.session) == (principal, session):
                self._let_go(key)

    async def _ask(self, request: Request[R | None]) -> R | None:
        if self._store is None:
            return None
        try:
            return await self._store.ask(request, timeout=FIND_TIMEOUT_S)
        except (ActorError, SemanticActorsError) as error:
            message = "what was answered cannot be looked up now"
            raise Unavailable(message, retry_after_s=1) from error

    def _hold(self, key: Key, held: _Held) -> None:
        self._let_go(key)
        if len(held.content) > MAX_RESPONSES_BYTES:
            return
        self._held[key] = held
        self._size_bytes += len(held.content)
        while len(self._held) > MAX_RESPONSES or self._size_bytes > MAX_RESPONSES_BYTES:
            self._let_go(next(iter(self._held)))

    def _let_go(self, key: Key) -> bool:
        held = self._held.pop(key, None)
        if held is not None:
            self._size_bytes -= len(held.content)
        return held is not None

"""The chronicler: what becomes of sessions by the hand of whoever looks after them.

It asks those who know: the directory which actors live, the scheduler whose caches are in RAM, the
store what is on disk. Before what is on disk is changed, the session's actor leaves, so that the
next one recalls what is there then.

State: which sessions were suspended, until they are seen alive again. Owner: this object, on the
event loop.
"""

from collections.abc import AsyncGenerator, Callable, Container
from contextlib import aclosing
from typing import Any, Final, TypeVar

from semantic_actors.actors import ActorRef, ActorStopped, ChildSpec, Request
from semantic_actors.domain.chronicle import (
    Forgotten,
    Resumed,
    SessionCard,
    SessionHistory,
    SessionState,
    Suspended,
    TurnCard,
)
from semantic_actors.domain.errors import InvalidRequest, NotFound, Unavailable
from semantic_actors.domain.ids import Principal, SessionId
from semantic_actors.domain.usage import Miss
from semantic_actors.kv.layout import Layout
from semantic_actors.persistence.catalog import Turn, path_of
from semantic_actors.persistence.messages import (
    ForgetSession,
    ForkSession,
    ListSessions,
    LookUp,
    PinSession,
    Recite,
    RewindSession,
    SessionEntry,
    StoreMessage,
)
from semantic_actors.scheduling import AskResidents, Leave, SchedulerMessage, Warm
from semantic_actors.sessions.directory import Directory, Key
from semantic_actors.sessions.messages import Dismiss, LastMiss
from semantic_actors.sessions.porter import Porter
from semantic_actors.sessions.responses import Responses

ANSWER_S = 2.0
"""Seconds in which an actor says what it knows."""

CATALOG_S = 30.0
"""Seconds for what is looked up or changed on disk, behind all that waits to be written."""

LEAVE_S = 60.0
"""Seconds until caches are stored; then whoever waits is told that they are not yet."""

RESUME_S = 600.0
"""Seconds until a session is back in RAM, computed again if need be."""

_NOTHING_STORED: Final = "this daemon keeps nothing on disk: its disk budget is off"

R = TypeVar("R")


class Chronicler:
    """Implements `Chronicle`; see the module. `identity` and `layout` are the served model's."""

    def __init__(
        self,
        *,
        spawn: Callable[[ChildSpec], ActorRef[Any]],
        directory: Directory,
        scheduler: ActorRef[SchedulerMessage],
        store: ActorRef[StoreMessage] | None,
        responses: Responses | None = None,
        identity: str,
        layout: Layout | None,
    ) -> None:
        self._directory = directory
        self._scheduler = scheduler
        self._store = store
        self._responses = responses or Responses()
        self._porter = None
        if store is not None and layout is not None:
            self._porter = Porter(store, spawn, identity, layout)
        self._row_bytes = layout.row_bytes if layout else 0
        self._suspended: set[Key] = set()

    async def sessions(self, principal: Principal) -> tuple[SessionCard, ...]:
        """See `Chronicle`; those of which nothing is kept yet come first."""
        entries = await self._entries(principal)
        hot = await self._hot()
        living = [name for owner, name in self._directory.actors if owner == principal]
        names = [name for name in reversed(living) if name not in entries] + list(entries)
        cards = [await self._card(principal, name, entries.get(name), hot) for name in names]
        return tuple(cards)

    async def show(self, principal: Principal, session: SessionId) -> SessionHistory:
        """See `Chronicle`."""
        card = await self._present(principal, session)
        turns = await self._turns(principal, session)
        told = tuple(TurnCard(turn.number, turn.path_tokens, turn.at) for turn in turns)
        return SessionHistory(card, told, await self._last_miss(principal, session))

    async def pin(self, principal: Principal, session: SessionId, *, pinned: bool) -> SessionCard:
        """See `Chronicle`."""
        done = await self._change(PinSession(principal, session, pinned))
        if not done:
            raise _unknown(session)
        return await self._present(principal, session)

    async def fork(
        self, principal: Principal, session: SessionId, new: SessionId, turn: int | None
    ) -> SessionCard:
        """See `Chronicle`."""
        conversation = None if turn is None else await self._end_of(principal, session, turn)
        await self._must_be_vacant(principal, new)
        await self._dismiss(principal, new)
        if not await self._change(ForkSession(principal, session, new, conversation)):
            raise _unknown(session)
        return await self._present(principal, new)

    async def rewind(self, principal: Principal, session: SessionId, turn: int) -> SessionCard:
        """See `Chronicle`."""
        conversation = await self._end_of(principal, session, turn)
        await self._dismiss(principal, session)
        if not await self._change(RewindSession(principal, session, conversation)):
            raise _unknown(session)
        return await self._present(principal, session)

    async def suspend(self, principal: Principal, session: SessionId) -> Suspended:
        """See `Chronicle`."""
        if self._store is None:
            raise InvalidRequest(_NOTHING_STORED)
        await self._present(principal, session)
        await self._dismiss(principal, session)
        left = await self._scheduler.ask(Leave(principal, session), timeout=LEAVE_S)
        self._suspended.add((principal, session))
        return Suspended(left.freed_bytes, left.lost_tokens)

    async def resume(self, principal: Principal, session: SessionId) -> Resumed:
        """See `Chronicle`."""
        turns = await self._turns(principal, session)
        if not turns:
            raise _unknown(session)
        path = path_of(turns, turns[-1].number)
        found = await self._scheduler.ask(Warm(principal, session, path), timeout=RESUME_S)
        self._suspended.discard((principal, session))
        return Resumed(len(path), found)

    async def forget(self, principal: Principal, session: SessionId) -> Forgotten:
        """See `Chronicle`."""
        await self._present(principal, session)
        await self._dismiss(principal, session)
        await self._scheduler.ask(Leave(principal, session, stored=False), timeout=LEAVE_S)
        self._suspended.discard((principal, session))
        self._responses.forget(principal, session)
        forget = ForgetSession(principal, session)
        forgotten = await self._ask(forget) if self._store is not None else None
        if forgotten is None:
            return Forgotten(0, 0)
        if forgotten.reason:
            message = f"session {session!r} is still there: {forgotten.reason}"
            raise Unavailable(message, retry_after_s=10)
        return Forgotten(forgotten.freed_bytes, forgotten.kept_tokens * self._row_bytes)

    async def export(self, principal: Principal, session: SessionId) -> AsyncGenerator[bytes]:
        """See `Chronicle`."""
        async with aclosing(self._carrier.pack(principal, session)) as file:
            async for part in file:
                yield part

    async def take_in(
        self, principal: Principal, session: SessionId | None, file: AsyncGenerator[bytes]
    ) -> SessionCard:
        """See `Chronicle`."""
        incoming = await self._carrier.begin(file)
        name = session or incoming.opening.session
        await self._must_be_vacant(principal, name)
        await self._dismiss(principal, name)
        await self._carrier.unpack(incoming, principal, name)
        return await self._present(principal, name)

    # What others know

    async def _present(self, principal: Principal, session: SessionId) -> SessionCard:
        """Return the card of a session that there is. Raises NotFound."""
        entry = (await self._entries(principal)).get(session)
        if entry is None and (principal, session) not in self._directory.actors:
            raise _unknown(session)
        return await self._card(principal, session, entry, await self._hot())

    async def _card(
        self, principal: Principal, name: SessionId, entry: SessionEntry | None, hot: Container[Key]
    ) -> SessionCard:
        turns = await self._turns(principal, name) if entry is not None else ()
        stored = 0
        if turns:
            path = path_of(turns, turns[-1].number)
            stored = await self._ask(LookUp(principal, path))
        return SessionCard(
            name=name,
            state=self._state((principal, name), hot),
            turns=len(turns),
            tokens=turns[-1].path_tokens if turns else 0,
            size_bytes=stored * self._row_bytes,
            used=entry.used if entry else None,
            pinned=entry is not None and entry.pinned,
        )

    def _state(self, key: Key, hot: Container[Key]) -> SessionState:
        if key in hot:
            return "hot"
        return "suspended" if key in self._suspended - self._directory.actors.keys() else "warm"

    async def _hot(self) -> frozenset[Key]:
        return await self._scheduler.ask(AskResidents(), timeout=ANSWER_S)

    async def _entries(self, principal: Principal) -> dict[SessionId, SessionEntry]:
        if self._store is None:
            return {}
        listed = await self._ask(ListSessions(principal))
        return {entry.session: entry for entry in listed}

    async def _turns(self, principal: Principal, session: SessionId) -> tuple[Turn, ...]:
        if self._store is None:
            return ()
        return await self._ask(Recite(principal, session)) or ()

    async def _end_of(self, principal: Principal, session: SessionId, number: int) -> bytes:
        """Return the digest of the conversation that a turn ends. Raises NotFound."""
        turns = await self._turns(principal, session)
        if not turns:
            raise _unknown(session)
        for turn in turns:
            if turn.number == number:
                return turn.conversation
        message = f"session {session!r} has no turn {number}: its last is {turns[-1].number}"
        raise NotFound(message)

    async def _must_be_vacant(self, principal: Principal, session: SessionId) -> None:
        if session in await self._entries(principal):
            message = f"there is a session {session!r} already"
            raise InvalidRequest(message)

    async def _last_miss(self, principal: Principal, session: SessionId) -> Miss | None:
        actor = self._directory.actors.get((principal, session))
        try:
            return await actor.ask(LastMiss(), timeout=ANSWER_S) if actor else None
        except ActorStopped:
            return None

    async def _dismiss(self, principal: Principal, session: SessionId) -> None:
        """Have a session's actor leave, if there is one. Raises Unavailable if a turn is open."""
        actor = self._directory.actors.get((principal, session))
        try:
            dismissed = actor is None or await actor.ask(Dismiss(), timeout=ANSWER_S)
        except ActorStopped:
            return
        if not dismissed:
            message = f"a turn of session {session!r} is open"
            raise Unavailable(message, retry_after_s=1)

    # What others do

    @property
    def _carrier(self) -> Porter:
        if self._porter is None:
            raise InvalidRequest(_NOTHING_STORED)
        return self._porter

    async def _change(self, request: Request[bool | None]) -> bool:
        done = await self._ask(request)
        if done is None:
            message = "the catalog on disk cannot be changed now: see the daemon's log"
            raise Unavailable(message, retry_after_s=10)
        return done

    async def _ask(self, request: Request[R]) -> R:
        if self._store is None:
            raise InvalidRequest(_NOTHING_STORED)
        return await self._store.ask(request, timeout=CATALOG_S)


def _unknown(session: SessionId) -> NotFound:
    return NotFound(f"there is no session {session!r}")

"""What is told and asked of sessions.

Lives on the loop; the catalog is asked on the writing thread, in the order of the messages.
"""

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar, assert_never

from semantic_actors.domain.ids import TokenIds
from semantic_actors.kv.blocks import BLOCK_TOKENS, Trail, unpack
from semantic_actors.persistence.archive import Archive
from semantic_actors.persistence.catalog import Answer, SessionKey, encode, key_of, session_of
from semantic_actors.persistence.inventory import Inventory
from semantic_actors.persistence.messages import (
    ForgetSession,
    Forgotten,
    ForkSession,
    ListSessions,
    OneSessionMessage,
    PinSession,
    Recall,
    Recognise,
    Remember,
    RewindSession,
    SessionEntry,
    SessionsMessage,
    ShowSession,
    TurnEntry,
    WalkBack,
)
from semantic_actors.persistence.writer import Part, Writer

P = ParamSpec("P")
T = TypeVar("T")


class Clerk:
    """See the module."""

    def __init__(
        self, archive: Archive, inventory: Inventory, writer: Writer, now: Callable[[], float]
    ) -> None:
        self._archive = archive
        self._inventory = inventory
        self._writer = writer
        self._now = now

    async def answer(self, message: SessionsMessage) -> object:
        """Do what a message says and return its answer. Raises OSError, CatalogDamaged."""
        match message:
            case Remember():
                await self._remember(message)
                return None
            case Recall(principal=principal, session=session):
                turns = await self._ask(self._archive.turns, key_of(principal, session))
                return tuple((turn.conversation, unpack(turn.answer)) for turn in turns)
            case Recognise(principal=principal, conversations=conversations):
                return await self._ask(self._archive.recognise, encode(principal), conversations)
            case ListSessions(principal=principal):
                return await self._list(None if principal is None else encode(principal))
            case _:
                return await self._about(key_of(message.principal, message.session), message)

    async def _about(self, key: SessionKey, message: OneSessionMessage) -> object:
        match message:
            case ShowSession():
                return await self._show(key)
            case WalkBack(conversation=conversation):
                return await self._ask(self._archive.path, key, conversation)
            case PinSession(pinned=pinned):
                return await self._pin(key, pinned=pinned)
            case RewindSession(conversation=conversation):
                return await self._rewind(key, conversation)
            case ForkSession(principal=principal, into=into, conversation=conversation):
                return await self._ask(
                    self._archive.fork, key, key_of(principal, into), conversation
                )
            case ForgetSession():
                return await self._forget(key)
            case _:
                assert_never(message)

    async def _remember(self, message: Remember) -> None:
        key = key_of(message.principal, message.session)
        answer = Answer(message.conversation, message.parent, message.answer, message.tokens)
        await self._ask(self._archive.remember, key, answer, self._now())
        await self._follow(key)

    async def _list(self, principal: bytes | None) -> tuple[SessionEntry, ...]:
        sessions = await self._ask(self._archive.sessions, principal)
        return tuple(
            SessionEntry(
                principal=one.key.principal.decode("utf-8", "surrogatepass"),
                session=session_of(one.key),
                created=one.created,
                used=one.used,
                pinned=one.pinned,
                turns=one.turns,
            )
            for one in sessions
        )

    async def _show(self, key: SessionKey) -> tuple[TurnEntry, ...]:
        walked = await self._ask(self._archive.walk, key)
        return tuple(
            TurnEntry(
                number=turn.number,
                conversation=turn.conversation,
                parent=turn.parent,
                at=turn.at,
                answer_tokens=len(unpack(turn.answer)),
                path_tokens=len(path),
                stored_tokens=self._reach(key, path),
            )
            for turn, path in walked
        )

    async def _pin(self, key: SessionKey, *, pinned: bool) -> bool:
        known = await self._ask(self._archive.pin, key, pinned=pinned)
        if known and pinned:
            self._inventory.pinned[key] = ()
            await self._follow(key)
        else:
            self._inventory.pinned.pop(key, None)
        return known

    async def _rewind(self, key: SessionKey, conversation: bytes) -> bool:
        known = await self._ask(self._archive.rewind, key, conversation)
        await self._follow(key)
        return known

    async def _forget(self, key: SessionKey) -> Forgotten | None:
        """Remove a session and what no other one holds."""
        private = await self._ask(self._archive.private, key)
        if private is None:
            return None
        size_bytes = self._inventory.index.size_bytes
        self._inventory.pinned.pop(key, None)
        trimmed: list[Part] = []
        for path, kept in private:
            trimmed += self._doom(self._inventory.trail(key.principal, path), kept)
        forget = partial(self._archive.forget, key)
        reason = await self._writer.commit(trimmed, forget)
        if reason and trimmed:  # others may as well compute a few rows again
            reason = await self._writer.commit([], forget)
        return Forgotten(
            freed_bytes=size_bytes - self._inventory.index.size_bytes,
            kept_tokens=max(kept for _, kept in private),
            reason=reason,
        )

    def _doom(self, trail: Trail, kept: int) -> list[Part]:
        """Doom all of a path beyond `kept`; return what is to be written for the rest to stay.

        A piece that others use up to where their paths part from this one is cut there.
        """
        beyond = self._inventory.index.beyond(trail, kept)
        border = kept // BLOCK_TOKENS * BLOCK_TOKENS
        parts: list[Part] = []
        for extent in self._inventory.index.cover(trail, border, kept):
            if extent.piece.name in beyond:
                piece = trail.piece(extent.first_row, extent.last_row)
                write = partial(self._archive.rewrite, piece, (extent,))
                parts.append((self._archive.sized(piece), write))
        self._inventory.doom(beyond)
        return parts

    async def _follow(self, key: SessionKey) -> None:
        """See to it that a pinned session's pieces are spared, as its paths change."""
        if key in self._inventory.pinned:
            self._inventory.pinned[key] = await self._ask(self._archive.heads, key)

    def _reach(self, key: SessionKey, path: TokenIds) -> int:
        return self._inventory.index.reach(self._inventory.trail(key.principal, path))

    async def _ask(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.call(partial(work, *args, **kwargs))

"""What is told and asked of sessions.

Lives on the loop; the catalog is asked on the writing thread, in the order of the messages.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar, assert_never

from semantic_actors.kv.blocks import BLOCK_TOKENS, Trail, unpack
from semantic_actors.persistence.archive import Archive
from semantic_actors.persistence.catalog import Answer, SessionKey, encode, key_of, session_of
from semantic_actors.persistence.inventory import Inventory
from semantic_actors.persistence.messages import (
    Adopt,
    DropResponse,
    FindResponse,
    ForgetSession,
    Forgotten,
    ForkSession,
    KeepResponse,
    ListSessions,
    OneSessionMessage,
    PinSession,
    Recall,
    Recite,
    Recognise,
    Remember,
    ResponseMessage,
    RewindSession,
    SessionEntry,
    SessionsMessage,
)
from semantic_actors.persistence.responses import RESPONSES_SHARE
from semantic_actors.persistence.writer import Part, Writer

MOST_SESSIONS: Final = 16_384
"""Sessions that are remembered, pinned ones besides; each is a row and a small file."""

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
            case KeepResponse() | FindResponse() | DropResponse():
                return await self._answered(message)
            case _:
                return await self._about(key_of(message.principal, message.session), message)

    async def _about(self, key: SessionKey, message: OneSessionMessage) -> object:
        match message:
            case Recite():
                return await self._ask(self._archive.turns, key)
            case Adopt(turns=turns):
                return await self._ask(self._archive.adopt, key, turns)
            case PinSession(pinned=pinned):
                return await self._pin(key, pinned=pinned)
            case RewindSession(conversation=conversation):
                return await self._rewind(key, conversation)
            case ForkSession(principal=principal, into=into, conversation=conversation):
                return await self._ask(
                    self._archive.fork, key, key_of(principal, into), conversation
                )
            case ForgetSession():
                async with self._writer.alone:
                    return await self._forget(key)
            case _:
                assert_never(message)

    async def _answered(self, message: ResponseMessage) -> object:
        responses, response = self._archive.responses, encode(message.response)
        match message:
            case KeepResponse(principal=principal, session=session, content=content):
                key = key_of(principal, session)
                most_bytes = int(self._inventory.budget_bytes * RESPONSES_SHARE)
                keep = partial(responses.keep, now=self._now(), most_bytes=most_bytes)
                return await self._ask(keep, key, response, content)
            case FindResponse(principal=principal):
                return await self._ask(responses.find, encode(principal), response)
            case DropResponse(principal=principal):
                return await self._ask(responses.drop, encode(principal), response)

    async def expire(self) -> None:
        """Forget what was not used for too long. Raises OSError, CatalogDamaged."""
        horizon = self._inventory.horizon(self._now())
        await self._ask(self._archive.responses.expire, horizon)
        await self._ask(self._archive.expire, horizon, MOST_SESSIONS)

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

    async def _pin(self, key: SessionKey, *, pinned: bool) -> bool:
        known = await self._ask(self._archive.pin, key, pinned=pinned)
        if known and pinned:
            self._inventory.pin(key, await self._ask(self._archive.heads, key))
        else:
            self._inventory.unpin(key)
        return known

    async def _rewind(self, key: SessionKey, conversation: bytes) -> bool:
        known = await self._ask(self._archive.rewind, key, conversation)
        await self._follow(key)
        return known

    async def _forget(self, key: SessionKey) -> Forgotten | None:
        """Remove a session and what no other one holds."""
        private = await self._ask(self._archive.private, key)
        if private is None:
            await self._ask(self._archive.responses.forget, key)
            return None
        size_bytes = self._inventory.index.size_bytes
        self._inventory.unpin(key)
        trimmed: list[Part] = []
        for path, kept in private:
            trimmed += self._doom(self._inventory.trail(key.principal, path), kept)
        forget = partial(self._archive.forget, key)
        reason = await self._writer.commit(trimmed, by=forget)
        if reason and trimmed:  # others may as well compute a few rows again
            reason = await self._writer.commit([], by=forget)
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
        if self._inventory.is_pinned(key):
            self._inventory.pin(key, await self._ask(self._archive.heads, key))

    async def _ask(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.call(partial(work, *args, **kwargs))

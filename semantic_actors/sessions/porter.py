"""The porter: packs sessions into files, and takes them in.

Rows are fetched and saved by way of the store, which verifies what it reads and names what it
writes after its owner: so a file has no names in it, and no principal. What is taken in is saved as
it comes, each record verified; it is a session's once all of the file was.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from math import isfinite
from typing import NamedTuple, TypeVar

from semantic_actors.actors import ActorRef, ChildSpec, Request
from semantic_actors.domain.errors import NotFound, Unavailable
from semantic_actors.domain.ids import Principal, SessionId, TokenIds
from semantic_actors.kv.blocks import BLOCK_TOKENS, TOKEN_BYTES
from semantic_actors.kv.layout import Layout, Rows
from semantic_actors.persistence.catalog import Turn, path_of
from semantic_actors.persistence.messages import Adopt, LookUp, Recite, StoreMessage
from semantic_actors.sessions.courier import Bring, CourierMessage, Put, courier
from semantic_actors.sessions.parcel import Doubtful, End, Held, Opening, Packer, Said, Unpacker

STORE_S = 60.0
"""Seconds for the store to read or write a block, behind all that waits."""

MAX_TURNS_BYTES = 1 << 29
"""Tokens of all turns of a file; they are held in memory until its end."""

MAX_NUMBER = 2**31 - 1
MAX_DIGEST_BYTES = 64

R = TypeVar("R")


class Incoming(NamedTuple):
    """A file of which the beginning was read."""

    opening: Opening
    unpacker: Unpacker


class Porter:
    """See the module. `identity` and `layout` are those of the model being served."""

    def __init__(
        self,
        store: ActorRef[StoreMessage],
        spawn: Callable[[ChildSpec], ActorRef[CourierMessage]],
        identity: str,
        layout: Layout,
    ) -> None:
        self._store = store
        self._spawn = spawn
        self._identity = identity
        self._layout = layout

    async def pack(self, principal: Principal, session: SessionId) -> AsyncGenerator[bytes]:
        """Make a file of a session, in parts. What is not stored any more is left out."""
        turns = await self._ask(Recite(principal, session))
        if not turns:
            message = f"there are no turns of session {session!r} on disk"
            raise NotFound(message)
        packer = Packer()
        for part in packer.begin(Opening(self._identity, self._layout, session, len(turns))):
            yield part
        for turn in turns:
            for part in packer.pack(Said(turn)):
                yield part
        async with courier(self._spawn, self._store) as carrying:
            for turn in turns:
                path = path_of(turns, turn.number)
                stored = await self._ask(LookUp(principal, path))
                for bring in _blocks(principal, path, turn.shared, stored):
                    for rows in await carrying.ask(bring, timeout=STORE_S):
                        held = Held(turn.number, rows.start, rows.stop)
                        for part in packer.pack(held, rows.data):
                            yield part
        for part in packer.pack(End()):
            yield part

    async def begin(self, file: AsyncGenerator[bytes]) -> Incoming:
        """Begin to take a file in. Raises Doubtful where it is not for the model being served."""
        unpacker = Unpacker(file, self._layout)
        opening = await unpacker.begin()
        if opening.identity != self._identity:
            why = (
                f"its keys and values are those of {opening.identity!r}, "
                f"the model being served is {self._identity!r}"
            )
            raise Doubtful(why)
        if opening.layout != self._layout:
            why = "its keys and values are of another shape than those of the model being served"
            raise Doubtful(why)
        return Incoming(opening, unpacker)

    async def unpack(self, incoming: Incoming, principal: Principal, session: SessionId) -> None:
        """Take in the rest of a file as a session. Raises Doubtful, and then there is none."""
        turns = _Turns()
        async with courier(self._spawn, self._store) as carrying:
            while True:
                head, data = await incoming.unpacker.record()
                match head:
                    case Said(turn=turn):
                        turns.add(turn)
                    case Held():
                        rows = Rows(head.start, head.stop, data)
                        await _put(carrying, principal, turns.path_to(head), rows)
                    case End():
                        break
                    case Opening():
                        why = "it begins twice"
                        raise Doubtful(why)
        await incoming.unpacker.finish()
        whole = turns.all(incoming.opening.turns)
        if not await self._ask(Adopt(principal, session, whole)):
            message = f"session {session!r} could not be recorded"
            raise Unavailable(message, retry_after_s=10)

    async def _ask(self, request: Request[R]) -> R:
        return await self._store.ask(request, timeout=STORE_S)


class _Turns:
    """The turns of a file, checked as they come: what they say of each other must be true."""

    def __init__(self) -> None:
        self._turns: dict[int, Turn] = {}
        self._bytes = 0
        self._path: tuple[int, TokenIds] = (0, ())

    def add(self, turn: Turn) -> None:
        """Take the next one. Raises Doubtful."""
        before = self._turns.get(turn.base)
        last = next(reversed(self._turns), 0)
        packed = (turn.answer, turn.added)
        self._bytes += sum(map(len, packed))
        if (
            not last < turn.number <= MAX_NUMBER
            or (before is None and turn.base != 0)
            or not 0 <= turn.shared <= (before.path_tokens if before else 0)
            or any(len(tokens) % TOKEN_BYTES for tokens in packed)
            or max(len(turn.conversation), len(turn.parent)) > MAX_DIGEST_BYTES
            or not isfinite(turn.at)
            or self._bytes > MAX_TURNS_BYTES
        ):
            why = f"turn {turn.number} does not go on from those before it"
            raise Doubtful(why)
        self._turns[turn.number] = turn

    def path_to(self, held: Held) -> TokenIds:
        """Return the path that rows are of. Raises Doubtful."""
        if self._path[0] != held.turn:
            self._path = (held.turn, path_of(self._turns.values(), held.turn))
        _, path = self._path
        in_one_block = held.start // BLOCK_TOKENS == (held.stop - 1) // BLOCK_TOKENS
        if not (in_one_block and held.stop <= len(path)):
            why = f"rows {held.start}..{held.stop} are none of turn {held.turn}"
            raise Doubtful(why)
        return path

    def all(self, count: int) -> tuple[Turn, ...]:
        """Return all of them. Raises Doubtful if they are not so many."""
        if len(self._turns) != count:
            why = f"it has {len(self._turns)} turns of {count}"
            raise Doubtful(why)
        return tuple(self._turns.values())


async def _put(
    carrying: ActorRef[CourierMessage], principal: Principal, path: TokenIds, rows: Rows
) -> None:
    reason = await carrying.ask(Put(principal, path, rows), timeout=STORE_S)
    if reason:
        message = f"the file could not be stored: {reason}"
        raise Unavailable(message, retry_after_s=10)


def _blocks(principal: Principal, path: TokenIds, start: int, stop: int) -> Iterator[Bring]:
    """Ask for rows a block at a time, so that no more than one is in memory."""
    while start < stop:
        end = min(stop, (start // BLOCK_TOKENS + 1) * BLOCK_TOKENS)
        yield Bring(principal, path, start, end)
        start = end

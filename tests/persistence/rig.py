"""The stage of the store's tests: rows that can be checked, a store, and somebody who asks it."""

import asyncio
import functools
import hashlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from semantic_actors.actors import Actor, ActorRef, ChildSpec, Message, Request, Supervisor
from semantic_actors.domain.ids import LOCAL, Principal, SessionId, TokenIds
from semantic_actors.kv.blocks import BLOCK_TOKENS
from semantic_actors.kv.layout import DTYPE_BYTES, Layout, Part, Rows
from semantic_actors.persistence import (
    Fetch,
    Fetched,
    Fs,
    InspectStore,
    LookUp,
    Recall,
    Recite,
    Recognise,
    Remember,
    Save,
    Saved,
    Store,
    StoreMessage,
    StoreStatistics,
    open_state,
)
from semantic_actors.persistence.catalog import Turn, path_of

IDENTITY = "model one"
LAYOUT = Layout(
    (
        Part("0.keys", "F16", 2, 3),
        Part("0.values", "F16", 2, 3),
        Part("1.keys", "F32", 1, 2),
        Part("1.values", "BF16", 3, 1),
    )
)
PATIENCE_S = 20.0

R = TypeVar("R")

_numbers = itertools.count(1)


def path(length: int, seed: int = 0) -> TokenIds:
    """Return token ids of a path."""
    return tuple((seed * 7919 + i * 31) % 50_021 for i in range(length))


@functools.lru_cache(maxsize=512)
def truth(tokens: TokenIds, start: int, stop: int, layout: Layout = LAYOUT) -> bytes:
    """Return what rows must be: a digest of all tokens up to each, in every part and head."""
    seeds, running = [], hashlib.sha256()
    for number, token in enumerate(tokens[:stop]):
        running.update(token.to_bytes(4, "little"))
        if number >= start:
            seeds.append(running.digest())
    chunks = []
    for part in layout.parts:
        size = part.width * DTYPE_BYTES[part.dtype]
        for head in range(part.heads):
            key = f"{part.name} {head}".encode()
            for seed in seeds:
                unit = hashlib.sha256(key + seed).digest()
                chunks.append((unit * (size // len(unit) + 1))[:size])
    return b"".join(chunks)


def divided(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Divide rows at the borders of blocks."""
    while start < stop:
        end = min(stop, (start // BLOCK_TOKENS + 1) * BLOCK_TOKENS)
        yield start, end
        start = end


def rows_of(
    tokens: TokenIds, start: int = 0, stop: int | None = None, layout: Layout = LAYOUT
) -> tuple[Rows, ...]:
    """Return true rows of a path."""
    end = len(tokens) if stop is None else stop
    return tuple(Rows(a, b, truth(tokens, a, b, layout)) for a, b in divided(start, end))


class Asker(Actor[Fetched | Saved]):
    """Hears what the store answers."""

    mailbox_capacity = 1024

    def __init__(self) -> None:
        self.heard: deque[Message] = deque()
        self.waiting: dict[int, asyncio.Future[Any]] = {}

    async def on_message(self, message: Fetched | Saved) -> None:
        """Wake who waits for it."""
        number = message.fetch if isinstance(message, Fetched) else message.save
        if number in self.waiting:
            self.waiting.pop(number).set_result(message)
        else:
            self.heard.append(message)


class Client:
    """Speaks with a store as the rest of the daemon does."""

    def __init__(self, store: ActorRef[StoreMessage], asker: Asker) -> None:
        self.store = store
        self.asker = asker

    def begin_save(
        self, tokens: TokenIds, rows: tuple[Rows, ...], principal: Principal = LOCAL
    ) -> "asyncio.Future[Saved]":
        """Tell the store to keep some rows."""
        number, future = self._number()
        self.store.tell(Save(number, principal, tokens, rows, self.asker.ref))
        return future

    async def save(self, tokens: TokenIds, start: int = 0, *, principal: Principal = LOCAL) -> str:
        """Keep the true rows of a path from `start` on; return why not, or nothing."""
        return await self.saved(self.begin_save(tokens, rows_of(tokens, start), principal))

    async def saved(self, saving: "asyncio.Future[Saved]") -> str:
        """Wait for the outcome of a save; return why not, or nothing."""
        saved: Saved = await _patiently(saving)
        return saved.reason

    async def look_up(self, tokens: TokenIds, principal: Principal = LOCAL) -> int:
        """Ask how much of a path is stored."""
        return await self.ask(LookUp(principal, tokens))

    async def paths(
        self, session: str, principal: Principal = LOCAL
    ) -> tuple[tuple[Turn, TokenIds], ...]:
        """Ask for what a session said, oldest first, each turn with the path behind it."""
        turns = await self.ask(Recite(principal, SessionId(session)))
        assert turns is not None, "the catalog failed"
        return tuple((turn, path_of(turns, turn.number)) for turn in turns)

    async def fetch(
        self,
        tokens: TokenIds,
        start: int = 0,
        stop: int | None = None,
        principal: Principal = LOCAL,
    ) -> Fetched:
        """Read rows of a path."""
        number, future = self._number()
        end = len(tokens) if stop is None else stop
        self.store.tell(Fetch(number, principal, tokens, start, end, self.asker.ref))
        fetched: Fetched = await _patiently(future)
        return fetched

    async def correct(
        self,
        tokens: TokenIds,
        start: int = 0,
        principal: Principal = LOCAL,
        layout: Layout = LAYOUT,
    ) -> int:
        """Fetch a path, see that all that came is true, and return the row that it reached."""
        reached = start
        for rows in (await self.fetch(tokens, start, principal=principal)).rows:
            assert rows.start == reached
            assert rows.start // BLOCK_TOKENS == (rows.stop - 1) // BLOCK_TOKENS
            assert truth(tokens, rows.start, rows.stop, layout) == bytes(rows.data)
            reached = rows.stop
        return reached

    def remember(
        self,
        session: str,
        conversation: bytes,
        tokens: TokenIds,
        *,
        parent: bytes = b"",
        answer: TokenIds = (1,),
        principal: Principal = LOCAL,
    ) -> None:
        """Tell the store of a turn."""
        self.store.tell(
            Remember(principal, SessionId(session), conversation, parent, answer, tokens)
        )

    async def recall(
        self, session: str, principal: Principal = LOCAL
    ) -> tuple[tuple[bytes, TokenIds], ...]:
        """Ask what a session said."""
        return await self.ask(Recall(principal, SessionId(session)))

    async def recognise(
        self, *conversations: bytes, principal: Principal = LOCAL
    ) -> SessionId | None:
        """Ask whose conversation it is."""
        return await self.ask(Recognise(principal, conversations))

    async def statistics(self) -> StoreStatistics:
        """Ask for figures."""
        return await self.ask(InspectStore())

    async def is_well(self) -> bool:
        """Ask whether the store works."""
        return (await self.statistics()).degraded == ""

    async def ask(self, request: Request[R]) -> R:
        """Ask the store anything."""
        return await self.store.ask(request, timeout=PATIENCE_S)

    def _number(self) -> "tuple[int, asyncio.Future[Any]]":
        number = next(_numbers)
        future = asyncio.get_running_loop().create_future()
        self.asker.waiting[number] = future
        return number, future


@asynccontextmanager
async def stage(make: Callable[[], Store]) -> AsyncIterator[Client]:
    """Run a store for the `with` block, then drain it and see it leave in order."""
    asker = Asker()
    specs = [ChildSpec("asker", lambda: asker), ChildSpec("store", make, shutdown=30.0)]
    root = Supervisor("root", specs)
    running = asyncio.create_task(root.run())
    try:
        await _patiently(root.started())
        yield Client(root.ref("store"), asker)
        root.drain(asyncio.get_running_loop().time() + PATIENCE_S)
        await _patiently(running)
    finally:
        running.cancel()
        await asyncio.wait({running})


@asynccontextmanager
async def store_at(
    directory: Path, budget_bytes: int = 1 << 30, ttl_s: float | None = None, **more: Any
) -> AsyncIterator[Client]:
    """Run a store in a real directory."""
    identity = more.pop("identity", IDENTITY)
    layout = more.pop("layout", LAYOUT)
    with open_state(directory) as fs:
        opened: Fs = more.pop("wrap", lambda real: real)(fs)
        async with stage(lambda: Store(opened, identity, layout, budget_bytes, ttl_s, **more)) as c:
            yield c


async def eventually(holds: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Ask again and again until something holds."""
    for _ in range(1_000_000):
        if await holds():
            return
    message = "it never held"
    raise AssertionError(message)


async def _patiently(awaitable: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable

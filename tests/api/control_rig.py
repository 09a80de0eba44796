"""A chronicle that follows a script, a control server in front of it, and bare clients."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from semantic_actors.actors import ChildSpec, Supervisor
from semantic_actors.api.control import ControlServer
from semantic_actors.api.control_connection import ControlBounds
from semantic_actors.api.control_socket import AsksForOptions, peer_uid
from semantic_actors.domain.chronicle import (
    Forgotten,
    Resumed,
    SessionCard,
    SessionHistory,
    Suspended,
    TurnCard,
)
from semantic_actors.domain.control import LENGTH, ControlAnswer, frame, read
from semantic_actors.domain.errors import NotFound
from semantic_actors.domain.ids import Principal, SessionId

CARD = SessionCard(
    "planner", "hot", turns=2, tokens=700, size_bytes=5_000, used=1_790_000_000.0, pinned=False
)
FILE = (b"first part, ", b"x" * 100_000, b"last part")


class FakeChronicle:
    """Knows one session, `planner`; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.taken = b""
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()

    async def _ask(self, verb: str, principal: Principal, *rest: object) -> SessionCard:
        self.asked.append((verb, principal, *rest))
        self.begun.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if rest and rest[0] != CARD.name:
            message = f"there is no session {rest[0]!r}"
            raise NotFound(message)
        return CARD

    async def sessions(self, principal: Principal) -> tuple[SessionCard, ...]:
        """List."""
        return (await self._ask("list", principal),)

    async def show(self, principal: Principal, session: SessionId) -> SessionHistory:
        """Show."""
        card = await self._ask("show", principal, session)
        return SessionHistory(card, (TurnCard(1, 300, 1.0), TurnCard(2, 700, 2.0)))

    async def pin(self, principal: Principal, session: SessionId, *, pinned: bool) -> SessionCard:
        """Pin."""
        card = await self._ask("pin", principal, session, pinned)
        return msgspec.structs.replace(card, pinned=pinned)

    async def fork(
        self, principal: Principal, session: SessionId, new: SessionId, turn: int | None
    ) -> SessionCard:
        """Fork."""
        card = await self._ask("fork", principal, session, new, turn)
        return msgspec.structs.replace(card, name=new)

    async def rewind(self, principal: Principal, session: SessionId, turn: int) -> SessionCard:
        """Rewind."""
        return await self._ask("rewind", principal, session, turn)

    async def suspend(self, principal: Principal, session: SessionId) -> Suspended:
        """Suspend."""
        await self._ask("suspend", principal, session)
        return Suspended(freed_bytes=3 * 2**20)

    async def resume(self, principal: Principal, session: SessionId) -> Resumed:
        """Resume."""
        await self._ask("resume", principal, session)
        return Resumed(tokens=700, found=699)

    async def forget(self, principal: Principal, session: SessionId) -> Forgotten:
        """Forget."""
        await self._ask("forget", principal, session)
        return Forgotten(freed_bytes=4_096, kept_bytes=1_024)

    async def export(self, principal: Principal, session: SessionId) -> AsyncGenerator[bytes]:
        """Export."""
        await self._ask("export", principal, session)
        for part in FILE:
            yield part

    async def take_in(
        self, principal: Principal, session: SessionId | None, file: AsyncGenerator[bytes]
    ) -> SessionCard:
        """Import."""
        await self._ask("import", principal)
        self.asked[-1] += (session,)
        async for part in file:
            self.taken += part
            if part.startswith(b"bad"):
                message = "the file is not whole"
                raise NotFound(message)
        return msgspec.structs.replace(CARD, name=session or CARD.name)


@asynccontextmanager
async def serving(
    path: Path,
    chronicle: FakeChronicle,
    bounds: ControlBounds | None = None,
    peer: Callable[[AsksForOptions], int] = peer_uid,
) -> AsyncIterator[Supervisor]:
    """Run a control server for the length of a test."""
    spec = ChildSpec("control", lambda: ControlServer(path, chronicle, bounds, peer))
    root = Supervisor("root", [spec], backoff=(0.001, 0.002))
    running = asyncio.ensure_future(root.run())
    await root.started()
    try:
        yield root
    finally:
        root.drain(asyncio.get_running_loop().time() + 5.0)
        await running


class Client:
    """The other end, which may say anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> ControlAnswer:
        """Read one frame."""
        (length,) = LENGTH.unpack(await self.reader.readexactly(LENGTH.size))
        body = await self.reader.readexactly(length)
        answer: ControlAnswer = read(body, ControlAnswer)
        return answer

    async def ask(self, request: msgspec.Struct) -> ControlAnswer:
        """Send a request and read its answer."""
        self.writer.write(frame(request))
        return await self.answer()

    async def left(self) -> bool:
        """Whether the server closed the connection."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Client]:
    """Open a connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()

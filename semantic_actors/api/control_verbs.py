"""What each request of the control channel has the house do."""

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, Protocol, assert_never

from semantic_actors.domain.chronicle import SessionCard
from semantic_actors.domain.control import (
    Chunk,
    ControlRequest,
    ExportSession,
    ForgetSession,
    ForkSession,
    ImportSession,
    ListSessions,
    PinSession,
    ResumeSession,
    RewindSession,
    ShowSession,
    SuspendSession,
)
from semantic_actors.sessions.chronicle import Chronicle


class Line(Protocol):
    """What comes and goes besides a request and its result."""

    async def send(self, answer: Chunk) -> None:
        """Send a part of a file."""
        ...

    def chunks(self) -> AsyncGenerator[bytes]:
        """Read the parts of a file."""
        ...


async def perform(request: ControlRequest, chronicle: Chronicle, line: Line) -> Any:
    """Do what a request says and return its result."""
    principal = request.principal
    result: Awaitable[Any]
    match request:
        case ListSessions():
            result = chronicle.sessions(principal)
        case ShowSession(session=session):
            result = chronicle.show(principal, session)
        case PinSession(session=session, pinned=pinned):
            result = chronicle.pin(principal, session, pinned=pinned)
        case ForkSession(session=session, new=new, turn=turn):
            result = chronicle.fork(principal, session, new, turn)
        case RewindSession(session=session, turn=turn):
            result = chronicle.rewind(principal, session, turn)
        case SuspendSession(session=session):
            result = chronicle.suspend(principal, session)
        case ResumeSession(session=session):
            result = chronicle.resume(principal, session)
        case ForgetSession(session=session):
            result = chronicle.forget(principal, session)
        case ExportSession() | ImportSession():
            result = _pass_file(request, chronicle, line)
        case _:
            assert_never(request)
    return await result


async def _pass_file(
    request: ExportSession | ImportSession, chronicle: Chronicle, line: Line
) -> SessionCard | None:
    if isinstance(request, ImportSession):
        async with aclosing(line.chunks()) as incoming:
            return await chronicle.take_in(request.principal, request.session, incoming)
    async with aclosing(chronicle.export(request.principal, request.session)) as outgoing:
        async for part in outgoing:
            await line.send(Chunk(part))
    return None

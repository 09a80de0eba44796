"""The control server: a Unix socket on which the daemon's own user looks after it.

Whoever connects is asked of the kernel, not of itself; another user's connection is closed before
a byte of it is read. Requests of one connection are served one after the other; each connection is
an errand of this actor and ends with it.

State: the listening socket and the open connections. It knows verbs, and nothing of what they do.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import structlog

from semantic_actors.actors import Actor, ActorError, ActorStopped, Message, StopReason
from semantic_actors.api.control_connection import ControlBounds, ControlConnection, PeerLeft
from semantic_actors.api.control_socket import AsksForOptions, bind, peer_uid
from semantic_actors.api.control_verbs import perform
from semantic_actors.domain.control import (
    ControlAnswer,
    ControlRequest,
    Failed,
    ImportSession,
    NotUnderstood,
    done,
)
from semantic_actors.domain.errors import SemanticActorsError, Unavailable
from semantic_actors.sessions.chronicle import Chronicle

log = structlog.get_logger(__name__)


class Hung(Message, frozen=True):
    """A connection has ended; with `error` as it never should."""

    control: ClassVar[bool] = True
    error: Exception | None = None


class ControlServer(Actor[Hung]):
    """See the module."""

    def __init__(
        self,
        path: Path,
        chronicle: Chronicle,
        bounds: ControlBounds | None = None,
        peer: Callable[[AsksForOptions], int] = peer_uid,
    ) -> None:
        self._path = path
        self._chronicle = chronicle
        self._bounds = bounds or ControlBounds()
        self._peer = peer
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._connections: set[ControlConnection] = set()

    async def on_start(self) -> None:
        """Listen. Raises SocketRefused."""
        listening = bind(self._path)
        self._inode = self._path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._connected, sock=listening)

    async def on_message(self, message: Hung) -> object:
        """Tell the log of what should not have happened."""
        if message.error is not None:
            log.error("control_connection_failed", error=repr(message.error))
        return None

    async def on_stop(self, reason: StopReason) -> None:
        """Close all, and leave no socket behind; what has another's in its place is another's."""
        del reason
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.abort()
        if self._path.exists() and self._path.stat().st_ino == self._inode:
            self._path.unlink()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = ControlConnection(reader, writer, self._bounds)
        uid = self._peer(writer.get_extra_info("socket"))
        if uid != os.geteuid():
            log.warning("control_peer_refused", uid=uid)
            connection.abort()
        elif len(self._connections) >= self._bounds.max_connections:
            connection.abort()
        else:
            self._connections.add(connection)
            try:
                self.pipe(self._serve(connection), lambda _: Hung(), Hung)
            except ActorStopped:
                connection.abort()

    async def _serve(self, connection: ControlConnection) -> None:
        try:
            await self._converse(connection)
            await connection.close()
        except PeerLeft:
            pass
        finally:
            connection.abort()
            self._connections.discard(connection)

    async def _converse(self, connection: ControlConnection) -> None:
        """Serve requests until one cannot be understood, or nobody is there any more."""
        going_on = True
        while going_on:
            try:
                request = await connection.request()
                answer = await self._answer(request, connection)
            except NotUnderstood as error:
                await connection.send(error.answer)
                return
            await connection.send(answer)
            # What is left of a refused file is not a request.
            going_on = not (isinstance(answer, Failed) and isinstance(request, ImportSession))

    async def _answer(
        self, request: ControlRequest, connection: ControlConnection
    ) -> ControlAnswer:
        verb = request.__struct_config__.tag
        try:
            result = await perform(request, self._chronicle, connection)
        except (PeerLeft, NotUnderstood):
            raise
        except (Unavailable, ActorError) as error:
            return Failed("unavailable", str(error))
        except SemanticActorsError as error:
            return Failed("refused", str(error))
        except Exception:
            log.exception("control_request_failed", verb=verb)
            return Failed("internal", "it failed as it never should: see the daemon's log")
        log.info("control_request_served", verb=verb, principal=request.principal)
        return done(result)

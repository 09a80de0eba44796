"""The whole supervision tree on one screen.

    root                       one_for_one, 3 restarts in 60 s; above it systemd or launchd
    ├─ store       permanent   owns the files; none, where it fails too often
    ├─ scheduler   permanent   an instance is an epoch; owns the KV pool and the engine's attention
    ├─ sessions                one temporary child per agent session; they watch the scheduler
    └─ api         5 in 60 s
       ├─ control  permanent   the socket of the other verbs
       └─ http     permanent   the listener

Started in this order, stopped in reverse. Restarts are per branch: when the scheduler dies, streams
stay open, and the sessions submit again to its successor. The engine thread and the weights belong
to the house, not to an actor, and so outlive them all.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_actors.actors import Actor, ActorRef, ChildSpec, Message, StopReason, Supervisor
from semantic_actors.api import Access, Bounds, ControlServer, HttpServer
from semantic_actors.engine.protocol import Engine
from semantic_actors.persistence import StoreMessage, StoreOrNone
from semantic_actors.scheduling import BatchLimits, Board, Scheduler, SchedulerMessage
from semantic_actors.sessions import Chronicler, Directory, ModelCard, Responses, Surroundings
from semantic_actors.text import Codec

CLOSE_GRACE_S = 2.0
"""Seconds the listener gives open connections when it stops."""


@dataclass(slots=True)
class Address:
    """Where the listener listens; `port` 0 becomes the one that the system gave."""

    host: str
    port: int
    ready: Callable[[str], None]

    def announce(self) -> None:
        """Say once that requests are served."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.ready(f"http://{host}:{self.port}")
        self.ready = lambda _: None


class Listener(Actor[Message]):
    """Keeps the HTTP server up while it lives; it takes no messages.

    However it ends, open streams get their last event before their connections go.
    """

    stop_timeout = 3 * CLOSE_GRACE_S

    def __init__(self, server: HttpServer, address: Address, cut: Callable[[], None]) -> None:
        self._server = server
        self._address = address
        self._cut = cut

    async def on_start(self) -> None:
        """Bind and listen; a free port once chosen is kept over restarts."""
        address = self._address
        address.port = await self._server.start(address.host, address.port)
        address.announce()

    async def on_stop(self, reason: StopReason) -> None:
        """End the streams, close the listener and what is still connected."""
        if reason is not StopReason.CRASHED:
            self._cut()
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_GRACE_S):
                    await self._server.quiet()
        await self._server.stop(CLOSE_GRACE_S)


class House:
    """The tree and the things in it that the daemon talks to."""

    def __init__(
        self,
        *,
        engine: Engine,
        codec: Codec,
        text_thread: Executor,
        model: ModelCard,
        limits: BatchLimits,
        pool_bytes: int,
        access: Access,
        bounds: Bounds,
        address: Address,
        surroundings: Callable[[], Surroundings],
        make_store: Callable[[], Actor[StoreMessage]] | None = None,
        socket: Path | None = None,
    ) -> None:
        board = Board()
        store = [] if make_store is None else [ChildSpec("store", StoreOrNone(make_store))]
        self.root = Supervisor(
            "root",
            [
                *store,
                ChildSpec(
                    "scheduler", lambda: Scheduler(engine, limits, pool_bytes, self.store, board)
                ),
                ChildSpec("sessions", lambda: Supervisor("sessions")),
                ChildSpec("api", self._api),
            ],
        )
        self.store: ActorRef[StoreMessage] | None = self.root.ref("store") if store else None
        self.responses = Responses(self.store)
        self.directory = Directory(
            spawn=self._spawn,
            statistics=self.root.statistics,
            scheduler=self.root.ref("scheduler"),
            store=self.store,
            board=board,
            codec=codec,
            text_thread=text_thread,
            model=model,
            surroundings=surroundings,
        )
        self.scheduler: ActorRef[SchedulerMessage] = self.root.ref("scheduler")
        self.server = HttpServer(self.directory, access, bounds, self.responses)
        self._address = address
        self._socket = socket
        self._info = engine.info

    def _spawn(self, spec: ChildSpec) -> ActorRef[Any]:
        return self.root.branch("sessions").spawn(spec)

    def _api(self) -> Supervisor:
        http = ChildSpec("http", lambda: Listener(self.server, self._address, self.directory.cut))
        return Supervisor("api", [*self._control(), http], intensity=5)

    def _control(self) -> list[ChildSpec]:
        if self._socket is None:
            return []
        path = self._socket
        chronicler = Chronicler(
            spawn=self._spawn,
            directory=self.directory,
            scheduler=self.scheduler,
            store=self.store,
            responses=self.responses,
            identity=self._info.identity,
            layout=self._info.layout,
        )
        return [ChildSpec("control", lambda: ControlServer(path, chronicler))]

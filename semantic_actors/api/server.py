"""The HTTP server: routes, the listening socket, start and stop.

A plain object that owns its sockets and nothing else; whoever supervises it starts and stops it.
Streams are ended by the desk, which fails each turn when it drains, before `stop` is called.
"""

import asyncio
import logging
import socket
from typing import Final

from aiohttp import web

from semantic_actors.api.access import Access
from semantic_actors.api.body import Bodies
from semantic_actors.api.border import Border
from semantic_actors.api.bounds import Bounds
from semantic_actors.api.generating import GeneratingEndpoints
from semantic_actors.api.health import HealthEndpoints
from semantic_actors.api.metrics import HttpMetrics
from semantic_actors.api.models import ModelEndpoints
from semantic_actors.api.responses import ResponsesEndpoints
from semantic_actors.api.responses_history import History
from semantic_actors.sessions.desk import Desk
from semantic_actors.sessions.responses import Responses

_SEND_BUFFER_BYTES: Final = 64 * 2**10
"""The kernel's buffer per connection. By default it holds tens of thousands of tokens, and a
reader that never reads would be noticed that much later."""

_LINGER_S: Final = 2.0
"""Seconds in which the rest of a refused body is thrown away, so that the refusal is read."""


class _WithoutContent(logging.Filter):
    """Keeps out of the log what aiohttp would quote of a request that is not HTTP."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[0] is not None:
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", ()
            record.exc_info = None
        return True


_logger = logging.getLogger(__name__)
_logger.addFilter(_WithoutContent())


class HttpServer:
    """Serves both APIs, health and metrics of one desk."""

    def __init__(
        self,
        desk: Desk,
        access: Access,
        bounds: Bounds | None = None,
        responses: Responses | None = None,
    ) -> None:
        self._access = access
        self._bounds = bounds or Bounds()
        self._desk = desk
        self._responses = responses or Responses()
        self._metrics = HttpMetrics()
        self._border = Border(access, self._bounds, self._metrics)
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen on `host` and return the port, which the system chooses if `port` is 0."""
        self._access.check_bind(host)
        self._runner = web.AppRunner(
            self._application(),
            handle_signals=False,
            handler_cancellation=True,
            access_log=None,
            logger=_logger,
            auto_decompress=False,
            keepalive_timeout=self._bounds.head_deadline_s,
            lingering_time=_LINGER_S,
        )
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, host, port, start_serving=False)
        for listening in self._listener.sockets:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        await self._listener.start_serving()
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def quiet(self) -> None:
        """Wait until no request is being served."""
        await self._border.quiet()

    async def stop(self, grace_s: float) -> None:
        """Stop listening, close idle connections, give the others `grace_s` seconds to end."""
        if self._runner is None or self._listener is None:
            return
        self._listener.close()
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
            # aiohttp waits twice: for the answer, then for its connection. 0 would be forever.
            await self._runner.server.shutdown(max(grace_s, 0.01) / 2)
        # Not wait_closed(): since 3.12 it waits for readers that take what was sent, or never do.
        await self._runner.cleanup()
        self._runner = self._listener = None

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server if self._runner is not None else None
        if server is None or len(server.connections) >= self._bounds.max_connections:
            return _Turnstile()
        return server()

    def _application(self) -> web.Application:
        border, metrics, bodies = self._border, self._metrics, Bodies(self._bounds)
        generating = GeneratingEndpoints(self._desk, self._bounds, bodies)
        history = History(self._responses, bodies, self._bounds.attachments)
        responses = ResponsesEndpoints(self._desk, self._bounds, bodies, history)
        models = ModelEndpoints(self._desk)
        health = HealthEndpoints(self._desk, metrics)
        app = web.Application(middlewares=[border.cross])
        app.on_response_prepare.append(border.stamp)
        app.on_cleanup.append(bodies.close)
        app.add_routes(
            [
                web.post("/v1/messages", generating.messages),
                web.post("/v1/messages/count_tokens", generating.count_tokens),
                web.post("/v1/chat/completions", generating.chat),
                web.post("/v1/completions", generating.completions),
                web.post("/v1/embeddings", generating.embeddings),
                web.post("/v1/responses", responses.create),
                web.post("/v1/responses/input_tokens", responses.count),
                web.post("/v1/responses/compact", responses.compact),
                web.get("/v1/responses/{id:resp_[^/]+}", responses.show),
                web.delete("/v1/responses/{id:resp_[^/]+}", responses.delete),
                web.get("/v1/responses/{id:resp_[^/]+}/input_items", responses.items),
                web.post("/v1/responses/{id:resp_[^/]+}/cancel", responses.cancel),
                web.get("/v1/models", models.index),
                web.get("/v1/models/{id:.+}", models.show),
                web.get("/livez", health.livez),
                web.get("/readyz", health.readyz),
                web.get("/health", health.health),
                web.get("/metrics", health.metrics),
            ]
        )
        return app


class _Turnstile(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()

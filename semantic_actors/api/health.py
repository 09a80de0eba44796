"""How the house is, for probes, people and Prometheus. These paths need no key."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from semantic_actors.api.metrics import HttpMetrics
from semantic_actors.api.wire import document
from semantic_actors.sessions.desk import Desk


class HealthEndpoints:
    """Answers from the desk's own account of itself."""

    def __init__(self, desk: Desk, metrics: HttpMetrics) -> None:
        self._desk = desk
        self._metrics = metrics

    async def livez(self, _: web.Request) -> web.Response:
        """Say that the event loop runs; nothing else is asked."""
        return document({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        """Say whether an answer can be had now; a token is generated if none came out lately."""
        health = await self._desk.health(probe=True)
        status = "ready" if health.ready else "not ready"
        return document(
            {"status": status, "reasons": health.reasons}, status=200 if health.ready else 503
        )

    async def health(self, _: web.Request) -> web.Response:
        """Say in words and numbers how the house is."""
        health = await self._desk.health()
        body = {
            "status": "ready" if health.ready else "not ready",
            "reasons": health.reasons,
            "warnings": health.warnings,
            "model": self._desk.model.name,
            "counters": health.counters,
        }
        return document(body, status=200 if health.ready else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Expose all counters."""
        health = await self._desk.health()
        return web.Response(
            body=self._metrics.expose(health.counters),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

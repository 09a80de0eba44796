"""What probes, people and Prometheus are told."""

import aiohttp
import pytest

from semantic_actors.sessions.desk import Health
from tests.api.fakes import ANSWERING, BODIES, DISAPPOINTMENT, FakeDesk

pytestmark = pytest.mark.asyncio

SICK = Health(ready=False, reasons=("draining", "pool 97 % full"), counters={})


async def test_livez(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Liveness is that the loop runs: the house is not asked."""
    async with client.get("/livez") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})
    assert desk.probes == []


async def test_readyz(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Readiness is proved by a token; a house that is not ready says why."""
    async with client.get("/readyz") as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "ready")
    assert desk.probes == [True]

    desk.house = SICK
    async with client.get("/readyz") as answer:
        expected = {"status": "not ready", "reasons": ["draining", "pool 97 % full"]}
        assert (503, expected) == (answer.status, await answer.json())


async def test_health(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Health is words and counters, without a probe."""
    async with client.get("/health") as answer:
        assert await answer.json() == {
            "status": "ready",
            "reasons": [],
            "warnings": ["memory is low"],
            "model": "pocket",
            "counters": {"waiting": 2, "tokens_total": 7},
        }
    desk.house = SICK
    async with client.get("/health") as answer:
        assert answer.status == 503
    assert desk.probes == [False, False]


async def test_metrics(client: aiohttp.ClientSession) -> None:
    """The house's counters and ours are exposed with their types."""
    async with client.post("/v1/messages", json=BODIES["/v1/messages"]):
        pass
    async with client.get("/metrics") as answer:
        text = await answer.text()
        assert answer.headers["Content-Type"].startswith("text/plain")

    assert "# TYPE semantic_actors_waiting gauge\nsemantic_actors_waiting 2.0\n" in text
    assert "# TYPE semantic_actors_tokens_total counter\nsemantic_actors_tokens_total 7.0\n" in text
    labels = 'method="POST",route="/v1/messages",status="200"'
    assert f"semantic_actors_http_requests_total{{{labels}}} 1.0" in text


async def test_misses_are_counted(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Once per answer, by kind, with what they cost; from the start, so that rates are true."""

    async def lines() -> list[str]:
        async with client.get("/metrics") as answer:
            text = await answer.text()
        prefix = "semantic_actors_prefix_miss"
        return [line for line in text.splitlines() if line.startswith(prefix) and "_total" in line]

    changed, gone, tokens = (
        'semantic_actors_prefix_misses_total{kind="changed"}',
        'semantic_actors_prefix_misses_total{kind="gone"}',
        "semantic_actors_prefix_missed_tokens_total",
    )
    assert await lines() == [f"{changed} 0.0", f"{gone} 0.0", f"{tokens} 0.0"]

    desk.script = DISAPPOINTMENT
    for path in ANSWERING:
        for stream in (False, True):
            async with client.post(path, json=BODIES[path] | {"stream": stream}) as answer:
                await answer.read()

    answers = 2.0 * len(ANSWERING)
    assert await lines() == [f"{changed} {answers}", f"{gone} 0.0", f"{tokens} {5 * answers}"]


async def test_labels_are_bounded(client: aiohttp.ClientSession) -> None:
    """Nothing that a client makes up becomes a label."""
    for secret in ("/canary", "/v1/models/canary", "/livez?canary"):
        async with client.request("PROPFIND", secret), client.get(secret):
            pass

    async with client.get("/metrics") as answer:
        text = await answer.text()
    assert 'method="other",route="unmatched"' in text
    assert "canary" not in text
    assert "PROPFIND" not in text

"""Overload: 200 clients at once against a pocket model with KV memory for eight.

The scene of `tests/e2e/test_overload.py`, which checks what is answered; here it is how fast those
are refused for whom there is no room. The gate holds for the daemon's own account, from a
request's head to the end of its answer: at the client, most of the time is the client's, which
opens 200 connections.

Run: just bench-overload
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp

from bench.report import Gate, Row, arguments, finish, medians, percentile, show
from tests.e2e.daemon import Daemon, eventually, started
from tests.e2e.sse import frames, text_of

CLIENTS: Final = 200
ROOM: Final = 8
"""Sequences that the pool holds: each is charged 4 MiB, a cache of 256 tokens and its spare."""

WAITING: Final = 24
CONFIG: Final = f"""
[memory]
ram_budget = "{4 * ROOM + 1}MiB"
[scheduler]
max_running = 16
max_waiting = {WAITING}
"""

COUNTS: Final = range(3, 43)
"""Clients ask for different answers, some for the same one."""

REFUSED_GATE_MS: Final = 50.0


class Outcome(NamedTuple):
    """What became of one client: `text` if it was answered, `retry_after` if it was refused."""

    asked: str
    status: int
    text: str
    retry_after: str | None
    took_s: float


async def ask(http: aiohttp.ClientSession, asked: str) -> Outcome:
    """Ask for a stream; `took_s` is until its head, or until a refusal was read."""
    body: dict[str, Any] = {
        "model": "any",
        "max_tokens": 150,
        "temperature": 0,
        "stream": True,
        "messages": [{"role": "user", "content": asked}],
    }
    began = time.perf_counter()
    async with http.post("/v1/chat/completions", json=body) as answer:
        took_s = time.perf_counter() - began
        retry_after = answer.headers.get("Retry-After")
        text = ""
        if answer.status == HTTPStatus.OK:
            text = "".join([text_of(frame) async for frame in frames(answer)])
    return Outcome(asked, answer.status, text, retry_after, took_s)


async def storm(url: str, clients: int = CLIENTS) -> list[Outcome]:
    """Let all clients ask at once, each on a connection of its own."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as http:
        asking = (ask(http, f"Count to {COUNTS[i % len(COUNTS)]}.") for i in range(clients))
        return await asyncio.gather(*asking)


async def measured(daemon: Daemon) -> Row:
    """Measure one storm: how many were refused, and how soon, seen from both ends."""
    before = len(daemon.events("request_finished"))
    outcomes = await storm(daemon.url)
    await eventually(daemon.idle)
    statuses = Counter(outcome.status for outcome in outcomes)
    refused = [1e3 * one.took_s for one in outcomes if one.status == HTTPStatus.TOO_MANY_REQUESTS]
    served = [
        1e3 * event["duration_s"]
        for event in daemon.events("request_finished")[before:]
        if event["status"] == HTTPStatus.TOO_MANY_REQUESTS
    ]
    return {
        "answered": statuses[HTTPStatus.OK],
        "refused": len(refused),
        "anything else": CLIENTS - statuses[HTTPStatus.OK] - len(refused),
        "refusal p50 at the client, ms": percentile(refused, 50),
        "refusal p99 at the client, ms": percentile(refused, 99),
        "refusal p50 in the daemon, ms": percentile(served, 50),
        "refusal p99 in the daemon, ms": percentile(served, 99),
    }


async def _rounds(daemon: Daemon, count: int) -> list[Row]:
    return [await measured(daemon) for _ in range(count)]


def main() -> int:
    """Measure in rounds, print a table, return the exit code."""
    options = arguments(__doc__, rounds=5).parse_args()
    with tempfile.TemporaryDirectory() as name:
        config = Path(name, "semantic-actors.toml")
        config.write_text(CONFIG)
        with started(Path(name, "log"), "--config", str(config)) as daemon:
            asyncio.run(_rounds(daemon, 1))
            rounds = asyncio.run(_rounds(daemon, options.rounds))
    row = medians(rounds)
    show(f"{CLIENTS} clients, room for {ROOM}", {k: {"median": v} for k, v in row.items()})
    slowest = "refusal p99 in the daemon, ms"
    gates = [
        Gate("neither answered nor refused", row["anything else"], 0),
        Gate(slowest, row[slowest], REFUSED_GATE_MS),
    ]
    return finish(gates, rounds, options.json)


if __name__ == "__main__":
    sys.exit(main())

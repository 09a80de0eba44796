"""A daemon that is told to leave under load: every stream gets its end, the process exits with 0.

The daemon is so slow that no answer ends by itself before it is cut. SEMANTIC_ACTORS_EXITS says
how often each exit under load is repeated.
"""

import asyncio
import os
import signal
import time
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Starter
from tests.e2e.daemon import Daemon, eventually
from tests.e2e.sse import DONE, Reader

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

EXITS = int(os.environ.get("SEMANTIC_ACTORS_EXITS", "3"))

BUDGET_S = 4.0
GRACE_S = 2.0
"""Seconds beyond the budget for an interpreter to end on a busy machine."""

STEP_S = 0.2
CONFIG = f"[lifecycle]\ndrain_budget = {BUDGET_S}\n[scheduler]\nmax_running = 4\n"
CLAUDE = "/v1/messages"
CHAT = "/v1/chat/completions"
COUNT: dict[str, Any] = {
    "model": "any",
    "max_tokens": 1_000,
    "temperature": 0,
    "messages": [{"role": "user", "content": "Count to 40."}],
}
HELLO: dict[str, Any] = COUNT | {"messages": [{"role": "user", "content": "Hello!"}]}


async def _begin(daemon: Daemon, *paths: str, last: int = 40) -> list[Reader]:
    """Open streams that count to `last` and wait until each has delivered text."""
    body = COUNT | {"messages": [{"role": "user", "content": f"Count to {last}."}]}
    readers = [Reader(daemon.url, path, body) for path in paths]

    async def all_speak() -> bool:
        return all(reader.texts for reader in readers)

    await eventually(all_speak)
    return readers


async def _queue(daemon: Daemon, http: aiohttp.ClientSession) -> tuple[Reader, Any]:
    """Have a stream and a whole answer wait for their turn."""
    stream = Reader(daemon.url, CLAUDE, COUNT)
    whole = asyncio.ensure_future(http.post(CHAT, json=COUNT))

    async def both_wait() -> bool:
        return (await daemon.counters())["waiting"] == 2

    await eventually(both_wait)
    return stream, whole


async def _draining(daemon: Daemon) -> None:
    async def says_so() -> bool:
        status, body = await daemon.health()
        return (status, body["reasons"]) == (503, ["draining"])

    await eventually(says_so)


def _assert_ended(reader: Reader) -> None:
    """The last frame is one that the API knows as a last one, here the error of a cut."""
    assert reader.last is not None
    if reader.last.event is None:
        assert reader.last.data == DONE
    else:
        assert reader.last.event == "error"
        assert reader.last.document["error"]["type"] == "overloaded_error"


async def _assert_refused(answer: aiohttp.ClientResponse, kind: str) -> None:
    body = await answer.json()
    assert (answer.status, body["error"]["type"]) == (503, kind)
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["x-request-id"] == answer.headers["request-id"]


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("exit_", range(EXITS))
async def test_exit_under_load(start: Starter, kind: signal.Signals, exit_: int) -> None:
    """Delivered twice at once, as terminals do: new requests are refused, streams are ended.

    Nobody sees a bare reset, the queued ones included; the exit code is 0 within the budget, and
    no message between actors was lost.
    """
    del exit_
    with start(config=CONFIG, step_s=STEP_S) as daemon:
        async with aiohttp.ClientSession(daemon.url) as http:
            readers = await _begin(daemon, CLAUDE, CHAT, CLAUDE, CHAT)
            queued, whole = await _queue(daemon, http)

            told = time.monotonic()
            daemon.signal(kind, kind)
            await _draining(daemon)
            for path, name in ((CLAUDE, "overloaded_error"), (CHAT, "server_error")):
                async with http.post(path, json=HELLO | {"stream": path == CHAT}) as answer:
                    await _assert_refused(answer, name)
            for reader in (*readers, queued):
                await reader.whole()
                _assert_ended(reader)
            async with await whole as answer:
                await _assert_refused(answer, "server_error")

        assert await daemon.exit_code() == 0
        assert time.monotonic() - told < BUDGET_S + GRACE_S
        assert len(daemon.events("drain_began")) == len(daemon.events("streams_cut")) == 1
        assert [event["dead_letters"] for event in daemon.events("drained")] == [0]
        assert daemon.events("request_failed") == []
        assert "Traceback" not in daemon.log()


async def test_exit_while_idle(start: Starter) -> None:
    """With nobody to wait for, the budget is not used."""
    with start(config="[lifecycle]\ndrain_budget = 60.0\n") as daemon:
        told = time.monotonic()
        daemon.signal(signal.SIGTERM)

        assert await daemon.exit_code() == 0
        assert time.monotonic() - told < 10
        assert daemon.events("streams_cut") == []


async def test_answers_that_can_end_do(start: Starter) -> None:
    """What ends within the first phase is not cut."""
    with start(config="[lifecycle]\ndrain_budget = 60.0\n", step_s=0.05) as daemon:
        readers = await _begin(daemon, CLAUDE, CHAT, last=12)
        daemon.signal(signal.SIGTERM)
        texts = [await reader.whole() for reader in readers]

        assert await daemon.exit_code() == 0
        assert texts[0] == texts[1]
        assert [reader.last.event for reader in readers if reader.last] == ["message_stop", None]
        assert daemon.events("streams_cut") == []


async def test_a_second_signal_hastens(start: Starter) -> None:
    """One of the same kind over a second later is a new one: it cuts what may still take long."""
    with start(config="[lifecycle]\ndrain_budget = 80.0\n", step_s=STEP_S) as daemon:
        readers = await _begin(daemon, CLAUDE, CHAT)
        daemon.signal(signal.SIGTERM)
        told = time.monotonic()
        await _draining(daemon)
        assert daemon.events("streams_cut") == []

        async def a_second_is_over() -> bool:
            return time.monotonic() - told > 1.1

        await eventually(a_second_is_over)
        daemon.signal(signal.SIGTERM)
        for reader in readers:
            await reader.whole()
            _assert_ended(reader)

        assert await daemon.exit_code() == 0
        assert len(daemon.events("streams_cut")) == 1

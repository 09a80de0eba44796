"""The engine dies in the middle of answers, and the answers go on as if nothing had been.

The engine of `faulty.py` raises on SIGUSR1 and hangs on SIGUSR2.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Starter
from tests.e2e.daemon import Daemon, eventually, started
from tests.e2e.sse import DONE, Reader

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

STEP_S = 0.08


def _count(last: int, **how: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Count to {last}."}]
    return {"model": "any", "max_tokens": 50, "temperature": 0, "messages": messages} | how


CLAUDE = "/v1/messages"
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    (CLAUDE, _count(20)),
    (CHAT, _count(21)),
    (CLAUDE, _count(22)),
    (CHAT, _count(23)),
    (CHAT, _count(24, temperature=0.8, seed=2026)),
    (
        TEXT,
        {
            "model": "any",
            "prompt": "Once upon a time",
            "max_tokens": 30,
            "temperature": 0.8,
            "seed": 7,
        },
    ),
)
"""Greedy streams of both APIs, and two that are drawn with a seed."""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Serve over the faulty engine."""
    with started(tmp_path_factory.mktemp("faulty") / "log", step_s=STEP_S) as running:
        yield running


def _open_all(daemon: Daemon) -> list[Reader]:
    return [Reader(daemon.url, path, body) for path, body in ASKED]


async def _progress(readers: list[Reader], deltas: int) -> None:
    """Wait until each stream has delivered so many deltas or has ended."""

    async def made() -> bool:
        return all(len(reader.texts) >= deltas or not reader.open for reader in readers)

    await eventually(made)


async def _kill_engine(daemon: Daemon, restarts: float) -> None:
    """Have the next step raise, and wait for the restart."""
    daemon.signal(signal.SIGUSR1)

    async def restarted() -> bool:
        return (await daemon.counters()).get("restarts_total") == restarts

    await eventually(restarted)


async def test_streams_survive_the_engine(faulty: Daemon) -> None:
    """Twice the engine dies under six open streams; each has the text it has undisturbed.

    Nobody is told: no error, no second beginning, the same last frame.
    """
    calm = _open_all(faulty)
    expected = [await reader.whole() for reader in calm]
    restarts = (await faulty.counters())["restarts_total"]

    readers = _open_all(faulty)
    await _progress(readers, 3)
    assert all(reader.open for reader in readers)
    await _kill_engine(faulty, restarts + 1)
    await _progress(readers, 7)
    assert sum(reader.open for reader in readers) >= 4
    await _kill_engine(faulty, restarts + 2)

    assert [await reader.whole() for reader in readers] == expected
    assert [_end(reader) for reader in readers] == [_end(reader) for reader in calm]
    assert {event["child"] for event in faulty.events("child_crashed")} == {"scheduler"}
    await eventually(faulty.idle)


async def test_the_next_request_after_a_fault_is_served(faulty: Daemon) -> None:
    """A whole answer under way when the engine dies is given whole."""
    path, body = ASKED[0]
    restarts = (await faulty.counters())["restarts_total"]

    async with aiohttp.ClientSession(faulty.url) as http:
        async with http.post(path, json=body) as answer:
            expected = (await answer.json())["content"]
        asking = asyncio.ensure_future(http.post(path, json=body))
        await eventually(lambda: _running(faulty))
        await _kill_engine(faulty, restarts + 1)
        async with await asking as answer:
            assert answer.status == 200
            assert (await answer.json())["content"] == expected


async def test_a_hanging_engine_ends_the_process(start: Starter) -> None:
    """A step that never returns: exit code 70 soon after the step deadline, and a line says why."""
    config = "[lifecycle]\nstep_deadline = 2.0\n"
    with start(config=config, step_s=STEP_S) as daemon:
        reader = Reader(daemon.url, *ASKED[0])
        await _progress([reader], 2)
        told = time.monotonic()
        daemon.signal(signal.SIGUSR2)

        assert await daemon.exit_code() == 70
        assert time.monotonic() - told < 15
        assert "an engine step runs for" in daemon.log()
        with pytest.raises(aiohttp.ClientError):
            await reader.whole()


async def test_a_hanging_engine_does_not_outlast_a_drain(start: Starter) -> None:
    """Told to leave over a step that never returns, the process still ends, with exit code 70."""
    config = "[lifecycle]\ndrain_budget = 2.0\n"
    with start(config=config, step_s=STEP_S) as daemon:
        reader = Reader(daemon.url, *ASKED[0])
        await _progress([reader], 2)
        daemon.signal(signal.SIGUSR2, signal.SIGTERM)
        await reader.whole()

        assert await daemon.exit_code() == 70
        assert reader.last is not None
        assert reader.last.event == "error"


async def _running(daemon: Daemon) -> bool:
    return (await daemon.counters()).get("running") == 1


def _end(reader: Reader) -> str:
    """Say how the stream ended, without ids and times."""
    assert reader.last is not None
    return DONE if reader.last.data == DONE else reader.last.document["type"]

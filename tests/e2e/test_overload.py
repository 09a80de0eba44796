"""Many times more clients than there is room for: some are answered, the others refused at once.

How fast that is: `bench/overload.py`, which has the scene.
"""

from collections import Counter

import aiohttp
import psutil
import pytest

from bench.overload import CLIENTS, CONFIG, ROOM, WAITING, Outcome, ask, storm
from tests.e2e.conftest import Starter
from tests.e2e.daemon import Daemon, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

LONGEST_WAIT_S = 60
"""The official SDKs ignore a longer `Retry-After`."""

GROWTH_BYTES = 64 * 2**20
"""What an allocator may keep of a storm: twice the pool."""


async def test_a_storm(start: Starter) -> None:
    """200 clients at once, room for 8: no 5xx, and nothing of it is left afterwards.

    Who is refused is told in whole seconds when to come back. Who is answered gets the words that
    the same prompt gets alone. A second storm finds what the first one found: the pool unpinned
    and within its budget, and a process that has not grown.
    """
    with start(config=CONFIG) as daemon:
        await _storm(daemon)
        resident_bytes = await _resident(daemon)

        await _storm(daemon)

        assert await _resident(daemon) - resident_bytes < GROWTH_BYTES
        assert (await daemon.counters())["restarts_total"] == 0
        assert daemon.events("request_failed") == []


async def _storm(daemon: Daemon) -> None:
    outcomes = await storm(daemon.url)

    statuses = Counter(outcome.status for outcome in outcomes)
    assert set(statuses) == {200, 429}, statuses
    assert statuses.total() == CLIENTS
    assert statuses[200] >= ROOM + WAITING
    for outcome in outcomes:
        if outcome.status == 429:
            assert outcome.retry_after is not None
            assert 1 <= int(outcome.retry_after) <= LONGEST_WAIT_S
    await _assert_baseline(daemon)
    await _assert_as_alone(daemon, [one for one in outcomes if one.status == 200])


async def _assert_baseline(daemon: Daemon) -> None:
    await eventually(daemon.idle)
    counters = await daemon.counters()
    assert counters["pool_pinned_bytes"] == 0
    assert counters["pool_used_bytes"] <= counters["pool_budget_bytes"]


async def _assert_as_alone(daemon: Daemon, answered: list[Outcome]) -> None:
    async with aiohttp.ClientSession(daemon.url) as http:
        alone = {one.asked: (await ask(http, one.asked)).text for one in answered}
    assert {one.text for one in answered} != {""}
    assert [(one.asked, alone[one.asked]) for one in answered] == [
        (one.asked, one.text) for one in answered
    ]
    await eventually(daemon.idle)


async def _resident(daemon: Daemon) -> int:
    resident: int = psutil.Process(daemon.process.pid).memory_info().rss
    return resident

"""Killed at any instant, a daemon is merely a smaller cache: what was committed is there, and true.

SEMANTIC_ACTORS_CRASHES says how many kills there are. Three of four hit a process that runs the
store alone, with made-up rows and at full speed, so that most of them fall into a write; the others
hit the real daemon, among several sessions that are written and restored. A kill does not test what
is left of unsynced writes, for the system keeps those: that is `tests/persistence/test_faults.py`.
"""

import asyncio
import math
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import anthropic
import psutil
import pytest
from structlog.testing import capture_logs

from tests.e2e.audit import Found, audit, temporary_files
from tests.e2e.clients import open_claude
from tests.e2e.conftest import Starter
from tests.e2e.daemon import Daemon
from tests.e2e.promises import ALARMS, Promised, kill_store
from tests.e2e.storm import Agent, on_disk
from tests.e2e.victim import AMPLE, LAYOUT
from tests.persistence.rig import store_at

CRASHES = int(os.environ.get("SEMANTIC_ACTORS_CRASHES", "8"))
OF_DAEMON = max(1, CRASHES // 4)
OF_STORE = CRASHES - OF_DAEMON
LIFE = min(10, OF_STORE // 2)
"""Kills of one store's directory, one after the other."""

SMALL = 16_000_000
"""A budget in bytes for which pieces leave all the time."""

LIVES = 5
"""Kills of one daemon's directory."""

START_S = 5.0
"""Seconds until the ready line; of work, where others keep the machine busy."""

TALK_S = 1.5
"""Seconds after which a daemon is killed, at most."""

DRAINING = 0.25
"""Part of the daemons that are told to leave before, and DRAIN_S how long before, at most."""

DRAIN_S = 0.4

LONGEST_S = 0.4
"""Seconds after which a store is killed, at most; it opens within a few hundredths."""


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Count what was done, and tell it at the end."""
    counted: Counter[str] = Counter()
    yield counted
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        print(*(f"\n{what}: {number:,}" for what, number in sorted(counted.items())))  # noqa: T201


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("life", range(math.ceil(OF_STORE / LIFE)))
async def test_what_a_killed_store_promised_is_there(
    tmp_path: Path, tally: Counter[str], life: int
) -> None:
    """Whenever it is killed: every file under a final name is true, every committed piece has one.

    What was being written is swept, nothing is set aside, and what was told to be durable is found
    again, unless it had to leave for the budget; what was told to be forgotten is not.
    """
    rng = random.Random(life)
    budget_bytes = (AMPLE, SMALL)[life % 2]
    promised = Promised()
    for seed in range(life * LIFE, min(OF_STORE, (life + 1) * LIFE)):
        print(f"{life=} {seed=} {budget_bytes=}")  # noqa: T201 (shown where it fails)
        for promise in kill_store(tmp_path, seed, budget_bytes, rng.uniform(0, LONGEST_S)):
            promised.hear(promise)
            tally[f"store: {type(promise).__name__.lower()}"] += 1
        found = audit(tmp_path / "state")
        _count(tally, "store", found)
        if rng.random() < 0.7:  # else the next one has to recover, and may be killed at it
            await _restart(tmp_path / "state", budget_bytes, found, promised, rng)


async def _restart(
    state: Path, budget_bytes: int, found: Found, promised: Promised, rng: random.Random
) -> None:
    ample = budget_bytes == AMPLE
    with capture_logs() as logs:
        async with store_at(state, budget_bytes, layout=LAYOUT) as client:
            await promised.check(client, rng, ample=ample)
            assert (await client.statistics()).quarantined_total == 0
    assert [line for line in logs if line["event"] in ALARMS] == []
    after = audit(state)
    assert (after.debris, after.temporary) == (0, 0)
    assert after.rows <= found.rows
    assert found.rows == after.rows or not ample


def _count(tally: Counter[str], whose: str, found: Found) -> None:
    tally[f"{whose}: kills"] += 1
    tally[f"{whose}: files verified"] += len(found.files)
    tally[f"{whose}: committed"] += len(found.rows)
    tally[f"{whose}: kills amid a write"] += bool(found.temporary or found.debris)


@pytest.mark.e2e
@pytest.mark.asyncio
@pytest.mark.parametrize("life", range(math.ceil(OF_DAEMON / LIVES)))
async def test_a_killed_daemon_goes_on(
    start: Starter, daemon: Daemon, tmp_path: Path, tally: Counter[str], life: int
) -> None:
    """Killed among sessions that are written and restored, it finds all that it had committed.

    A session that was on disk is recalled from there, and every answer over all these lives is the
    one of a daemon that was never killed.
    """
    rng = random.Random(life)
    state = tmp_path / "state"
    agents = [Agent(100 * life + number, 6, named=number < 3) for number in range(6)]
    known = Agent(100 * life + 99, 8)
    left: Found | None = None
    for kill in range(min(LIVES, OF_DAEMON - life * LIVES)):
        talking = rng.sample(agents, rng.randint(2, 5))
        flags = ("--state-dir", str(state), "--ram-budget", f"{rng.choice((20, 24, 32))}MiB")
        print(f"{life=} {kill=} {flags=} {len(talking)=}")  # noqa: T201 (shown where it fails)
        with start(*flags) as victim:
            async with open_claude(victim.url) as client:
                await _assert_all_is_there(victim, state, left)
                await _recall(victim, client, known)
                await _kill_amid(victim, client, talking, rng)
            assert [alarm for alarm in ALARMS if victim.events(alarm)] == [], victim.log()
        left = audit(state)
        _count(tally, "daemon", left)
    async with open_claude(daemon.url) as client:
        for agent in (known, *agents):
            await agent.check(client)
            tally["daemon: answers compared"] += len(agent.asked)


async def _assert_all_is_there(daemon: Daemon, state: Path, left: Found | None) -> None:
    """What the last one had committed is found, what it was writing is swept, and it was quick."""
    worked = psutil.Process(daemon.process.pid).cpu_times()
    assert min(daemon.took_s, worked.user + worked.system) < START_S
    if left is not None:
        assert (await daemon.counters())["store_pieces"] == len(left.rows)
        assert temporary_files(state) == 0
        assert daemon.events("catalog_rebuilt") == []


async def _recall(daemon: Daemon, client: anthropic.AsyncAnthropic, known: Agent) -> None:
    """Ask for the fact: all but what is new comes from the disk. Wait until that is there, too."""
    before = known.asked[-1].answer if known.asked else None
    said = await known.say(client, f"What is my {known.key}?")
    assert said.text == f"Your {known.key} is {known.value}."
    assert before is None or said.cached >= before.prompt + before.completion - 1
    await on_disk(daemon, said)
    assert (await daemon.counters())["store_quarantined_total"] == 0


async def _kill_amid(
    daemon: Daemon, client: anthropic.AsyncAnthropic, agents: list[Agent], rng: random.Random
) -> None:
    """Have agents talk all at once, and kill the daemon at some instant, or while it drains."""
    talks = [asyncio.ensure_future(agent.talk_on(client)) for agent in agents]
    ended, _ = await asyncio.wait(
        talks, timeout=rng.uniform(0, TALK_S), return_when=asyncio.FIRST_COMPLETED
    )
    assert not ended, [one.result() for one in ended]
    if rng.random() < DRAINING:
        daemon.process.terminate()
        await asyncio.wait(talks, timeout=rng.uniform(0, DRAIN_S))
    daemon.process.kill()
    await daemon.exit_code()
    await asyncio.gather(*talks)

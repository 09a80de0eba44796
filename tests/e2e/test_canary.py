"""Canaries with the real daemon and model: no answer holds what another session was told.

SEMANTIC_ACTORS_TURNS says how many turns there are in all, among 64 sessions at most, all at once,
in a small part of the memory that they would need, and over restarts. The sessions are told values
of the same names, and each answer is to be that of a daemon with memory for all and no disk.
"""

import asyncio
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

import anthropic
import pytest

from tests.e2e.clients import ClaudeTalk, Said, open_claude
from tests.e2e.conftest import Starter
from tests.e2e.daemon import Daemon
from tests.e2e.storm import Agent, small_talk

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

TURNS = int(os.environ.get("SEMANTIC_ACTORS_TURNS", "40"))
SESSIONS = min(64, TURNS // 4)
LIVES = 2
PAST_TURNS = 4
"""Of small talk before each turn."""

VALUE = re.compile(r"\d{4}")
KEYS = {name: f"the secret key of {name}" for name in ("alice", "bob", "carol")}


async def test_no_answer_tells_what_another_session_was_told(
    start: Starter, daemon: Daemon, tmp_path: Path
) -> None:
    """Among eviction, restore and restarts, every answer is that of a daemon without either."""
    flags = ("--state-dir", str(tmp_path / "state"), "--ram-budget", "24MiB")
    agents = [Agent(number, PAST_TURNS, named=number % 2 == 0) for number in range(SESSIONS)]
    restored = 0.0

    for _ in range(LIVES):
        with start(*flags) as small:
            async with open_claude(small.url) as client, asyncio.TaskGroup() as talking:
                for agent in agents:
                    turns = -(-TURNS // SESSIONS // LIVES)
                    talking.create_task(_talk(agent, client, turns))
            counters = await small.counters()
            restored += counters["tokens_restored_total"]
            assert counters["store_quarantined_total"] == 0

    _assert_no_foreign_value(agents)
    async with open_claude(daemon.url) as client:
        for agent in agents:
            await agent.check(client)
    assert restored > 10 * TURNS


async def test_principals_share_nothing_and_their_own_sessions_all(
    start: Starter, tmp_path: Path
) -> None:
    """A long prefix that one has computed is found by its other sessions, and by nobody else's.

    Neither in memory nor, after a restart, on disk, whatever session they say they are.
    """
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text("".join(f"{name}: {key}\n" for name, key in KEYS.items()))
    config = f'[server]\nkeys_file = "{keys}"\n'
    flags = ("--state-dir", str(tmp_path / "state"))

    with start(*flags, config=config) as first:
        cold, warm = [await _ask(first, "alice", name) for name in ("one", "two")]
        other = await _ask(first, "bob", "two")
    with start(*flags, config=config) as second:
        stored = await _ask(second, "alice", "three")
        another = await _ask(second, "carol", "one")

    assert [said.cached for said in (cold, other, another)] == [0, 0, 0]
    assert min(warm.cached, stored.cached) >= 0.95 * cold.prompt
    assert len({said.text for said in (cold, warm, other, stored, another)}) == 1


async def _talk(agent: Agent, client: anthropic.AsyncAnthropic, turns: int) -> None:
    for _ in range(turns):
        await agent.say(client, f"What is my {agent.key}?")


def _assert_no_foreign_value(agents: Sequence[Agent]) -> None:
    values = {agent.value for agent in agents}
    assert len(values) == len(agents)
    for agent in agents:
        for _, _, answer in agent.asked:
            told = set(VALUE.findall(answer.text)) & values
            assert told <= {agent.value}, (agent.number, answer.text)


async def _ask(daemon: Daemon, principal: str, session: str) -> Said:
    """Say something after a past that is the same for all."""
    async with open_claude(daemon.url).copy(api_key=KEYS[principal]) as client:
        talk = ClaudeTalk(client, headers={"X-Session-Id": session})
        talk.recount(small_talk(random.Random(0), 30))
        return await talk.say("Hello!")

"""Files that are not what they were: none is used, each is told of, and all is computed instead."""

import asyncio
import copy
import random
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import anthropic
import pytest

from semantic_actors.persistence.errors import KEPT, Flaw
from semantic_actors.persistence.files import path_of
from semantic_actors.persistence.format import Stored
from tests.e2e.audit import audit
from tests.e2e.clients import Said, open_claude
from tests.e2e.conftest import Starter
from tests.e2e.daemon import Daemon, started
from tests.e2e.damage import HARMS, SECTOR, flip, flip_at
from tests.e2e.storm import Agent, on_disk

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

PAST_TURNS = 16
"""Some 600 tokens before the first question: three blocks."""


class Left(NamedTuple):
    """What a killed daemon has left: its state, who talked to it, and each one's pieces in order.

    The first agent's conversation is nobody else's; the others have some tokens of it.
    """

    state: Path
    agents: tuple[Agent, ...]
    pieces: tuple[tuple[Stored, ...], ...]

    def copy(self, tmp: Path) -> Path:
        """Copy the state, but for sockets."""
        ignored = shutil.ignore_patterns("*.sock")
        return Path(shutil.copytree(self.state, tmp / "state", ignore=ignored))


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Have a daemon write conversations, one for each harm and one more, and kill it."""
    return asyncio.run(_leave(tmp_path_factory.mktemp("left")))


async def _leave(tmp: Path) -> Left:
    state = tmp / "state"
    agents = tuple(Agent(500 + number, PAST_TURNS) for number in range(1 + len(HARMS)))
    names: list[set[str]] = [set()]
    said: list[Said] = []
    with started(tmp / "log", "--state-dir", str(state)) as daemon:
        async with open_claude(daemon.url) as client:
            for agent in agents:
                said.append(await _ask(agent, client))
                await on_disk(daemon, *said)
                names.append({file.stem for file in state.rglob("*.safetensors")})
        daemon.process.kill()
        await daemon.exit_code()
    files = sorted(audit(state).files, key=lambda piece: (piece.depth, piece.start))
    pieces = tuple(
        tuple(piece for piece in files if piece.name.hex() in after - before)
        for before, after in pairwise(names)
    )
    for agent in agents:
        agent.past_turns = 0
    return Left(state, agents, pieces)


async def test_no_damaged_file_is_used(
    start: Starter, daemon: Daemon, left: Left, tmp_path: Path
) -> None:
    """One file of each conversation is harmed: it is known, set aside, and its rows computed.

    What comes before it is used. The answers are those of a daemon that never had the files, and
    what was computed is found by the next one, unless a later version's file has its name.
    """
    state = left.copy(tmp_path)
    sound, *harmed = copy.deepcopy(left.agents)
    victims = [pieces[n % len(pieces)] for n, pieces in enumerate(left.pieces[1:])]
    for victim, harm in zip(victims, HARMS.values(), strict=True):
        harm.do(state / path_of(victim.name))

    with start("--state-dir", str(state)) as restarted:
        async with open_claude(restarted.url) as client:
            await _assert_recalled(sound, client)
            for agent, victim in zip(harmed, victims, strict=True):
                assert (await _ask(agent, client)).cached == victim.first_row, victim
        counters = await restarted.counters()
        told = {event["piece"]: event["reason"] for event in restarted.events("piece_flawed")}

    for victim, harm in zip(victims, HARMS.values(), strict=True):
        assert told[victim.name.hex()].startswith(harm.flaw.value)
    assert len(told) == len(HARMS)
    quarantined = [harm for harm in HARMS.values() if harm.flaw not in KEPT]
    assert counters["store_quarantined_total"] == len(quarantined)
    with start("--state-dir", str(state)) as again:
        async with open_claude(again.url) as client:
            for agent, harm in zip(harmed, HARMS.values(), strict=True):
                if harm.flaw is not Flaw.VERSION:
                    await _assert_recalled(agent, client)
        assert again.events("piece_flawed") == []
    await _check(daemon, sound, *harmed)


def break_catalog(state: Path) -> None:
    """Put noise in place of all that the catalog is made of."""
    for file in state.glob("catalog.sqlite*"):
        file.write_bytes(random.Random(0).randbytes(file.stat().st_size))


def break_log(state: Path) -> None:
    """Lose a sector in the middle of what is committed and not in the catalog's file yet."""
    log = state / "catalog.sqlite-wal"
    content = bytearray(log.read_bytes())
    start = len(content) // 2 // SECTOR * SECTOR
    content[start : start + SECTOR] = bytes(SECTOR)
    log.write_bytes(content)


def break_secret(state: Path) -> None:
    """Flip a bit: all names are others then."""
    flip_at(state / "secret", 7)


def cut_secret(state: Path) -> None:
    """Lose a part: there is a new one then."""
    (state / "secret").write_bytes((state / "secret").read_bytes()[:20])


def break_pieces(state: Path) -> None:
    """Flip a bit of each."""
    for number, file in enumerate(sorted(state.rglob("*.safetensors"))):
        flip(file, random.Random(number))


TOLD: dict[Callable[[Path], None], str] = {
    break_catalog: "catalog_set_aside",
    break_log: "",
    break_secret: "",
    cut_secret: "secret_replaced",
    break_pieces: "piece_flawed",
}
"""What is logged."""


@pytest.mark.parametrize("harm", TOLD, ids=lambda harm: harm.__name__)
async def test_a_damaged_directory_is_served_from(
    start: Starter,
    daemon: Daemon,
    left: Left,
    tmp_path: Path,
    harm: Callable[[Path], None],
) -> None:
    """Whatever else is damaged, no answer changes; what the pieces know themselves is not lost."""
    state = left.copy(tmp_path)
    agents = copy.deepcopy((left.agents[0], left.agents[7], left.agents[-1]))
    harm(state)

    with start("--state-dir", str(state)) as restarted:
        async with open_claude(restarted.url) as client:
            for agent in agents:
                await (_assert_recalled if harm is break_catalog else _ask)(agent, client)
        assert (await restarted.health())[0] == 200
        assert not TOLD[harm] or restarted.events(TOLD[harm]) != []
    await _check(daemon, *agents)


async def _ask(agent: Agent, client: anthropic.AsyncAnthropic) -> Said:
    return await agent.say(client, f"What is my {agent.key}?")


async def _assert_recalled(agent: Agent, client: anthropic.AsyncAnthropic) -> None:
    before = agent.asked[-1].answer
    said = await _ask(agent, client)
    assert said.cached >= before.prompt + before.completion - 1


async def _check(daemon: Daemon, *agents: Agent) -> None:
    async with open_claude(daemon.url) as client:
        for agent in agents:
            await agent.check(client)

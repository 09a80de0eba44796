"""A store that works as fast as it can until it is killed: `victim.py DIRECTORY SEED BUDGET_BYTES`.

Agents save the rows of growing paths, read them back, tell of turns and forget, all at once. What
the store has promised is written to stdout, one line of JSON each, before anything depends on it.
Rows are those of `tests.persistence.rig`, so that who reads them later knows what they must be.
"""

import asyncio
import itertools
import os
import random
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from semantic_actors.domain.ids import LOCAL, SessionId, TokenIds
from semantic_actors.kv.layout import Layout, Part
from semantic_actors.persistence import ForgetSession
from tests.persistence.rig import Client, path, rows_of, store_at

AGENTS = 5
LONGEST = 600
"""Tokens of a path; then a new one begins."""

AMPLE = 1 << 40
"""A budget in bytes for which nothing leaves."""

LAYOUT = Layout((Part("keys", "F16", 2, 256), Part("values", "F16", 1, 512)))


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """The first `length` tokens of a path are durable."""

    path: int
    length: int


class Said(msgspec.Struct, frozen=True, tag="said"):
    """The session of a path has given so many answers."""

    path: int
    turns: int


class Forgetting(msgspec.Struct, frozen=True, tag="forgetting"):
    """A path is about to be forgotten."""

    path: int


class Forgot(msgspec.Struct, frozen=True, tag="forgot"):
    """A path was forgotten."""

    path: int


class Opening(msgspec.Struct, frozen=True, tag="opening"):
    """Work begins."""


Promise = Kept | Said | Forgetting | Forgot | Opening


def session(number: int) -> str:
    """Name the session of a path."""
    return f"session {number}"


def conversation(number: int, turn: int) -> bytes:
    """Name what a turn leads to."""
    return f"{number} {turn}".encode()


class Agent:
    """Works on one path after the other, each of a number that no other one has."""

    def __init__(self, client: Client, numbers: Iterable[int], seed: int, *, ample: bool) -> None:
        self._client = client
        self._numbers = numbers
        self._rng = random.Random(seed)
        self._ample = ample

    async def work(self) -> None:
        """Go on for ever."""
        for number in self._numbers:
            await self._grow(number)
            if self._rng.random() < 0.3:
                await self._forget(number)

    async def _grow(self, number: int) -> None:
        length = turns = 0
        while length < LONGEST:
            length += self._rng.randrange(1, 300)
            turns += 1
            await self._save(number, path(length, number))
            await self._tell(number, turns, path(length, number))

    async def _save(self, number: int, tokens: TokenIds) -> None:
        start = await self._client.look_up(tokens)
        rows = rows_of(tokens, start, layout=LAYOUT)
        reason = await self._client.saved(self._client.begin_save(tokens, rows))
        if not reason:
            promise(Kept(number, len(tokens)))
        start = self._rng.randrange(len(tokens))
        reached = await self._client.correct(tokens, start, layout=LAYOUT)
        if self._ample:
            assert (reason, reached) == ("", len(tokens)), (number, reason, reached, tokens)

    async def _tell(self, number: int, turn: int, tokens: TokenIds) -> None:
        before, after = conversation(number, turn - 1), conversation(number, turn)
        self._client.remember(session(number), after, tokens, parent=before)
        told = await self._client.recall(session(number))
        assert len(told) == turn, (number, turn, told)
        promise(Said(number, turn))

    async def _forget(self, number: int) -> None:
        promise(Forgetting(number))
        forgotten = await self._client.ask(ForgetSession(LOCAL, SessionId(session(number))))
        assert forgotten is not None
        assert forgotten.reason == ""
        promise(Forgot(number))


def promise(what: Promise) -> None:
    """Tell it in one write: it is heard whole or not at all."""
    os.write(sys.stdout.fileno(), msgspec.json.encode(what) + b"\n")


async def _work(directory: Path, seed: int, budget_bytes: int) -> None:
    promise(Opening())
    async with (
        store_at(directory, budget_bytes, layout=LAYOUT) as client,
        asyncio.TaskGroup() as agents,
    ):
        for number in range(AGENTS):
            numbers = itertools.count(1000 * seed + number, AGENTS)
            agent = Agent(client, numbers, seed, ample=budget_bytes == AMPLE)
            agents.create_task(agent.work())


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(_work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

"""A store that is killed while it works, and what it had promised until then."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.e2e.daemon import ROOT
from tests.e2e.victim import (
    LAYOUT,
    Forgetting,
    Forgot,
    Kept,
    Opening,
    Promise,
    Said,
    conversation,
    session,
)
from tests.persistence.rig import Client, path

ALARMS = frozenset(
    {"piece_flawed", "pieces_lost", "catalog_set_aside", "store_not_opened", "write_failed"}
)
"""What is logged where something is not as it was left."""


class Promised:
    """What a store has promised over several lives."""

    def __init__(self) -> None:
        self.kept: dict[int, int] = {}
        self.said: dict[int, int] = {}
        self.forgot: set[int] = set()

    def hear(self, promise: Promise) -> None:
        """Take a promise; of what is being forgotten nothing is known."""
        match promise:
            case Kept(path=number, length=length):
                self.kept[number] = length
            case Said(path=number, turns=turns):
                self.said[number] = turns
            case Forgetting(path=number):
                self.kept.pop(number, None)
                self.said.pop(number, None)
            case Forgot(path=number):
                self.forgot.add(number)
            case Opening():
                pass

    async def check(self, client: Client, rng: random.Random, *, ample: bool) -> None:
        """See that all of it is there, and that what is there is true."""
        for number, length in self.kept.items():
            found = await client.look_up(path(length, number))
            assert found == length or not ample, (number, length, found)
        for number in rng.sample(sorted(self.kept), min(20, len(self.kept))):
            tokens = path(self.kept[number], number)
            reached = await client.correct(tokens, layout=LAYOUT)
            assert reached == len(tokens) or not ample, (number, len(tokens), reached)
        for number, turns in self.said.items():
            told = [name for name, _ in await client.recall(session(number))]
            assert [conversation(number, n + 1) for n in range(turns)] == told[:turns]
        for number in self.forgot:
            assert await client.look_up(path(1, number)) == 0
            assert await client.recall(session(number)) == ()


def kill_store(tmp: Path, seed: int, budget_bytes: int, after_s: float) -> list[Promise]:
    """Have a store work for so long, and return what it has promised."""
    command = [sys.executable, "-m", "tests.e2e.victim", str(tmp / "state")]
    with (
        (tmp / "log").open("wb") as log,
        subprocess.Popen(  # noqa: S603 (our own program)
            [*command, str(seed), str(budget_bytes)],
            bufsize=0,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            said = b"".join(_heard(process, after_s))
        finally:
            process.kill()
    logged = (tmp / "log").read_text()
    assert process.returncode == -signal.SIGKILL, logged
    assert not any(alarm in logged for alarm in ALARMS), logged
    return [msgspec.json.decode(line, type=Promise) for line in said.splitlines()]


def _heard(process: subprocess.Popen[bytes], after_s: float) -> Iterator[bytes]:
    assert process.stdout is not None
    yield process.stdout.readline()
    until = time.monotonic() + after_s
    while (left_s := until - time.monotonic()) > 0 and process.poll() is None:
        if select.select([process.stdout], [], [], left_s)[0]:
            yield os.read(process.stdout.fileno(), 1 << 16)
    process.kill()
    yield process.stdout.read()

"""Laws of failure: whatever fails, whenever, nobody waits in vain and nothing wrong comes back."""

import errno
import random
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from semantic_actors.domain.ids import TokenIds
from semantic_actors.persistence import Store
from tests.persistence.fake_fs import SHORT, FakeCatalog, FakeFs
from tests.persistence.rig import IDENTITY, LAYOUT, Client, path, stage

ERRORS = (
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EROFS,
    errno.EMFILE,
    SHORT,
)
FIRST, SECOND, OTHER = path(300), path(520), path(10, seed=1)


class Machine:
    """A computer: a disk, a catalog on it, and stores that come and go."""

    def __init__(self, budget_bytes: int = 1 << 30) -> None:
        self.fs = FakeFs()
        self.catalog = FakeCatalog(self.fs.faults)
        self.budget_bytes = budget_bytes

    def store(self, **more: Any) -> AbstractAsyncContextManager[Client]:
        """Run a store for a `with` block."""
        return stage(
            lambda: Store(
                self.fs, IDENTITY, LAYOUT, self.budget_bytes, open_catalog=self.catalog, **more
            )
        )


async def a_turn(client: Client) -> dict[TokenIds, str]:
    """Save what a turn saves, tell of it, read; say what was promised to be kept."""
    promised = {FIRST: await client.save(FIRST)}
    client.remember("s", b"one", FIRST)
    await client.correct(FIRST)
    promised[SECOND] = await client.save(SECOND, await client.look_up(SECOND))
    client.remember("s", b"two", SECOND, parent=b"one")
    await client.correct(SECOND)
    await client.recall("s")
    return promised


@pytest.mark.asyncio
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: errno.errorcode.get(e, "short write"))
async def test_a_fault_at_any_call_of_a_turn_costs_a_miss_at_most(error: int) -> None:
    """Fail once, at each call in turn: what was promised is there, all else is a miss or true."""
    for at in range(1, 1000):
        machine = Machine()
        faults = machine.fs.faults
        async with machine.store() as client:
            faults.arm(at, error)
            promised = await a_turn(client)
            faults.disarm()

            if faults.fired.startswith(("open", "size", "read")):
                promised = {}  # what cannot be read may be given up
            await _is_well(client, promised)
            assert machine.fs.open_files == 0
        async with machine.store() as client:
            await _is_well(client, promised)
        if not faults.fired:
            return
    pytest.fail("it never ends")


async def _is_well(client: Client, promised: dict[TokenIds, str]) -> None:
    for tokens in (FIRST, SECOND):
        reached = await client.correct(tokens)
        if promised.get(tokens) == "":
            assert len(tokens) == reached
    assert await client.save(SECOND) == ""
    assert await client.correct(SECOND) == len(SECOND)
    assert await client.save(OTHER) == ""
    statistics = await client.statistics()
    assert statistics.degraded == ""
    assert statistics.dirty_bytes == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(40))
async def test_power_loss_leaves_what_was_promised(seed: int) -> None:
    """Lose the power during a turn: what a save had promised is there, the rest true or missing."""
    rng = random.Random(seed)
    machine = Machine()
    async with machine.store() as client:
        promised = {FIRST: await client.save(FIRST)}
        assert promised[FIRST] == ""
        machine.fs.faults.arm(rng.randrange(1, 60), errno.EIO, lasting=True)
        await a_turn(client)

    machine.fs.faults.disarm()
    machine.fs.lose_power(rng)

    async with machine.store() as client:
        await _is_well(client, promised)

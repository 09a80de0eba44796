"""Laws of failure: whatever fails, whenever, nobody waits in vain and nothing wrong comes back."""

import contextlib
import errno
import random
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest

from semantic_actors.domain.ids import TokenIds
from semantic_actors.persistence import Store, breaker
from semantic_actors.persistence.archive import Archive
from tests.persistence.fake_fs import SHORT, FakeCatalog, FakeFs
from tests.persistence.rig import IDENTITY, LAYOUT, Client, eventually, path, rows_of, stage

ERRORS = [
    errno.EIO,
    errno.ENOSPC,
    errno.EMFILE,
    SHORT,
    *(pytest.param(error, marks=pytest.mark.slow) for error in (errno.EDQUOT, errno.EACCES)),
    pytest.param(errno.EROFS, marks=pytest.mark.slow),
]
FIRST, SECOND, OTHER = path(300), path(520), path(10, seed=1)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "FIRST_PAUSE_S", 0.2)


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


class Promises:
    """What a store has said to be durable."""

    def __init__(self) -> None:
        self.paths: set[TokenIds] = set()
        self.said = 0

    async def turn(self, client: Client) -> None:
        """Save what a turn saves, tell of it, read."""
        await self.save(client, FIRST)
        client.remember("s", b"one", FIRST)
        await client.correct(FIRST)
        await self.save(client, SECOND, await client.look_up(SECOND))
        client.remember("s", b"two", SECOND, parent=b"one")
        await client.correct(SECOND)
        self.said = len(await client.recall("s"))

    async def save(self, client: Client, tokens: TokenIds, start: int = 0) -> None:
        """Save a path; without a reason, all of it is there."""
        if await client.save(tokens, start) == "" and start == 0:
            self.paths.add(tokens)

    async def check(self, client: Client) -> None:
        """See what was promised, that nothing is wrong, and that all works again."""
        for tokens in (FIRST, SECOND):
            reached = await client.correct(tokens)
            assert reached == len(tokens) or tokens not in self.paths
        assert len(await client.recall("s")) >= self.said
        for tokens in (SECOND, OTHER):
            assert await client.save(tokens) == ""
            assert await client.correct(tokens) == len(tokens)
        statistics = await client.statistics()
        assert statistics.degraded == ""
        assert statistics.dirty_bytes == 0


@pytest.mark.asyncio
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: errno.errorcode.get(e, "short write"))
async def test_a_fault_at_any_call_of_a_turn_costs_a_miss_at_most(error: int) -> None:
    """Fail once, at each call in turn: what was promised is there, all else is a miss or true."""
    for at in range(1, 1000):
        machine, promises = Machine(), Promises()
        faults = machine.fs.faults
        async with machine.store() as client:
            faults.arm(at, error)
            await promises.turn(client)
            faults.disarm()

            if faults.fired.startswith(("open", "size", "read")):
                promises.paths.clear()  # what cannot be read may be given up
            await promises.check(client)
            assert machine.fs.open_files == 0
        async with machine.store() as client:
            await promises.check(client)
        if not faults.fired:
            return
    pytest.fail("it never ends")


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EMFILE])
async def test_a_fault_at_any_call_of_a_start_loses_nothing(error: int) -> None:
    """Fail once, at each call in turn: it opens, or does the next time, and all is there."""
    machine = Machine()
    async with machine.store() as client:
        await Promises().turn(client)
        pieces = (await client.statistics()).pieces
    for at in range(1, 1000):
        machine.fs.faults.arm(at, error)
        archive = Archive(machine.fs, IDENTITY, LAYOUT, machine.catalog)
        with contextlib.suppress(OSError):
            archive.open(0.0)
        machine.fs.faults.disarm()

        assert len(archive.open(0.0).pieces) == pieces
        assert machine.fs.open_files == 0
        if not machine.fs.faults.fired:
            return
    pytest.fail("it never ends")


@pytest.mark.asyncio
@pytest.mark.usefixtures("_impatient")
async def test_what_cannot_be_opened_is_tried_again() -> None:
    """Until then nothing is found, nothing is kept, and everybody is told so at once."""
    machine = Machine()
    async with machine.store() as client:
        assert await client.save(FIRST) == ""
    machine.fs.faults.arm(1, errno.EACCES, lasting=True)
    async with machine.store() as client:
        assert "Permission denied" in (await client.statistics()).degraded
        assert "Permission denied" in await client.save(SECOND)
        assert await client.look_up(FIRST) == 0
        assert (await client.fetch(FIRST)).reason
        client.remember("s", b"c", FIRST)
        assert await client.recall("s") == ()

        machine.fs.faults.disarm()
        await eventually(client.is_well)
        assert await client.correct(FIRST) == len(FIRST)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(3))
async def test_power_loss_at_any_call_leaves_what_was_promised(seed: int) -> None:
    """Nothing works from some call on, then the power goes, and with it what chance decides."""
    for at in range(1, 1000):
        machine, promises = Machine(), Promises()
        async with machine.store() as client:
            machine.fs.faults.arm(at, errno.EIO, lasting=True)
            await promises.turn(client)
        fired = machine.fs.faults.fired
        machine.fs.faults.disarm()
        machine.fs.lose_power(random.Random(f"{seed} {at}"))

        async with machine.store() as client:
            await promises.check(client)
        if not fired:
            return
    pytest.fail("it never ends")


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(5))
async def test_power_loss_spares_no_debris(seed: int) -> None:
    """After the next start there are files with rows, and no others."""
    machine = Machine()
    rng = random.Random(seed)
    async with machine.store() as client:
        machine.fs.faults.arm(rng.randrange(1, 60), errno.EIO, lasting=True)
        await Promises().turn(client)
    machine.fs.faults.disarm()
    machine.fs.lose_power(rng)
    async with machine.store() as client:
        pieces = (await client.statistics()).pieces
    names = [name for name in machine.fs.names if name.startswith("blocks/")]

    assert pieces == len(names)
    assert not any("/." in name for name in machine.fs.names)


@pytest.mark.asyncio
async def test_a_sync_that_failed_is_not_tried_again() -> None:
    """The system has dropped what it could not write: the file is given up, nothing of it stays."""
    machine = Machine()
    async with machine.store() as client:
        machine.fs.faults.arm(1, errno.EIO, only=lambda call: call == "sync")
        assert "Input/output error" in await client.save(FIRST)
        assert machine.fs.faults.calls == 1
        assert not any(name.startswith("blocks/") for name in machine.fs.names)
        assert await client.look_up(FIRST) == 0


@pytest.mark.asyncio
@pytest.mark.usefixtures("_impatient")
async def test_a_full_disk_is_left_alone_for_a_while_and_used_again() -> None:
    """After some failures nothing is tried, saves are answered at once, reading goes on."""
    machine = Machine()
    async with machine.store() as client:
        assert await client.save(FIRST) == ""
        machine.fs.faults.arm(1, errno.ENOSPC, lasting=True, only=lambda call: call == "write")
        for seed in range(1, 6):
            assert "No space left" in await client.save(path(20, seed))
        statistics = await client.statistics()
        assert machine.fs.faults.calls == 3 == statistics.write_failures_total
        assert statistics.refused_saves_total == 5
        assert "No space left" in statistics.degraded
        assert await client.correct(FIRST) == len(FIRST)

        machine.fs.faults.disarm()
        await eventually(partial(_is_saved, client))
        assert await client.is_well()
        assert await client.correct(OTHER) == len(OTHER)


async def _is_saved(client: Client) -> bool:
    return await client.save(OTHER) == ""


@pytest.mark.asyncio
async def test_what_was_accepted_is_written_before_the_store_leaves() -> None:
    """A drain waits for saves, rewriting, and what was told of sessions."""
    machine = Machine()
    tokens = path(2000)
    async with machine.store() as client:
        saving = client.begin_save(tokens, rows_of(tokens))
        client.remember("s", b"c", tokens)
    assert await client.saved(saving) == ""
    async with machine.store() as client:
        assert await client.correct(tokens) == 2000
        assert len(await client.recall("s")) == 1

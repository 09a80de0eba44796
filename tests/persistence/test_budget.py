"""Laws of what stays and what leaves: one copy, a budget, least recently used first, pins, age."""

from pathlib import Path

import pytest

from semantic_actors.domain.ids import LOCAL, SessionId
from semantic_actors.kv.layout import Layout, Part
from semantic_actors.persistence import PinSession
from tests.persistence.rig import Client, path, rows_of, store_at
from tests.persistence.test_faults import Machine

BLOCK = 256


async def size_of_a_block(tmp_path: Path) -> int:
    """Return the bytes of a whole block's file."""
    async with store_at(tmp_path / "scale") as client:
        await client.save(path(BLOCK))
        return (await client.statistics()).size_bytes


def files(state: Path) -> int:
    """Count the files of pieces."""
    return len(list((state / "blocks").rglob("*.safetensors")))


@pytest.mark.asyncio
async def test_what_is_stored_is_not_written_again(tmp_path: Path) -> None:
    """Not in the next save, not by another session, and not while the first is under way."""
    tokens = path(1000)
    async with store_at(tmp_path) as client:
        saves = [client.begin_save(tokens, rows_of(tokens)) for _ in range(3)]
        assert [await client.saved(one) for one in saves] == ["", "", ""]
        once = (await client.statistics()).saved_bytes_total
        assert await client.save(tokens, 500) == ""
        assert await client.save(tokens[:700]) == ""

        statistics = await client.statistics()
        assert once == statistics.saved_bytes_total == statistics.size_bytes
        assert statistics.saved_tokens_total == 1000
        assert statistics.skipped_tokens_total == 2000 + 500 + 700
        assert files(tmp_path) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize(("tokens_a_turn", "most"), [(1000, 1.1), (333, 1.1), (50, 2.1)])
async def test_few_bytes_are_written_for_each_byte_kept(
    tmp_path: Path, tokens_a_turn: int, most: float
) -> None:
    """Over ten turns and more, rewriting included; and no complete block is of many pieces."""
    layout = Layout((Part("keys", "F32", 4, 64), Part("values", "F32", 4, 64)))
    turns = max(10, 1500 // tokens_a_turn)
    tokens = path(tokens_a_turn * turns)
    async with store_at(tmp_path, layout=layout) as client:
        for turn in range(turns):
            start, stop = turn * tokens_a_turn, (turn + 1) * tokens_a_turn
            rows = rows_of(tokens[:stop], start, layout=layout)
            assert await client.saved(client.begin_save(tokens[:stop], rows)) == ""
        written = (await client.statistics()).saved_bytes_total
        kept = len(tokens) * layout.row_bytes

        assert written / kept <= most
        assert await client.correct(tokens, layout=layout) == len(tokens)
        assert len((await client.fetch(tokens, 0, 256)).rows) <= 4


@pytest.mark.asyncio
async def test_a_block_of_many_pieces_becomes_one(tmp_path: Path) -> None:
    """Same rows, one file; the others are gone, in this life and the next."""
    tokens = path(300)
    async with store_at(tmp_path) as client:
        for start in range(0, 300, 30):
            assert await client.save(tokens[: start + 30], start) == ""
        assert (await client.statistics()).rewritten_total == 1
        assert len((await client.fetch(tokens, 0, 256)).rows) == 1
        assert await client.correct(tokens) == 300
        await client.save(path(1, seed=1))  # and whatever was doomed before is gone
        assert files(tmp_path) == (await client.statistics()).pieces == 4
    async with store_at(tmp_path) as client:
        assert await client.correct(tokens) == 300
        assert (await client.statistics()).pieces == 4


@pytest.mark.asyncio
async def test_the_least_recently_used_leave_first_from_their_end(tmp_path: Path) -> None:
    """The budget holds after each save; of an old path the beginning stays longest."""
    old, used, new = path(1024), path(1024, seed=1), path(768, seed=2)
    room = 8 * await size_of_a_block(tmp_path) + 4000
    async with store_at(tmp_path, budget_bytes=room) as client:
        assert await client.save(old) == ""
        assert await client.save(used) == ""
        assert await client.correct(old) == 1024
        assert await client.correct(used) == 1024
        assert await client.save(new) == ""

        assert await client.look_up(old) == 256
        assert await client.look_up(used) == 1024
        assert await client.look_up(new) == 768
        statistics = await client.statistics()
        assert statistics.evicted_total == 3
        assert statistics.size_bytes <= room
    assert files(tmp_path) == 8
    async with store_at(tmp_path, budget_bytes=room // 2) as client:
        await client.recall("whoever asks the writing thread waits for what it does")
        assert await client.look_up(new) == 768
        assert await client.look_up(old) == 0


@pytest.mark.asyncio
async def test_order_of_use_outlives_the_store(tmp_path: Path) -> None:
    """What was read last before the end leaves last after it."""
    one, two = path(512), path(512, seed=1)
    room = 5 * await size_of_a_block(tmp_path)
    async with store_at(tmp_path, budget_bytes=room) as client:
        assert await client.save(one) == ""
        assert await client.save(two) == ""
        assert await client.correct(one) == 512
    async with store_at(tmp_path, budget_bytes=room) as client:
        assert await client.save(path(512, seed=2)) == ""

        assert await client.look_up(one) == 512
        assert await client.look_up(two) == 256


@pytest.mark.asyncio
async def test_a_save_does_not_push_out_its_own_path(tmp_path: Path) -> None:
    """What cannot fit even so is refused, and what is there stays."""
    room = 3 * await size_of_a_block(tmp_path) + 4000
    tokens = path(1024)
    async with store_at(tmp_path, budget_bytes=room) as client:
        assert await client.save(tokens[:768]) == ""
        assert "disk budget" in await client.save(tokens, 768)
        assert "disk budget" in await client.save(path(1024, seed=1))

        assert await client.correct(tokens) == 768


@pytest.mark.asyncio
async def test_a_pinned_session_s_pieces_stay(tmp_path: Path) -> None:
    """All that its paths need, also what it says later, until it is pinned no longer."""
    pinned, longer, other = path(512), path(768), path(1024, seed=1)
    room = 6 * await size_of_a_block(tmp_path)

    async def pin(client: Client, *, wanted: bool) -> bool | None:
        return await client.ask(PinSession(LOCAL, SessionId("s"), wanted))

    async with store_at(tmp_path, budget_bytes=room) as client:
        assert await pin(client, wanted=True) is False
        assert await client.save(pinned) == ""
        client.remember("s", b"c", pinned)
        assert await pin(client, wanted=True) is True
        assert await client.save(longer, 512) == ""
        client.remember("s", b"d", longer, parent=b"c")
        for seed in range(1, 6):
            assert await client.save(path(768, seed=seed)) == ""
        assert await client.look_up(longer) == 768
        assert "disk budget" in await client.save(other)
    async with store_at(tmp_path, budget_bytes=room) as client:
        assert await client.save(path(768, seed=7)) == ""
        assert await client.look_up(longer) == 768
        assert await pin(client, wanted=False) is True
        assert await client.save(other) == ""
        assert await client.look_up(longer) == 0


@pytest.mark.asyncio
async def test_what_is_not_used_for_too_long_leaves(tmp_path: Path) -> None:
    """Pieces and sessions; used ones stay, and a clock that jumps back changes nothing."""
    day = 86_400.0
    old, used = path(512), path(300, seed=1)

    async def at(now: float, *expected: int) -> None:
        async with store_at(tmp_path, ttl_s=7 * day, clock=lambda: now) as client:
            assert await client.save(path(1, seed=int(now))) == ""
            await client.recall("")
            assert expected == (await client.look_up(old), await client.look_up(used))
            await client.correct(used)

    async with store_at(tmp_path, ttl_s=7 * day, clock=lambda: 100 * day) as client:
        assert await client.save(old) == ""
        assert await client.save(used) == ""
        client.remember("s", b"c", old)
        client.remember("t", b"c", used)
    await at(106 * day, 512, 300)
    await at(50 * day, 512, 300)
    await at(108 * day, 0, 300)
    await at(114 * day, 0, 300)
    assert len(list((tmp_path / "sessions").iterdir())) == 0


@pytest.mark.asyncio
async def test_files_come_before_rows_and_go_after_them() -> None:
    """So that, whatever happens in between, a row has a file."""
    machine = Machine()
    journal: list[str] = []
    async with machine.store() as client:
        machine.fs.faults.watch(journal.append)
        for start in range(0, 250, 50):
            assert await client.save(path(start + 50), start) == ""
        assert await client.save(path(256), 250) == ""
        await client.recall("")

    calls = [call for call in journal if call in STEPS]
    written = ["create", "write", "sync", "rename", "sync_directory", "catalog before commit"]
    removed = ["catalog before commit", *["unlink"] * 6]
    assert calls == [*written * 7, *removed]


STEPS = {
    "create",
    "write",
    "sync",
    "rename",
    "sync_directory",
    "catalog before commit",
    "unlink",
}


@pytest.mark.asyncio
async def test_too_much_at_once_is_refused(tmp_path: Path) -> None:
    """Beyond the bound of what waits, saves are answered at once, and nothing else suffers."""
    tokens = path(2560)
    rows = rows_of(tokens)
    bound = sum(len(one.data) for one in rows[:3])
    async with store_at(tmp_path, dirty_bytes=bound) as client:
        saves = [client.begin_save(tokens, (one,)) for one in rows]
        reasons = [await client.saved(save) for save in saves]

        assert reasons[:3] == ["", "", ""]
        assert any("waiting to be written" in reason for reason in reasons)
        assert (await client.statistics()).dirty_bytes == 0
        assert await client.correct(tokens) >= 768


@pytest.mark.asyncio
async def test_rows_that_are_not_as_they_should_be_are_refused(tmp_path: Path) -> None:
    """Across a border, beyond the path, of another size."""
    tokens = path(600)
    good = rows_of(tokens)[0]

    async def refused(client: Client, start: int, stop: int, data: bytes) -> bool:
        rows = type(good)(start, stop, data)
        reason = await client.saved(client.begin_save(tokens, (rows,)))
        return reason == f"rows {start} to {stop} are not as they should be"

    async with store_at(tmp_path) as client:
        unit = len(good.data) // 256
        for start, stop in ((0, 257), (590, 601), (5, 5), (-1, 3), (7, 3)):
            assert await refused(client, start, stop, bytes(unit * abs(stop - start)))
        assert await refused(client, 0, 256, good.data[:-1])
        assert files(tmp_path) == 0

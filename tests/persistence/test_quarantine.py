"""Laws of doubt: a file that is not what it should be is a miss, is set aside, can be replaced."""

from collections.abc import Callable
from pathlib import Path

import pytest

from semantic_actors.domain.ids import LOCAL, SessionId
from semantic_actors.kv.layout import Layout
from semantic_actors.persistence import ForgetSession
from tests.persistence.rig import LAYOUT, path, store_at

TOKENS = path(256)


def the_file(state: Path) -> Path:
    """Return the only piece's file."""
    (file,) = (state / "blocks").rglob("*.safetensors")
    return file


def flip(file: Path) -> None:
    """Flip a bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    """Lose the end."""
    file.write_bytes(file.read_bytes()[:-1])


def zero(file: Path) -> None:
    """Lose a page."""
    content = file.read_bytes()
    file.write_bytes(content[:4096] + bytes(4096) + content[8192:])


def empty(file: Path) -> None:
    """Lose everything."""
    file.write_bytes(b"")


def lengthen(file: Path) -> None:
    """Gain a byte."""
    file.write_bytes(file.read_bytes() + b"\0")


@pytest.mark.asyncio
@pytest.mark.parametrize("damage", [flip, cut, zero, empty, lengthen])
async def test_a_damaged_file_is_set_aside_and_replaced(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """It is not returned, not found again, and the same rows can be saved again."""
    async with store_at(tmp_path) as client:
        assert await client.save(TOKENS) == ""
        damage(the_file(tmp_path))

        fetched = await client.fetch(TOKENS)

        assert fetched.rows == ()
        assert fetched.reason
        assert await client.look_up(TOKENS) == 0
        assert await client.save(TOKENS) == ""
        assert await client.correct(TOKENS) == 256
        assert (await client.statistics()).quarantined_total == 1
        assert len(list((tmp_path / "quarantine").iterdir())) == 1
    async with store_at(tmp_path) as client:
        assert await client.correct(TOKENS) == 256


@pytest.mark.asyncio
async def test_what_comes_before_a_damaged_piece_is_used(tmp_path: Path) -> None:
    """The rows end early, and the rest is found again once it was saved again."""
    tokens = path(1000)
    async with store_at(tmp_path) as client:
        assert await client.save(tokens[:512]) == ""
        before = set((tmp_path / "blocks").rglob("*.safetensors"))
        assert await client.save(tokens[:700], 512) == ""
        (third,) = set((tmp_path / "blocks").rglob("*.safetensors")) - before
        assert await client.save(tokens, 700) == ""
        flip(third)

        assert await client.correct(tokens) == 512
        assert await client.look_up(tokens) == 512
        assert await client.save(tokens[:700], 512) == ""
        assert await client.correct(tokens) == 1000


@pytest.mark.asyncio
async def test_swapped_files_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """Each good in itself, each under the name of the other."""
    one, two = path(256), path(256, seed=1)
    async with store_at(tmp_path) as client:
        assert await client.save(one) == ""
        first = the_file(tmp_path)
        assert await client.save(two) == ""
        (second,) = set((tmp_path / "blocks").rglob("*.safetensors")) - {first}
        content = first.read_bytes(), second.read_bytes()
        first.write_bytes(content[1])
        second.write_bytes(content[0])

        assert await client.correct(one) == 0
        assert await client.correct(two) == 0


@pytest.mark.asyncio
async def test_a_missing_file_is_a_miss(tmp_path: Path) -> None:
    """While it runs, and at the next start."""
    async with store_at(tmp_path) as client:
        assert await client.save(TOKENS) == ""
        assert await client.save(path(256, seed=1)) == ""
        next((tmp_path / "blocks").rglob("*.safetensors")).unlink()
        reached = await client.correct(TOKENS), await client.correct(path(256, seed=1))
        assert sorted(reached) == [0, 256]
    the_file(tmp_path).unlink()
    async with store_at(tmp_path) as client:
        assert await client.look_up(TOKENS) == 0
        assert await client.look_up(path(256, seed=1)) == 0
        assert await client.correct(TOKENS) == 0


@pytest.mark.asyncio
async def test_another_model_s_rows_are_not_there(tmp_path: Path) -> None:
    """Another identity finds nothing and harms nothing; the first finds its own again."""
    async with store_at(tmp_path) as client:
        assert await client.save(TOKENS) == ""
    async with store_at(tmp_path, identity="model two") as client:
        assert await client.look_up(TOKENS) == 0
        assert await client.save(TOKENS) == ""
        assert await client.correct(TOKENS) == 256
    async with store_at(tmp_path) as client:
        assert await client.correct(TOKENS) == 256


@pytest.mark.asyncio
async def test_another_layout_is_a_miss(tmp_path: Path) -> None:
    """The same identity with other shapes: a contradiction, so a doubt."""
    async with store_at(tmp_path) as client:
        assert await client.save(TOKENS) == ""
    async with store_at(tmp_path, layout=Layout(LAYOUT.parts[:2])) as client:
        fetched = await client.fetch(TOKENS)

        assert fetched.rows == ()
        assert "tensors" in fetched.reason


@pytest.mark.asyncio
async def test_a_later_version_s_file_is_a_miss_and_stays(tmp_path: Path) -> None:
    """It is neither returned, nor removed, nor replaced, now or at the next start."""
    async with store_at(tmp_path) as client:
        assert await client.save(TOKENS) == ""
        file = the_file(tmp_path)
        later = file.read_bytes().replace(b'"version":"1.0"', b'"version":"2.0"')
        file.write_bytes(later)

        assert (await client.fetch(TOKENS)).rows == ()
        assert "later major version" in await client.save(TOKENS)
    (tmp_path / "catalog.sqlite").unlink()
    async with store_at(tmp_path) as client:
        assert await client.look_up(TOKENS) == 0
    async with store_at(tmp_path) as client:
        assert await client.look_up(TOKENS) == 0

    assert later == file.read_bytes()


@pytest.mark.asyncio
async def test_the_quarantine_is_bounded(tmp_path: Path) -> None:
    """Beyond its share of the budget the oldest go."""
    async with store_at(tmp_path, budget_bytes=2_000_000) as client:
        for _ in range(6):
            assert await client.save(TOKENS) == ""
            size = the_file(tmp_path).stat().st_size
            flip(the_file(tmp_path))
            assert await client.correct(TOKENS) == 0
        await client.recall("the writing thread has done all this when it answers")
        kept = [file.stat().st_size for file in (tmp_path / "quarantine").iterdir()]

        assert (await client.statistics()).quarantined_total == 6
        assert sum(kept) <= 40_000 < sum(kept) + size


@pytest.mark.asyncio
async def test_what_cannot_be_set_aside_is_removed(tmp_path: Path) -> None:
    """A doubt is not kept where it could be found again."""
    async with store_at(tmp_path) as client:
        assert await client.save(TOKENS) == ""
        flip(the_file(tmp_path))
        (tmp_path / "quarantine").rmdir()
        (tmp_path / "quarantine").touch()
        assert await client.correct(TOKENS) == 0
        await client.recall("the writing thread has done all this when it answers")
    assert list((tmp_path / "blocks").rglob("*.safetensors")) == []


@pytest.mark.asyncio
async def test_a_damaged_piece_is_not_copied_into_another(tmp_path: Path) -> None:
    """A block of many pieces, one of them damaged, stays as it is."""
    async with store_at(tmp_path) as client:
        for start in range(0, 200, 50):
            assert await client.save(TOKENS[: start + 50], start) == ""
        flip(next((tmp_path / "blocks").rglob("*.safetensors")))
        assert await client.save(TOKENS, 200) == ""

        assert (await client.statistics()).rewritten_total == 0
        assert await client.correct(TOKENS) < 256
        assert (await client.statistics()).quarantined_total == 1


@pytest.mark.asyncio
async def test_a_session_with_a_damaged_piece_can_be_forgotten(tmp_path: Path) -> None:
    """What others share of that piece is lost to them; nothing of the session stays."""
    tokens = path(300)
    theirs = (*tokens[:100], *path(50, seed=1))
    async with store_at(tmp_path) as client:
        assert await client.save(tokens[:256]) == ""
        flip(the_file(tmp_path))
        assert await client.save(theirs, 100) == ""
        client.remember("s", b"s", tokens)
        client.remember("t", b"t", theirs)

        forgotten = await client.ask(ForgetSession(LOCAL, SessionId("s")))

        assert forgotten is not None
        assert forgotten.reason == ""
        assert await client.look_up(tokens) == 0
        assert await client.recall("s") == ()
        assert len(list((tmp_path / "blocks").rglob("*.safetensors"))) == 1


@pytest.mark.asyncio
async def test_what_is_not_stored_is_said_so(tmp_path: Path) -> None:
    """A fetch brings what there is, up to the first row that is not."""
    async with store_at(tmp_path) as client:
        assert await client.save(TOKENS) == ""

        fetched = await client.fetch(path(600))
        assert [(rows.start, rows.stop) for rows in fetched.rows] == [(0, 256)]
        assert fetched.reason == (await client.fetch(path(9, seed=1))).reason == "it is not stored"
        assert (await client.fetch(TOKENS)).reason == ""

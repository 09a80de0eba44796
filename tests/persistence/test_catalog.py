"""Laws of the catalog: it is checked, rebuilt from the files, and never harmed by an older one."""

import random
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from semantic_actors.domain.ids import LOCAL, SessionId
from semantic_actors.kv.blocks import Trail, root
from semantic_actors.persistence import Fs, ListSessions, PinSession, open_state
from semantic_actors.persistence.archive import Archive
from semantic_actors.persistence.catalog import Catalog, Changes
from semantic_actors.persistence.errors import CatalogDamaged
from semantic_actors.persistence.files import path_of
from semantic_actors.persistence.journal import _checksum
from semantic_actors.persistence.sqlite_catalog import SqliteCatalog, open_catalog
from tests.persistence.rig import IDENTITY, LAYOUT, path, rows_of, store_at
from tests.persistence.test_sessions import three_turns


def lose(catalog: Path) -> None:
    """Remove it."""
    catalog.unlink()


def empty(catalog: Path) -> None:
    """Cut it to nothing."""
    catalog.write_bytes(b"")


def garble(catalog: Path) -> None:
    """Fill it with noise."""
    catalog.write_bytes(random.Random(0).randbytes(50_000))


def scratch(catalog: Path) -> None:
    """Damage every page but the first."""
    content = catalog.read_bytes()
    catalog.write_bytes(content[:4096] + random.Random(0).randbytes(len(content) - 4096))


@pytest.mark.asyncio
@pytest.mark.parametrize("damage", [lose, empty, garble, scratch])
async def test_a_lost_catalog_is_rebuilt_from_the_files(tmp_path: Path, damage: object) -> None:
    """Pieces, sessions, their turns and whether they are pinned: all of it is there again."""
    assert callable(damage)
    async with store_at(tmp_path) as client:
        tokens = await three_turns(client)
        client.remember("t", b"t", path(20))
        assert await client.ask(PinSession(LOCAL, SessionId("s"), pinned=True)) is True
        said = await client.recall("s")
    damage(tmp_path / "catalog.sqlite")
    for _ in range(2):
        async with store_at(tmp_path) as client:
            assert await client.correct(tokens) == 900
            assert said == await client.recall("s")
            assert await client.recognise(b"c1 0") == "s"
            listed = {one.session: one.pinned for one in await client.ask(ListSessions())}
            assert listed == {"s": True, "t": False}


@pytest.mark.asyncio
async def test_a_damaged_journal_costs_only_what_is_damaged(tmp_path: Path) -> None:
    """Torn or flipped lines are left out, with the turns that go on from them."""
    async with store_at(tmp_path) as client:
        await three_turns(client)
    (journal,) = (tmp_path / "sessions").iterdir()
    lines = journal.read_bytes().split(b"\n")
    for number, expected in ((1, 0), (3, 1), (5, 2)):
        flipped = lines[:]
        flipped[number] = flipped[number].replace(b'"number"', b'"numbed"')
        journal.write_bytes(b"\n".join(flipped))
        (tmp_path / "catalog.sqlite").unlink()
        async with store_at(tmp_path) as client:
            assert len(await client.recall("s")) == expected
            client.remember("s", b"next", path(7))
            assert len(await client.recall("s")) == expected + 1
        (tmp_path / "catalog.sqlite").unlink()
        async with store_at(tmp_path) as client:
            assert (b"next", (1,)) in await client.recall("s")


@pytest.mark.asyncio
async def test_a_rebuild_that_was_cut_short_begins_again(tmp_path: Path) -> None:
    """A new catalog says nothing until it says all: no file is taken for debris."""
    async with store_at(tmp_path) as client:
        assert await client.save(path(600)) == ""
    (tmp_path / "catalog.sqlite").unlink()
    with open_state(tmp_path) as fs:
        open_catalog(fs).close()
    async with store_at(tmp_path) as client:
        assert await client.correct(path(600)) == 600


@pytest.mark.asyncio
async def test_a_later_catalog_is_left_alone(tmp_path: Path) -> None:
    """The store runs without one: nothing found, nothing kept, nothing changed on disk."""
    async with store_at(tmp_path) as client:
        assert await client.save(path(600)) == ""
    with sqlite3.connect(tmp_path / "catalog.sqlite") as db:
        db.execute("PRAGMA user_version = 2000")
    db.close()
    before = (tmp_path / "catalog.sqlite").read_bytes()
    async with store_at(tmp_path) as client:
        assert await client.look_up(path(600)) == 0
        assert "schema 2, known is 1" in await client.save(path(600))
        assert "schema 2" in (await client.statistics()).degraded
        assert await client.recall("s") == ()
        assert (await client.fetch(path(600))).rows == ()

    assert before == (tmp_path / "catalog.sqlite").read_bytes()
    assert len(list((tmp_path / "blocks").rglob("*.safetensors"))) == 3


@pytest.mark.asyncio
async def test_debris_is_swept_at_the_start(tmp_path: Path) -> None:
    """Half-written files, files without a row, journals without a session."""
    async with store_at(tmp_path) as client:
        assert await client.save(path(256)) == ""
        client.remember("s", b"c", path(256))
    (file,) = (tmp_path / "blocks").rglob("*.safetensors")
    stranger = tmp_path / path_of(Trail(root("?", b""), path(9)).piece(0, 9).name)
    shutil.copy(file, file.with_name("." + file.name))
    shutil.copy(file, stranger)
    (tmp_path / "sessions" / "0.jsonl").write_bytes(b"?")
    (tmp_path / "sessions" / ".1.jsonl").write_bytes(b"?")
    async with store_at(tmp_path) as client:
        assert await client.correct(path(256)) == 256
        assert len(await client.recall("s")) == 1

    assert [file] == [f for f in (tmp_path / "blocks").rglob("*") if f.is_file()]
    assert len(list((tmp_path / "sessions").iterdir())) == 1


@pytest.mark.asyncio
async def test_a_catalog_that_breaks_while_in_use_is_opened_anew(tmp_path: Path) -> None:
    """The store crashes, whoever waits is told, and its next life checks what there is."""
    opened: list[Fs] = []

    class Breaking(SqliteCatalog):
        """Is damaged by its second commit, the first time."""

        commits = 0

        def commit(self, changes: Changes) -> None:
            self.commits += 1
            if self.commits == 2 and len(opened) == 1:
                message = "malformed"
                raise CatalogDamaged(message)
            super().commit(changes)

    def open_breaking(fs: Fs) -> Catalog:
        opened.append(fs)
        return Breaking(fs.path("catalog.sqlite"))

    first, second = path(600), path(600, seed=1)
    async with store_at(tmp_path, open_catalog=open_breaking) as client:
        assert await client.save(first) == ""
        waiting = [client.begin_save(second, rows_of(second)) for _ in range(2)]
        client.remember("s", b"c", first)
        reasons = [await client.saved(save) for save in waiting]
        assert reasons == ["the store stopped: it failed"] * 2

        assert await client.save(second) == ""
        assert await client.correct(first) == await client.correct(second) == 600
    assert len(opened) == 2


@pytest.mark.asyncio
async def test_a_database_that_cannot_grow_is_a_reason(tmp_path: Path) -> None:
    """A commit that fails leaves no file, a session that cannot be told is not there."""
    catalogs: list[SqliteCatalog] = []

    def open_and_keep(fs: Fs) -> Catalog:
        catalogs.append(open_catalog(fs))
        return catalogs[-1]

    async with store_at(tmp_path, open_catalog=open_and_keep) as client:
        assert await client.save(path(300)) == ""
        (catalog,) = catalogs
        pages = catalog._db.execute("PRAGMA page_count").fetchone()[0]
        catalog._db.execute(f"PRAGMA max_page_count = {pages}")
        assert "disk is full" in await client.save(path(5000, seed=1))
        client.remember("s", b"c", path(5000, seed=1))
        assert await client.recall("s") == ()
        assert await client.correct(path(300)) == 300
        assert len(list((tmp_path / "blocks").rglob("*.safetensors"))) == 2

        catalog._db.execute("PRAGMA max_page_count = 1000000")
        assert await client.save(path(5000, seed=1)) == ""
    async with store_at(tmp_path) as client:
        assert await client.correct(path(5000, seed=1)) == 5000


@pytest.mark.asyncio
async def test_a_secret_that_was_cut_is_made_anew(tmp_path: Path) -> None:
    """Nothing is found by the new one, and nothing is in its way."""
    async with store_at(tmp_path) as client:
        assert await client.save(path(300)) == ""
    (tmp_path / "secret").write_bytes(b"short")
    async with store_at(tmp_path) as client:
        assert await client.look_up(path(300)) == 0
        assert await client.save(path(300)) == ""
    async with store_at(tmp_path) as client:
        assert await client.correct(path(300)) == 300
    assert len((tmp_path / "secret").read_bytes()) == 64


@pytest.mark.asyncio
async def test_what_is_no_journal_is_ignored(tmp_path: Path) -> None:
    """A link among the journals, and a line that is sound but says nothing known."""
    async with store_at(tmp_path) as client:
        client.remember("s", b"c", path(5))
    (journal,) = (tmp_path / "sessions").iterdir()
    with journal.open("ab") as file:
        file.write(b"\n" + _checksum(b"[]") + b" []")
    (tmp_path / "sessions" / "link.jsonl").symlink_to(tmp_path / "secret")
    (tmp_path / "catalog.sqlite").unlink()
    async with store_at(tmp_path) as client:
        assert len(await client.recall("s")) == 1

    assert [journal] == list((tmp_path / "sessions").iterdir())


def test_a_start_with_ten_thousand_pieces_takes_less_than_a_second(tmp_path: Path) -> None:
    """Rows are read, names are listed, no file is opened."""
    before = root(IDENTITY, b"")
    with open_state(tmp_path) as fs:
        archive = Archive(fs, IDENTITY, LAYOUT, open_catalog)
        archive.open(0.0)
        found = []
        for seed in range(500):
            trail = Trail(before, path(5120, seed))
            found += [archive.sized(trail.piece(i, i + 256)) for i in range(0, 5120, 256)]
        for piece in found:
            (tmp_path / path_of(piece.name)).touch()
        archive.commit(Changes(added=tuple((piece, 1.0) for piece in found)))
        archive.close()
        took_s = []
        for _ in range(3):
            start = time.perf_counter()
            contents = archive.open(1.0)
            took_s.append(time.perf_counter() - start)
            assert len(contents.pieces) == 10_000
        archive.close()

    assert min(took_s) < 1.0

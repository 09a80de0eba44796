"""Laws of a damaged state directory, file by file: nothing in it is taken for what it is not.

SEMANTIC_ACTORS_DAMAGES says how often each kind of file is damaged in each way.
"""

import asyncio
import os
import random
import shutil
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from semantic_actors.domain.ids import TokenIds
from semantic_actors.kv import blocks
from semantic_actors.kv.blocks import BlockHash
from semantic_actors.persistence import format as format_
from semantic_actors.persistence import index
from tests.e2e.damage import KINDS, Damage, flip_at
from tests.e2e.known_state import leave, revisit
from tests.persistence.rig import store_at

pytestmark = pytest.mark.asyncio

DAMAGES = int(os.environ.get("SEMANTIC_ACTORS_DAMAGES", "2"))

LOG = "catalog.sqlite-wal"
FILES = ("piece", "journal", "secret", "catalog.sqlite", LOG)
COLUMNS = (
    *("pieces.parent", "pieces.depth", "pieces.start", "pieces.tokens", "pieces.size_bytes"),
    *("turns.conversation", "turns.parent", "turns.answer", "turns.base", "turns.shared"),
    "turns.added",
)
ROW_HEADER_BYTES = 16
"""About as many bytes as say what the values of a row are."""

KEYS = {"pieces": "name", "turns": "rowid"}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Leave a directory in order, and as after a kill."""
    tmp = tmp_path_factory.mktemp("left")
    asyncio.run(leave(tmp / "state", tmp / "killed"))
    return tmp / "state", tmp / "killed"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(DAMAGES))
@pytest.mark.parametrize("damage", KINDS, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", FILES)
async def test_damage_costs_a_miss_at_most(
    left: tuple[Path, Path], tmp_path: Path, kind: str, damage: Damage, seed: int
) -> None:
    """Damage a file of a directory that was left in order or not: what is found there is true.

    What is lost is told of, except where a log of commits ends early, as it does after a crash.
    """
    rng = random.Random(f"{kind} {damage.__name__} {seed}")
    in_order, killed = left
    source = killed if kind == LOG else rng.choice((in_order, killed))
    state = Path(shutil.copytree(source, tmp_path / "state"))
    damage(rng.choice(_files(state)[kind]), rng)

    await revisit(state, told=kind != LOG)


@pytest.mark.slow
@pytest.mark.parametrize("column", COLUMNS)
async def test_a_catalog_is_not_believed(
    left: tuple[Path, Path], tmp_path: Path, column: str
) -> None:
    """Flip a bit of one column, row by row, where SQLite does not see it: nothing wrong is told."""
    table, _, name = column.partition(".")
    in_order, _ = left
    for row in range(_rows(in_order, table)):
        state = Path(shutil.copytree(in_order, tmp_path / str(row)))
        _flip_value(state, table, name, row)

        await revisit(state, told=False)


@pytest.mark.slow
@pytest.mark.parametrize("column", ["pieces.name", "turns.conversation"])
async def test_a_catalog_s_types_are_not_believed(
    left: tuple[Path, Path], tmp_path: Path, column: str
) -> None:
    """Flip bits right before a row's first long value, where SQLite has the types of all of them.

    A catalog that can no longer be read is replaced, and not tried again for ever.
    """
    table, _, name = column.partition(".")
    in_order, _ = left
    with closing(sqlite3.connect(in_order / "catalog.sqlite")) as db:
        (value,) = db.execute(f"SELECT {name} FROM {table}").fetchone()  # noqa: S608
    place = (in_order / "catalog.sqlite").read_bytes().index(value)
    for before in range(1, ROW_HEADER_BYTES):
        for bit in (1, 2):
            state = Path(shutil.copytree(in_order, tmp_path / f"{before} {bit}"))
            flip_at(state / "catalog.sqlite", place - before, bit)

            await revisit(state, told=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "alike",
    [
        pytest.param(False, id="all different"),
        pytest.param(
            True,
            id="alike but for a block",
            marks=pytest.mark.xfail(
                strict=True, reason="of what comes before a block only the name is compared"
            ),
        ),
    ],
)
async def test_names_that_collide_lead_to_no_wrong_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, alike: bool
) -> None:
    """With names of 8 bits, what is found of a path is its own, for the tokens are compared.

    Where paths differ in one block only, and the names of these blocks are the same, what comes
    after it has the same name and the same tokens, too, and yet is not the same.
    """
    real = blocks.name

    def short(parent: BlockHash, tokens: bytes, start: int = 0) -> BlockHash:
        return BlockHash(real(parent, tokens, start)[:1] * len(parent))

    for module in (blocks, index, format_):
        monkeypatch.setattr(module, "name", short)
    rng = random.Random(0)
    paths = [_words(rng, 600) for _ in range(100)]
    if alike:
        paths = [(*tokens[:256], *paths[0][256:]) for tokens in paths]
    for _ in range(2):
        async with store_at(tmp_path) as client:
            for tokens in paths:
                assert await client.save(tokens, await client.look_up(tokens)) == ""
                for known in rng.sample(paths, 5):
                    await client.correct(known)
            assert (await client.statistics()).pieces > 0


def _words(rng: random.Random, count: int) -> TokenIds:
    return tuple(rng.randrange(50_000) for _ in range(count))


def _files(state: Path) -> dict[str, list[Path]]:
    found = defaultdict(list)
    kinds = {".safetensors": "piece", ".jsonl": "journal"}
    for file in sorted(state.rglob("*")):
        if file.is_file():
            found[kinds.get(file.suffix, file.name)].append(file)
    return found


def _rows(state: Path, table: str) -> int:
    with closing(sqlite3.connect(state / "catalog.sqlite")) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def _flip_value(state: Path, table: str, column: str, row: int) -> None:
    """Flip the lowest bit in the middle of a value."""
    with closing(sqlite3.connect(state / "catalog.sqlite")) as db:
        place = f"FROM {table} LIMIT 1 OFFSET {row}"
        value, key = db.execute(f"SELECT {column}, {KEYS[table]} {place}").fetchone()
        if isinstance(value, int):
            value ^= 1
        elif value:
            middle = len(value) // 2
            value = value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
        db.execute(
            f"UPDATE {table} SET {column} = ? WHERE {KEYS[table]} = ?",  # noqa: S608
            (value, key),
        )
        db.commit()

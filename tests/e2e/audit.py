"""What is in a state directory while no daemon has it, read and verified by the store's own code.

Nothing is swept, rebuilt or recovered here: the catalog is read as a copy, so that the next daemon
finds what the last one left.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from semantic_actors.kv.layout import Layout, Part
from semantic_actors.persistence import Fs, open_state
from semantic_actors.persistence.catalog import Session, SessionKey, Turn
from semantic_actors.persistence.files import BLOCKS, path_of
from semantic_actors.persistence.format import (
    Stored,
    inspect_piece,
    read_header,
    read_piece,
)
from semantic_actors.persistence.journal import SESSIONS, Journals
from semantic_actors.persistence.sqlite_catalog import FILE, SqliteCatalog
from semantic_actors.persistence.transfer import closing


class Found(NamedTuple):
    """What a directory holds: all `files` are verified, `rows` are the catalog's."""

    files: frozenset[Stored]
    rows: frozenset[Stored]
    turns: dict[SessionKey, tuple[Turn, ...]]
    temporary: int
    """Files that were being written."""

    @property
    def debris(self) -> int:
        """Files that do not count."""
        return len(self.files - self.rows)


def audit(state: Path) -> Found:
    """Verify every file and compare it with the catalog and the journals.

    Raises Flawed for a file under a final name that is not true, AssertionError where the catalog
    says more than the files do.
    """
    with open_state(state) as fs:
        files = frozenset(verified(fs, path) for path in _paths(fs))
        told = Journals(fs).scan() if SESSIONS in fs.list("") else {}
        rows, sessions = _catalog(state)
    assert rows <= files, f"{len(rows - files)} committed pieces have no file"
    for session, turns in sessions.items():
        _, written = told.get(session.key, (False, ()))
        assert set(turns) <= set(written), f"{session.key} has turns that no journal has"
    turns_of = {session.key: turns for session, turns in sessions.items()}
    return Found(files, rows, turns_of, temporary_files(state))


def verified(fs: Fs, path: str) -> Stored:
    """Verify the file of a piece and say what it is. Raises Flawed, OSError."""
    stored, _, _ = read(fs, path)
    assert path_of(stored.name) == path
    return stored


def read(fs: Fs, path: str) -> tuple[Stored, Layout, memoryview]:
    """Read the whole of a piece's file, whatever it is of. Raises Flawed, OSError."""
    with closing(fs, fs.open(path)) as fd:
        header, stored = read_header(fs, fd), inspect_piece(fs, fd)
        layout = Layout(
            tuple(
                Part(name, one.dtype, one.shape[0], one.shape[2])
                for name, one in header.tensors.items()
                if name not in ("tokens", "checksum")
            )
        )
        return stored, layout, read_piece(fs, fd, stored, header.metadata.identity, layout)


def temporary_files(state: Path) -> int:
    """Count the files that were being written."""
    return sum(1 for folder in (BLOCKS, SESSIONS) for _ in (state / folder).rglob(".*"))


def _paths(fs: Fs) -> Iterator[str]:
    if BLOCKS in fs.list(""):
        for folder in fs.list(BLOCKS):
            for name in fs.list(f"{BLOCKS}/{folder}"):
                if not name.startswith("."):
                    yield f"{BLOCKS}/{folder}/{name}"


def _catalog(state: Path) -> tuple[frozenset[Stored], dict[Session, tuple[Turn, ...]]]:
    with tempfile.TemporaryDirectory() as copy:
        for name in (FILE, f"{FILE}-wal"):
            if (state / name).exists():
                shutil.copy(state / name, copy)
        catalog = SqliteCatalog(str(Path(copy) / FILE))
        try:
            rows = frozenset(piece for piece, _ in catalog.pieces())
            return rows, {one: catalog.turns(one.key) for one in catalog.sessions()}
        finally:
            catalog.close()

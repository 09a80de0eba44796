"""The catalog as an SQLite database: write-ahead log, every commit synced, checked when opened.

`user_version` is 1000 x major + minor of the schema, and is set by the rebuild that fills it: one
that reads 0 is not complete. SQLite checks its own structure, not what rows say: each has a seal,
which is verified when the catalog is opened and when a row is read.
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import structlog

from semantic_actors.kv.blocks import BlockHash
from semantic_actors.persistence.catalog import Changes, Session, SessionKey, Turn
from semantic_actors.persistence.errors import CatalogDamaged, CatalogTooNew
from semantic_actors.persistence.format import Stored
from semantic_actors.persistence.fs import Fs

FILE: Final = "catalog.sqlite"
MAJOR: Final = 1
MINOR: Final = 0

_FILES: Final = (FILE, f"{FILE}-wal", f"{FILE}-shm")
_BROKEN: Final = "broken-"
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS pieces (
    name BLOB PRIMARY KEY, parent BLOB NOT NULL, depth INTEGER NOT NULL, start INTEGER NOT NULL,
    tokens BLOB NOT NULL, size_bytes INTEGER NOT NULL, used REAL NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    id INTEGER PRIMARY KEY, principal BLOB NOT NULL, session BLOB NOT NULL, created REAL NOT NULL,
    used REAL NOT NULL, pinned INTEGER NOT NULL DEFAULT 0, UNIQUE (principal, session)
);
CREATE TABLE IF NOT EXISTS turns (
    id INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    conversation BLOB NOT NULL, parent BLOB NOT NULL, answer BLOB NOT NULL, base INTEGER NOT NULL,
    shared INTEGER NOT NULL, added BLOB NOT NULL, at REAL NOT NULL, seal BLOB NOT NULL,
    PRIMARY KEY (id, number)
);
CREATE INDEX IF NOT EXISTS turns_by_conversation ON turns (conversation);
"""
_TURN: Final = "number, conversation, parent, answer, base, shared, added, at"

log = structlog.get_logger(__name__)


class SqliteCatalog:
    """See `Catalog`."""

    def __init__(self, path: str) -> None:
        """Raises CatalogDamaged, CatalogTooNew or OSError."""
        with _told():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.text_factory = lambda text: text.decode(errors="replace")  # no text is ours
        try:
            with _told():
                self._set_up()
        except BaseException:
            self._db.close()
            raise

    def _set_up(self) -> None:
        version = self._version()
        if version // 1000 > MAJOR:
            message = f"the catalog has schema {version // 1000}, known is {MAJOR}"
            raise CatalogTooNew(message)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        verdict = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise CatalogDamaged(verdict)
        self._db.executescript(_SCHEMA)
        self.pieces()
        for session in self.sessions():
            self.turns(session.key)

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def complete(self) -> bool:
        """See `Catalog`."""
        with _told():
            return self._version() != 0

    def rebuild(
        self,
        pieces: Iterable[tuple[Stored, float]],
        sessions: Mapping[SessionKey, tuple[bool, tuple[Turn, ...]]],
    ) -> None:
        """See `Catalog`."""
        with self._transaction() as db:
            db.execute("DELETE FROM pieces")
            db.execute("DELETE FROM sessions")
            _add_pieces(db, pieces)
            for key, (pinned, turns) in sessions.items():
                _add_session(db, key, turns, pinned=pinned)
            db.execute(f"PRAGMA user_version = {MAJOR * 1000 + MINOR}")

    def pieces(self) -> list[tuple[Stored, float]]:
        """See `Catalog`."""
        query = (
            "SELECT name, parent, depth, start, tokens, size_bytes, seal, used FROM pieces"
            " ORDER BY used, depth DESC, start DESC"
        )
        with _told():
            rows = self._db.execute(query)
            return [(Stored(*_sealed(*row[:7])), row[7]) for row in rows]

    def commit(self, changes: Changes) -> None:
        """See `Catalog`."""
        with self._transaction() as db:
            _change_pieces(db, changes)

    def sessions(self, principal: bytes | None = None) -> list[Session]:
        """See `Catalog`."""
        query = (
            "SELECT principal, session, created, used, pinned,"
            " (SELECT count(*) FROM turns WHERE turns.id = sessions.id) FROM sessions"
            " WHERE ?1 IS NULL OR principal = ?1 ORDER BY used DESC, id DESC"
        )
        with _told():
            return [
                Session(SessionKey(owner, session), created, used, bool(pinned), turns)
                for owner, session, created, used, pinned, turns in self._db.execute(
                    query, (principal,)
                )
            ]

    def turns(self, key: SessionKey) -> tuple[Turn, ...]:
        """See `Catalog`."""
        query = (
            f"SELECT {_TURN}, seal FROM turns JOIN sessions USING (id)"  # noqa: S608  (our own)
            " WHERE principal = ? AND session = ? ORDER BY number"
        )
        with _told():
            rows = self._db.execute(query, (key.principal, key.session))
            return tuple(Turn(*_sealed(*row, of=key)) for row in rows)

    def remember(self, key: SessionKey, turn: Turn) -> None:
        """See `Catalog`."""
        with self._transaction() as db:
            _add_session(db, key, (turn,), pinned=None)

    def recognise(self, principal: bytes, conversation: bytes) -> bytes | None:
        """See `Catalog`."""
        query = (
            "SELECT session FROM turns JOIN sessions USING (id)"
            " WHERE conversation = ? AND principal = ? ORDER BY at DESC LIMIT 1"
        )
        with _told():
            row = self._db.execute(query, (conversation, principal)).fetchone()
        return None if row is None else row[0]

    def replace(self, key: SessionKey, turns: tuple[Turn, ...], changes: Changes) -> None:
        """See `Catalog`."""
        with self._transaction() as db:
            pinned = _delete_session(db, key)
            if turns:
                _add_session(db, key, turns, pinned=pinned)
            _change_pieces(db, changes)

    def pin(self, key: SessionKey, *, pinned: bool) -> None:
        """See `Catalog`."""
        with self._transaction() as db:
            db.execute(
                "UPDATE sessions SET pinned = ? WHERE principal = ? AND session = ?",
                (pinned, key.principal, key.session),
            )

    def close(self) -> None:
        """See `Catalog`."""
        with _told():
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def open_catalog(fs: Fs) -> SqliteCatalog:
    """Open the catalog, or put a damaged one aside and begin anew.

    Raises CatalogTooNew, or OSError.
    """
    _claim(fs)
    try:
        return SqliteCatalog(fs.path(FILE))
    except CatalogDamaged as error:
        log.warning("catalog_set_aside", reason=str(error))
    for name in set(_FILES).intersection(fs.list("")):
        fs.rename(name, _BROKEN + name)
    _claim(fs)
    return SqliteCatalog(fs.path(FILE))


def _claim(fs: Fs) -> None:
    """See to it that the file is ours and private before SQLite opens it by its name."""
    if FILE in fs.list(""):
        fs.close(fs.open(FILE, writable=True))
    else:
        fs.close(fs.create(FILE))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell SQLite's errors in the catalog's words."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code & 0xFF in _DAMAGE:
            raise CatalogDamaged(str(error)) from error
        message = f"the catalog: {error}"
        raise OSError(message) from error


def _add_pieces(db: sqlite3.Connection, pieces: Iterable[tuple[Stored, float]]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO pieces (name, parent, depth, start, tokens, size_bytes, seal, used)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (*_with_seal(p.name, p.parent, p.depth, p.start, p.tokens, p.size_bytes), used)
            for p, used in pieces
        ],
    )


def _change_pieces(db: sqlite3.Connection, changes: Changes) -> None:
    db.executemany("DELETE FROM pieces WHERE name = ?", _each(changes.removed))
    _add_pieces(db, changes.added)
    db.executemany(
        "UPDATE pieces SET used = ? WHERE name = ?",
        [(used, name) for name, used in changes.used.items()],
    )


def _each(names: Iterable[BlockHash]) -> list[tuple[BlockHash]]:
    return [(name,) for name in names]


def _add_session(
    db: sqlite3.Connection, key: SessionKey, turns: tuple[Turn, ...], *, pinned: bool | None
) -> None:
    """Add turns to a session, which is made if there is none; `pinned` None leaves it as it is."""
    at = turns[-1].at if turns else 0.0
    row: Any = db.execute(
        "INSERT INTO sessions (principal, session, created, used, pinned) VALUES (?1, ?2, ?3, ?4,"
        " coalesce(?5, 0)) ON CONFLICT DO UPDATE SET used = ?4, pinned = coalesce(?5, pinned)"
        " RETURNING id",
        (key.principal, key.session, turns[0].at if turns else at, at, pinned),
    ).fetchone()
    db.executemany(
        f"INSERT INTO turns (id, {_TURN}, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        [(row[0], *_with_seal(*msgspec.structs.astuple(turn), of=key)) for turn in turns],
    )


def _with_seal(*values: Any, of: SessionKey | None = None) -> tuple[Any, ...]:
    """Add the digest of some values, and of whose they are."""
    whose = () if of is None else (of.principal, of.session)
    return (*values, hashlib.sha256(msgspec.msgpack.encode((*whose, *values))).digest())


def _sealed(*row: Any, of: SessionKey | None = None) -> tuple[Any, ...]:
    """Return values without their seal. Raises CatalogDamaged."""
    *values, _ = row
    if _with_seal(*values, of=of) != row:
        message = "a row is not what was written"
        raise CatalogDamaged(message)
    return tuple(values)


def _delete_session(db: sqlite3.Connection, key: SessionKey) -> bool:
    """Delete a session and say whether it was pinned."""
    row = db.execute(
        "DELETE FROM sessions WHERE principal = ? AND session = ? RETURNING pinned",
        (key.principal, key.session),
    ).fetchone()
    return row is not None and bool(row[0])

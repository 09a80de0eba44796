"""The archive: the store's files, catalog and journals, and the order in which they change.

Files come first, each written and synced; then, once for each directory, their names; then one
transaction. What goes, goes the other way round: rows first, then files. So whatever instant a
process ends at, a row has a file and a file without a row is debris, swept at the next start.

Every call blocks. `take` belongs on the reading thread, all else on the writing one. Raises OSError
for what may pass, Flawed, CatalogDamaged.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import structlog

from semantic_actors.domain.ids import SessionId, TokenIds
from semantic_actors.kv.blocks import BlockHash
from semantic_actors.kv.layout import Layout
from semantic_actors.kv.prefix import common_prefix
from semantic_actors.persistence.catalog import (
    Answer,
    Catalog,
    Changes,
    Session,
    SessionKey,
    Turn,
    heads_of,
    next_turn,
    path_of,
    session_of,
)
from semantic_actors.persistence.errors import KEPT, Flawed
from semantic_actors.persistence.files import PieceFiles
from semantic_actors.persistence.format import Stored
from semantic_actors.persistence.fs import CACHEDIR_TAG, Fs
from semantic_actors.persistence.journal import MAJOR, Journals, Pinned, Said
from semantic_actors.persistence.responses import Responses
from semantic_actors.persistence.transfer import discard_file, publish_file, read_file

SALT_FILE: Final = "secret"
SECRET_BYTES: Final = 32

_EXPIRED_AT_ONCE: Final = 64
"""Others wait for the writing thread meanwhile."""

log = structlog.get_logger(__name__)


class Contents(msgspec.Struct, frozen=True):
    """What an archive holds when it is opened."""

    secret: bytes
    pieces: list[tuple[Stored, float]]
    """And when each was last used, in order of eviction."""
    pinned: Mapping[SessionKey, tuple[TokenIds, ...]]
    """Paths of the sessions whose pieces must stay."""


class Archive:
    """See the module."""

    def __init__(
        self, fs: Fs, identity: str, layout: Layout, open_catalog: Callable[[Fs], Catalog]
    ) -> None:
        self._fs = fs
        self._open_catalog = open_catalog
        self._files = PieceFiles(fs, identity, layout)
        self._journals = Journals(fs)
        self.responses = Responses(fs)
        self._catalog: Catalog | None = None
        self.sized = self._files.sized
        self.take = self._files.take
        self.publish = self._files.publish
        self.rewrite = self._files.rewrite
        self.discard = self._files.discard

    @property
    def catalog(self) -> Catalog:
        """The catalog, once opened."""
        if self._catalog is None:
            message = "the archive is not open"
            raise OSError(message)
        return self._catalog

    def open(self, now: float) -> Contents:
        """Make what is missing, sweep debris, and say what there is. Raises CatalogTooNew, too."""
        self.close()
        self._file("CACHEDIR.TAG", CACHEDIR_TAG)
        self._files.prepare()
        secret = self._secret()
        self._journals.prepare()
        self.responses.prepare()
        self._catalog = self._open_catalog(self._fs)
        present = list(self._files.names())
        if not self._catalog.complete():
            self._catalog.rebuild(self._scan(present, now), self._journals.scan())
        pieces = self._reconcile(set(present))
        sessions = self._catalog.sessions()
        self._journals.sweep(session.key for session in sessions)
        pinned = {s.key: self.heads(s.key) for s in sessions if s.pinned}
        return Contents(secret, pieces, pinned)

    def close(self) -> None:
        """Let go of the catalog."""
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    def commit(self, changes: Changes) -> None:
        """Make published pieces count, and others no longer."""
        self._files.sync(piece.name for piece, _ in changes.added)
        self.catalog.commit(changes)
        self._files.discard(changes.removed)

    def quarantine(self, piece: BlockHash, most_bytes: int) -> None:
        """Let a piece that failed verification count no longer; keep its file to be looked at."""
        self.catalog.commit(Changes(removed=(piece,)))
        self._files.quarantine(piece, most_bytes)

    def remember(self, key: SessionKey, answer: Answer, now: float) -> None:
        """Add a turn to a session, unless it said the same before."""
        turn = next_turn(self.catalog.turns(key), answer, now)
        if turn is not None:
            self._journals.append(key, Said(MAJOR, key, turn))
            self.catalog.remember(key, turn)

    def recognise(self, principal: bytes, conversations: Iterable[bytes]) -> SessionId | None:
        """Name the session that gave the answer which ends the first known conversation."""
        for conversation in conversations:
            session = self.catalog.recognise(principal, conversation)
            if session is not None:
                return session_of(SessionKey(principal, session))
        return None

    def turns(self, key: SessionKey) -> tuple[Turn, ...]:
        """List what a session said, oldest first."""
        return self.catalog.turns(key)

    def sessions(self, principal: bytes | None) -> list[Session]:
        """List sessions, last used first."""
        return self.catalog.sessions(principal)

    def heads(self, key: SessionKey) -> tuple[TokenIds, ...]:
        """List the paths of a session that no later turn goes on from."""
        turns = self.catalog.turns(key)
        return tuple(path_of(turns, head) for head in dict.fromkeys(heads_of(turns).values()))

    def private(self, key: SessionKey) -> list[tuple[TokenIds, int]] | None:
        """List a session's paths, and how much of each other sessions have, too."""
        mine = self.heads(key)
        if not mine:
            return None
        shared = [0] * len(mine)
        for session in self.catalog.sessions(key.principal):
            if session.key != key:
                for other in self.heads(session.key):
                    shared = [
                        max(most, common_prefix(path, other))
                        for most, path in zip(shared, mine, strict=True)
                    ]
        return list(zip(mine, shared, strict=True))

    def pin(self, key: SessionKey, *, pinned: bool) -> bool:
        """Keep what a session needs, or no longer; False if there is no such session."""
        if not self.catalog.turns(key):
            return False
        self._journals.append(key, Pinned(MAJOR, key, pinned))
        self.catalog.pin(key, pinned=pinned)
        return True

    def rewind(self, key: SessionKey, conversation: bytes) -> bool:
        """Let a session be as it was after a turn; False if there is no such turn."""
        turns = self._until(key, conversation)
        if turns:
            self.catalog.replace(key, turns, Changes())
            pinned = any(one.key == key and one.pinned for one in self.catalog.sessions())
            self._journals.replace(key, turns, pinned=pinned)
        return bool(turns)

    def fork(self, key: SessionKey, into: SessionKey, conversation: bytes | None) -> bool:
        """Copy a session as it is, or was after a turn; False if it is not there or `into` is."""
        turns = self._until(key, conversation)
        if not turns or self.catalog.turns(into):
            return False
        self._journals.replace(into, turns)
        self.catalog.replace(into, turns, Changes())
        return True

    def adopt(self, key: SessionKey, turns: tuple[Turn, ...]) -> bool:
        """Begin a session with these turns; False if it is there."""
        if not turns or self.catalog.turns(key):
            return False
        self._journals.replace(key, turns)
        self.catalog.replace(key, turns, Changes())
        return True

    def forget(self, key: SessionKey, changes: Changes) -> None:
        """Remove a session, and make these changes with it."""
        self._files.sync(piece.name for piece, _ in changes.added)
        self.catalog.replace(key, (), changes)
        self._journals.discard(key)
        self.responses.forget(key)
        self._files.discard(changes.removed)

    def expire(self, before: float, most: int) -> int:
        """Forget sessions not used since an instant, or beyond so many, except pinned ones."""
        expired = [
            session.key
            for place, session in enumerate(self.catalog.sessions())
            if not session.pinned and (session.used < before or place >= most)
        ]
        for key in expired[:_EXPIRED_AT_ONCE]:
            self.forget(key, Changes())
        return len(expired)

    def _until(self, key: SessionKey, conversation: bytes | None) -> tuple[Turn, ...]:
        turns = self.catalog.turns(key)
        ends = [
            number
            for number, turn in enumerate(turns, start=1)
            if conversation is None or turn.conversation == conversation
        ]
        return turns[: ends[-1]] if ends else ()

    def _reconcile(self, present: set[BlockHash]) -> list[tuple[Stored, float]]:
        """Forget rows without a file, remove files without a row; return what has both."""
        listed = self.catalog.pieces()
        kept = [(piece, used) for piece, used in listed if piece.name in present]
        if len(kept) < len(listed):
            lost = tuple(piece.name for piece, _ in listed if piece.name not in present)
            log.warning("pieces_lost", count=len(lost))
            self.catalog.commit(Changes(removed=lost))
        debris = present.difference(piece.name for piece, _ in kept)
        self._files.discard(piece for piece in debris if not self._must_stay(piece))
        return kept

    def _must_stay(self, piece: BlockHash) -> bool:
        try:
            self._files.inspect(piece)
        except Flawed as error:
            return error.flaw in KEPT
        return False

    def _scan(self, present: Iterable[BlockHash], now: float) -> list[tuple[Stored, float]]:
        found = []
        for piece in present:
            try:
                found.append((self._files.inspect(piece), now))
            except Flawed as error:
                log.warning("file_ignored", piece=piece.hex(), reason=str(error))
        log.info("catalog_rebuilt", pieces=len(found))
        return found

    def _secret(self) -> bytes:
        """Read what names are salted with; made anew where it is not what was written."""
        secret, found = self._read_secret()
        if not secret:
            if found or self._files.any():
                log.warning("secret_replaced", reason=found or "it is gone")
            secret = secrets.token_bytes(SECRET_BYTES)
            discard_file(self._fs, SALT_FILE)
            self._file(SALT_FILE, secret + hashlib.sha256(secret).digest())
        return secret

    def _read_secret(self) -> tuple[bytes, str]:
        """Return the secret, or nothing and what is wrong with it."""
        try:
            content = read_file(self._fs, SALT_FILE)
        except FileNotFoundError:
            return b"", ""
        secret, digest = content[:SECRET_BYTES], content[SECRET_BYTES:]
        if hashlib.sha256(secret).digest() != digest:
            return b"", "it is not what was written"
        return secret, ""

    def _file(self, path: str, content: bytes) -> bytes:
        """Read a small file; where there is none, make it with this content."""
        try:
            return read_file(self._fs, path)
        except FileNotFoundError:
            publish_file(self._fs, path, [content])
            self._fs.sync_directory("")
            return content

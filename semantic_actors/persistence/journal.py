"""Journals: what sessions said, one file each, so that a lost catalog takes no session with it.

Pieces are shared and immutable, and a turn may add none: what a session said cannot be told by the
headers of pieces. So each session has a file of lines, each of them a checksum and a record:

    sessions/<sha256 of principal and session>.jsonl

A line that is torn or flipped is left out; the next one begins with a line break of its own. The
catalog is the truth while there is one: a journal whose session it does not know is debris.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
import structlog

from semantic_actors.persistence.catalog import SessionKey, Turn
from semantic_actors.persistence.errors import Flawed
from semantic_actors.persistence.fs import Fs
from semantic_actors.persistence.transfer import (
    closing,
    discard_file,
    publish_file,
    read_file,
    write_all,
)

SESSIONS: Final = "sessions"
SUFFIX: Final = ".jsonl"
MAJOR: Final = 1

_CHECKSUM_CHARS: Final = 32

log = structlog.get_logger(__name__)


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A session gave an answer; a later one of the same number replaces it."""

    version: int
    key: SessionKey
    turn: Turn


class Pinned(msgspec.Struct, frozen=True, tag="pinned"):
    """A session was pinned, or no longer is."""

    version: int
    key: SessionKey
    pinned: bool


Record = Said | Pinned


class Journals:
    """See the module. Every call blocks; raises OSError."""

    def __init__(self, fs: Fs) -> None:
        self._fs = fs

    def prepare(self) -> None:
        """Make the directory."""
        self._fs.make_directory(SESSIONS)
        self._fs.sync_directory("")

    def append(self, key: SessionKey, *records: Record) -> None:
        """Add records to a session's journal; they are durable on return."""
        path = path_of(key)
        try:
            fd = self._fs.open(path, writable=True)
        except FileNotFoundError:
            self._write(path, records)
            return
        with closing(self._fs, fd):
            write_all(self._fs, fd, [_lines(records)], self._fs.size(fd))
            self._fs.sync(fd)

    def replace(self, key: SessionKey, turns: Iterable[Turn], *, pinned: bool = False) -> None:
        """Let a session's journal say this and no more."""
        said = [Said(MAJOR, key, turn) for turn in turns]
        self._write(path_of(key), [*said, Pinned(MAJOR, key, pinned)])

    def discard(self, key: SessionKey) -> None:
        """Remove a session's journal."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.unlink(path_of(key))
        self._fs.sync_directory(SESSIONS)

    def sweep(self, known: Iterable[SessionKey]) -> None:
        """Remove what is being written, and the journals of sessions that are not known."""
        wanted = {path_of(key) for key in known}
        for name in self._fs.list(SESSIONS):
            path = f"{SESSIONS}/{name}"
            if path not in wanted:
                discard_file(self._fs, path)

    def scan(self) -> Mapping[SessionKey, tuple[bool, tuple[Turn, ...]]]:
        """Read all that the journals say: whether a session is pinned, and its turns."""
        found: dict[SessionKey, tuple[bool, tuple[Turn, ...]]] = {}
        for name in self._fs.list(SESSIONS):
            try:
                records = list(self._read(f"{SESSIONS}/{name}"))
            except (OSError, Flawed) as error:
                log.warning("journal_ignored", name=name, reason=str(error))
                continue
            for key in {record.key for record in records}:
                pinned, turns = _told([record for record in records if record.key == key])
                if turns:
                    found[key] = pinned, turns
        return found

    def _read(self, path: str) -> Iterator[Record]:
        content = read_file(self._fs, path)
        for line in filter(None, content.split(b"\n")):
            record = _record(line)
            if record is None:
                log.warning("journal_line_ignored", path=path)
            else:
                yield record

    def _write(self, path: str, records: Iterable[Record]) -> None:
        publish_file(self._fs, path, [_lines(records)])
        self._fs.sync_directory(SESSIONS)


def path_of(key: SessionKey) -> str:
    """Where the journal of a session is; nothing that a client chose reaches a path."""
    owner = len(key.principal).to_bytes(4, "little") + key.principal
    return f"{SESSIONS}/{hashlib.sha256(owner + key.session).hexdigest()}{SUFFIX}"


def _lines(records: Iterable[Record]) -> bytes:
    texts = [msgspec.json.encode(record) for record in records]
    return b"".join(b"\n" + _checksum(text) + b" " + text + b"\n" for text in texts)


def _record(line: bytes) -> Record | None:
    checksum, _, text = line.partition(b" ")
    if checksum != _checksum(text):
        return None
    try:
        record = msgspec.json.decode(text, type=Record)
    except msgspec.MsgspecError:
        return None
    return record if record.version <= MAJOR else None


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_CHECKSUM_CHARS].encode()


def _told(records: Iterable[Record]) -> tuple[bool, tuple[Turn, ...]]:
    """Say what a session's records add up to; what goes on from a lost turn is lost, too."""
    pinned = False
    turns: dict[int, Turn] = {}
    for record in records:
        match record:
            case Said(turn=turn):
                turns[turn.number] = turn
            case Pinned():
                pinned = record.pinned
    kept: dict[int, Turn] = {}
    for number in sorted(turns):
        if turns[number].base == 0 or turns[number].base in kept:
            kept[number] = turns[number]
    return pinned, tuple(kept.values())

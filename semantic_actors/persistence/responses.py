"""Responses: conversations that can be gone on from by an id alone, one file each.

    responses/<made>-<id>-<session>.response

Made is in milliseconds, the others are digests. The file is a SHA-256 of all behind it, then a
record in msgpack. Each holds its whole conversation, not a link to the one before: none is lost
with another that is deleted, expired or damaged, and to go on takes one read. Text is a thousandth
of the keys and values of the same tokens, so what is said twice is cheap.

State: the index of the files, the oldest first. Owner: this object, on the writing thread. Every
call blocks; raises OSError.
"""

import hashlib
import re
from typing import Final

import msgspec
import structlog

from semantic_actors.persistence.catalog import SessionKey
from semantic_actors.persistence.errors import Flaw, Flawed
from semantic_actors.persistence.fs import Fs
from semantic_actors.persistence.transfer import closing, discard_file, publish_file, read_file

RESPONSES: Final = "responses"
MAJOR: Final = 1

MOST_RESPONSES: Final = 16_384
"""Responses that are kept; each is a small file and an entry in memory."""

RESPONSES_SHARE: Final = 0.02
"""Part of the budget of keys and values that responses may take besides."""

_NAME: Final = re.compile(r"(\d{14})-([0-9a-f]{32})-([0-9a-f]{32})\.response")
_CHECKSUM_BYTES: Final = 32

log = structlog.get_logger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """What a file holds. `content` is whoever keeps it to read."""

    version: int
    principal: bytes
    response: bytes
    session: bytes
    content: bytes


class _File(msgspec.Struct, frozen=True):
    path: str
    session: str
    made_ms: int
    size_bytes: int


class Responses:
    """See the module."""

    def __init__(self, fs: Fs) -> None:
        self._fs = fs
        self._files: dict[str, _File] = {}
        self._size_bytes = 0

    def prepare(self) -> None:
        """Make the directory, sweep what was being written, and see what there is."""
        self._fs.make_directory(RESPONSES)
        self._fs.sync_directory("")
        self._files.clear()
        self._size_bytes = 0
        for name in self._fs.list(RESPONSES):
            path = f"{RESPONSES}/{name}"
            if found := _NAME.fullmatch(name):
                made, response, session = found.groups()
                self._take_up(response, path, session, int(made))
            elif name.startswith("."):
                discard_file(self._fs, path)

    def keep(
        self, key: SessionKey, response: bytes, content: bytes, *, now: float, most_bytes: int
    ) -> bool:
        """Keep what was answered in a session; durable on return. False if it is too large.

        The oldest make room for it within `most_bytes`.
        """
        name, session, made_ms = _digest(key.principal, response), _session(key), int(now * 1000)
        kept = Kept(MAJOR, key.principal, response, key.session, content)
        record = msgspec.msgpack.encode(kept)
        size_bytes = _CHECKSUM_BYTES + len(record)
        if size_bytes > most_bytes:
            return False
        self._remove(name)
        while self._files and (
            len(self._files) >= MOST_RESPONSES or self._size_bytes + size_bytes > most_bytes
        ):
            self._remove(next(iter(self._files)))
        path = f"{RESPONSES}/{made_ms:014d}-{name}-{session}.response"
        publish_file(self._fs, path, [hashlib.sha256(record).digest(), record])
        self._add(name, _File(path, session, made_ms, size_bytes))
        self._fs.sync_directory(RESPONSES)
        return True

    def find(self, principal: bytes, response: bytes) -> bytes | None:
        """Return what was kept under an id; None if it is not there, or not what was written."""
        name = _digest(principal, response)
        file = self._files.get(name)
        if file is None:
            return None
        try:
            kept = _read(self._fs, file.path)
        except (FileNotFoundError, Flawed, msgspec.MsgspecError) as error:
            log.warning("response_flawed", path=file.path, reason=str(error))
            self._remove(name)
            return None
        if kept.version > MAJOR or (kept.principal, kept.response) != (principal, response):
            return None
        return kept.content

    def drop(self, principal: bytes, response: bytes) -> bool:
        """Remove what was kept under an id; False if there is nothing."""
        known = self._remove(_digest(principal, response))
        if known:
            self._fs.sync_directory(RESPONSES)
        return known

    def forget(self, key: SessionKey) -> None:
        """Remove all that was answered in a session."""
        session = _session(key)
        gone = [name for name, file in self._files.items() if file.session == session]
        for name in gone:
            self._remove(name)
        if gone:
            self._fs.sync_directory(RESPONSES)

    def expire(self, before: float) -> None:
        """Remove what was made before an instant."""
        for name, file in list(self._files.items()):
            if file.made_ms < before * 1000:
                self._remove(name)

    def _take_up(self, name: str, path: str, session: str, made_ms: int) -> None:
        try:
            with closing(self._fs, self._fs.open(path)) as fd:
                size_bytes = self._fs.size(fd)
        except OSError as error:
            log.warning("response_ignored", path=path, reason=str(error))
            return
        self._remove(name)  # an older one, which a newer was to replace
        self._add(name, _File(path, session, made_ms, size_bytes))

    def _add(self, name: str, file: _File) -> None:
        self._files[name] = file
        self._size_bytes += file.size_bytes

    def _remove(self, name: str) -> bool:
        file = self._files.pop(name, None)
        if file is None:
            return False
        self._size_bytes -= file.size_bytes
        discard_file(self._fs, file.path)
        return True


def _read(fs: Fs, path: str) -> Kept:
    """Read a file. Raises Flawed, MsgspecError, or OSError."""
    content = read_file(fs, path)
    checksum, record = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if hashlib.sha256(record).digest() != checksum:
        raise Flawed(Flaw.CHECKSUM)
    return msgspec.msgpack.decode(record, type=Kept)


def _digest(principal: bytes, name: bytes) -> str:
    owner = len(principal).to_bytes(4, "little") + principal
    return hashlib.sha256(owner + name).hexdigest()[:32]


def _session(key: SessionKey) -> str:
    return _digest(key.principal, key.session)

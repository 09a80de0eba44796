"""A disk in memory that fails when told to, and forgets what was not synced when the power goes.

Ideas: SQLite's test VFS, which fails at the N-th call for every N; LazyFS, which loses and tears
unsynced writes. A sync that fails drops what it should have written, as Linux does.
"""

import errno
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from semantic_actors.persistence.catalog import Catalog
from semantic_actors.persistence.fs import Buffer
from semantic_actors.persistence.sqlite_catalog import SqliteCatalog

SHORT = -1
"""Instead of an error: a write that takes half of what it is given."""
SECTORS = (512, 4096)


class Faults:
    """Counts calls, and fails at one of them, or from one on."""

    def __init__(self) -> None:
        self.calls = 0
        self.fired = ""
        self._at: int | None = None
        self._error = 0
        self._lasting = False
        self._only: Callable[[str], bool] = lambda _: True
        self._watch: Callable[[str], object] = lambda _: None

    def watch(self, watcher: Callable[[str], object]) -> None:
        """Tell each call to somebody."""
        self._watch = watcher

    def arm(
        self,
        at: int,
        error: int,
        *,
        lasting: bool = False,
        only: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Fail at the `at`-th call from now on, of those that `only` accepts."""
        self.calls, self.fired = 0, ""
        self._at, self._error, self._lasting, self._only = at, error, lasting, only

    def disarm(self) -> None:
        """Work again."""
        self._at = None

    def strikes(self, call: str) -> bool:
        """Count a call, and say whether it is to fail."""
        self._watch(call)
        if self._at is None or not self._only(call):
            return False
        self.calls += 1
        if self.calls == self._at or (self._lasting and self.calls > self._at):
            self.fired = self.fired or call
            return True
        return False

    def check(self, call: str) -> None:
        """Raise if this call is to fail."""
        if self.strikes(call) and self._error != SHORT:
            raise OSError(self._error, os.strerror(self._error), call)


@dataclass(eq=False)
class Inode:
    """A file's content as programs see it, as it is on the platter, and what lies between."""

    seen: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    writes: list[tuple[int, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class Change:
    """What names become, all at once; durable once one of the folders is synced."""

    names: tuple[tuple[str, Inode | None], ...]

    @property
    def folders(self) -> set[str]:
        """Where it happens."""
        return {path.rpartition("/")[0] for path, _ in self.names}


class FakeFs:
    """See the module, and `Fs`."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.folders: dict[str, set[str]] = {"": set()}
        self.names: dict[str, Inode] = {}
        self.durable_names: dict[str, Inode] = {}
        self.changes: list[Change] = []
        self._fds: dict[int, Inode] = {}
        self._next_fd = 3

    def path(self, name: str) -> str:
        """See `Fs`."""
        return f"/nowhere/{name}"

    def create(self, path: str) -> int:
        """See `Fs`."""
        self.faults.check("create")
        self._folder(path)
        if path in self.names:
            raise FileExistsError(errno.EEXIST, "it exists", path)
        self._change((path, Inode()))
        return self._open(self.names[path])

    def open(self, path: str, *, writable: bool = False) -> int:
        """See `Fs`."""
        del writable
        self.faults.check("open")
        return self._open(self._inode(path))

    def close(self, fd: int) -> None:
        """See `Fs`; never fails, or what is open could not be counted."""
        del self._fds[fd]

    def size(self, fd: int) -> int:
        """See `Fs`."""
        self.faults.check("size")
        return len(self._fds[fd].seen)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """See `Fs`."""
        data = b"".join(buffers)
        if self.faults.strikes("write"):
            if self.faults._error != SHORT:
                self._write(self._fds[fd], data[: len(data) // 2], offset)
                raise OSError(self.faults._error, os.strerror(self.faults._error), "write")
            data = data[: max(1, len(data) // 2)]
        self._write(self._fds[fd], data, offset)
        return len(data)

    def read(self, fd: int, buffer: memoryview, offset: int) -> int:
        """See `Fs`."""
        self.faults.check("read")
        data = self._fds[fd].seen[offset : offset + len(buffer)]
        buffer[: len(data)] = data
        return len(data)

    def sync(self, fd: int) -> None:
        """See `Fs`. A failed one has dropped what it could not write, and the next one works."""
        inode = self._fds[fd]
        try:
            self.faults.check("sync")
        except OSError:
            inode.writes.clear()
            raise
        for offset, data in inode.writes:
            _put(inode.durable, data, offset)
        inode.writes.clear()

    def rename(self, old: str, new: str) -> None:
        """See `Fs`."""
        self.faults.check("rename")
        self._folder(new)
        self._change((new, self._inode(old)), (old, None))

    def unlink(self, path: str) -> None:
        """See `Fs`."""
        self._inode(path)
        self.faults.check("unlink")
        self._change((path, None))

    def make_directory(self, path: str) -> None:
        """See `Fs`; durable at once."""
        self.faults.check("make_directory")
        self._folder(path)
        parent, _, name = path.rpartition("/")
        self.folders[parent].add(name)
        self.folders.setdefault(path, set())

    def sync_directory(self, path: str) -> None:
        """See `Fs`."""
        self.faults.check("sync_directory")
        for change in self.changes:
            if path in change.folders:
                _apply(self.durable_names, change)
        self.changes = [change for change in self.changes if path not in change.folders]

    def list(self, path: str) -> list[str]:
        """See `Fs`."""
        self.faults.check("list")
        if path not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "there is no such directory", path)
        places = [name.rpartition("/") for name in self.names]
        return sorted(self.folders[path].union(name for at, _, name in places if at == path))

    def lose_power(self, rng: random.Random) -> None:
        """Keep what is durable, and of the rest what chance leaves, torn."""
        for change in self.changes:
            if rng.random() < 0.5:
                _apply(self.durable_names, change)
        self.changes.clear()
        self.names = dict(self.durable_names)
        self._fds.clear()
        for inode in set(self.names.values()):
            for offset, data in inode.writes:
                _tear(inode.durable, data, offset, rng)
            inode.writes.clear()
            inode.seen = bytearray(inode.durable)

    @property
    def open_files(self) -> int:
        """Descriptors that were not closed."""
        return len(self._fds)

    def _write(self, inode: Inode, data: bytes, offset: int) -> None:
        _put(inode.seen, data, offset)
        inode.writes.append((offset, data))

    def _change(self, *names: tuple[str, Inode | None]) -> None:
        change = Change(names)
        self.changes.append(change)
        _apply(self.names, change)

    def _open(self, inode: Inode) -> int:
        self._next_fd += 1
        self._fds[self._next_fd] = inode
        return self._next_fd

    def _inode(self, path: str) -> Inode:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "there is no such file", path)
        return self.names[path]

    def _folder(self, path: str) -> None:
        if path.rpartition("/")[0] not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "there is no such directory", path)


class FakeCatalog:
    """A real catalog in memory that fails when told to; what it has committed outlives it all."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.inner = SqliteCatalog(":memory:")

    def __call__(self, _: object) -> Catalog:
        """Stand in for `open_catalog`."""
        self.faults.check("catalog open")
        catalog: Any = self
        return catalog  # type: ignore[no-any-return]

    def close(self) -> None:
        """See `Catalog`."""

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.faults.check(f"catalog before {name}")
            result = getattr(self.inner, name)(*args, **kwargs)
            self.faults.check(f"catalog after {name}")
            return result

        return call


def _put(content: bytearray, data: bytes, offset: int) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _tear(content: bytearray, data: bytes, offset: int, rng: random.Random) -> None:
    sector = rng.choice(SECTORS)
    for start in range(0, len(data), sector):
        if rng.random() < 0.5:
            _put(content, data[start : start + sector], offset + start)


def _apply(names: dict[str, Inode], change: Change) -> None:
    for path, inode in change.names:
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode

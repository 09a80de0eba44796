"""The file system as the store sees it: one directory, and in it nothing that is not ours.

Paths are relative to the state directory and made by us. Every call blocks, belongs on the store's
threads and raises OSError. What goes through here can fail in a test wherever it can fail on a
disk.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from semantic_actors.persistence.errors import StateDirectoryRefused
from semantic_actors.persistence.lock import take_lock

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700

Buffer = bytes | bytearray | memoryview

_IOV_MAX: Final = 1024
"""Buffers that one `pwritev` takes, on Linux and on macOS."""

_CALL_BYTES: Final = 4 << 20
"""Copied by one call; a kernel may keep the core meanwhile, and the event loop waits for it."""

CACHEDIR_TAG: Final = b"Signature: 8a477f597d28d172789f06886806bc55\n"
"""What tells backup programs to leave a directory out (bford.info/cachedir)."""


class UnsafeFile(OSError):
    """A link, a device, another user's file: something that we did not put there."""


class Fs(Protocol):
    """See the module."""

    def path(self, name: str) -> str:
        """Absolute path of a file, for SQLite, which opens its own."""

    def create(self, path: str) -> int:
        """Make a file that does not exist yet and open it for writing."""

    def open(self, path: str, *, writable: bool = False) -> int:
        """Open an existing file; UnsafeFile unless it is a regular one of our own."""

    def close(self, fd: int) -> None:
        """Close what `create` or `open` returned."""

    def size(self, fd: int) -> int:
        """Bytes of an open file."""

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write at `offset` and return how many bytes were; maybe fewer than given."""

    def read(self, fd: int, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` and return how many bytes were read; 0 at the end."""

    def sync(self, fd: int) -> None:
        """Wait until the file's content is durable; a failure is final."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what has it."""

    def unlink(self, path: str) -> None:
        """Remove a file."""

    def make_directory(self, path: str) -> None:
        """Make a directory, unless it is there."""

    def sync_directory(self, path: str) -> None:
        """Wait until what was made, renamed and removed in it is durable."""

    def list(self, path: str) -> list[str]:
        """Names in a directory."""


class OsFs:
    """A real state directory, locked by this process; see `open_state`."""

    def __init__(self, directory: Path, root: int) -> None:
        self._directory = directory
        self._root = root
        self._lock = take_lock(directory, root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let another daemon have the directory."""
        os.close(self._lock)
        os.close(self._root)

    def path(self, name: str) -> str:
        """See `Fs`."""
        return str(self._directory / name)

    def create(self, path: str) -> int:
        """See `Fs`. The mode does not depend on the umask."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with self._parent(path) as (parent, name):
            fd = os.open(name, flags, FILE_MODE, dir_fd=parent)
        os.fchmod(fd, FILE_MODE)
        return fd

    def open(self, path: str, *, writable: bool = False) -> int:
        """See `Fs`."""
        # Non-blocking: opening a FIFO would wait for its other end.
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK
        with self._parent(path) as (parent, name):
            fd = os.open(name, flags, dir_fd=parent)
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
            return fd
        os.close(fd)
        raise UnsafeFile(errno.EPERM, "not a regular file of our own", path)

    def close(self, fd: int) -> None:
        """See `Fs`."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """See `Fs`."""
        return os.fstat(fd).st_size

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """See `Fs`."""
        return os.pwritev(fd, _at_most(buffers), offset)

    def read(self, fd: int, buffer: memoryview, offset: int) -> int:
        """See `Fs`."""
        return os.preadv(fd, [buffer[:_CALL_BYTES]], offset)

    def sync(self, fd: int) -> None:
        """See `Fs`."""
        os.fsync(fd)

    def rename(self, old: str, new: str) -> None:
        """See `Fs`."""
        with self._parent(old) as (source, old_name), self._parent(new) as (target, new_name):
            os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)

    def unlink(self, path: str) -> None:
        """See `Fs`."""
        with self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def make_directory(self, path: str) -> None:
        """See `Fs`."""
        with self._parent(path) as (parent, name), contextlib.suppress(FileExistsError):
            os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
        with self._directory_at(path) as fd:
            os.fchmod(fd, DIRECTORY_MODE)

    def sync_directory(self, path: str) -> None:
        """See `Fs`."""
        with self._directory_at(path) as fd:
            os.fsync(fd)

    def list(self, path: str) -> list[str]:
        """See `Fs`."""
        with self._directory_at(path) as fd:
            return sorted(os.listdir(fd))  # noqa: PTH208  (of an open directory)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Open the directory that a path ends in."""
        folder, _, name = path.rpartition("/")
        with self._directory_at(folder) as fd:
            yield fd, name

    @contextlib.contextmanager
    def _directory_at(self, path: str) -> Iterator[int]:
        """Open a directory from the root downwards, through no link; "" is the root."""
        fd = os.dup(self._root)
        try:
            for name in filter(None, path.split("/")):
                assert name not in (".", ".."), path
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def open_state(directory: Path) -> OsFs:
    """Open the state directory, made if need be, for this process alone.

    Raises StateDirectoryRefused, or StateDirectoryLocked.
    """
    try:
        directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        message = f"state directory {directory}: {error.strerror}"
        raise StateDirectoryRefused(message) from error
    try:
        _check_owner(directory, root)
        fs = OsFs(directory, root)
    except BaseException:
        os.close(root)
        raise
    return fs


def _check_owner(directory: Path, root: int) -> None:
    found = os.fstat(root)
    if found.st_uid != os.geteuid():
        message = f"state directory {directory} belongs to user {found.st_uid}, not to us"
        raise StateDirectoryRefused(message)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = f"state directory {directory} can be written by others: chmod 700 it"
        raise StateDirectoryRefused(message)
    os.fchmod(root, DIRECTORY_MODE)


def _at_most(buffers: Sequence[Buffer]) -> list[Buffer]:
    """Return as much of some buffers as one call is to write."""
    room = _CALL_BYTES
    taken: list[Buffer] = []
    for buffer in buffers[:_IOV_MAX]:
        if room <= 0:
            break
        taken.append(buffer[:room])
        room -= len(buffer)
    return taken

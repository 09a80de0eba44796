"""Whole files and whole buffers: a disk may take and give less than it was asked for."""

import contextlib
import errno
from collections.abc import Iterator, Sequence

import structlog

from semantic_actors.persistence.errors import Flaw, Flawed
from semantic_actors.persistence.fs import Buffer, Fs

log = structlog.get_logger(__name__)


def write_all(fs: Fs, fd: int, buffers: Sequence[Buffer], offset: int = 0) -> int:
    """Write all of `buffers`, one after the other, and return the offset behind them."""
    left = [memoryview(buffer).cast("B") for buffer in buffers]
    first = 0
    while first < len(left):
        written = fs.write(fd, left[first:], offset)
        if written <= 0 and len(left[first]):
            raise OSError(errno.EIO, "the disk takes no more bytes")
        offset += written
        while first < len(left) and written >= len(left[first]):
            written -= len(left[first])
            first += 1
        if written:
            left[first] = left[first][written:]
    return offset


def read_all(fs: Fs, fd: int, buffer: memoryview, offset: int) -> None:
    """Fill all of `buffer` from `offset`. Raises Flawed where the file ends before."""
    filled = 0
    while filled < len(buffer):
        count = fs.read(fd, buffer[filled:], offset + filled)
        if count == 0:
            raise Flawed(Flaw.SIZE, f"it ends at {offset + filled}")
        filled += count


def read_file(fs: Fs, path: str) -> bytes:
    """Read a small file."""
    with closing(fs, fs.open(path)) as fd:
        content = bytearray(fs.size(fd))
        read_all(fs, fd, memoryview(content), 0)
    return bytes(content)


def publish_file(fs: Fs, path: str, content: Sequence[Buffer]) -> None:
    """Write a file under a name that begins with a dot, sync it, give it its name.

    The name is durable once its directory is synced. On failure nothing is left; a sync that
    failed is not tried again, for the system may have dropped what it could not write.
    """
    folder, slash, name = path.rpartition("/")
    temporary = f"{folder}{slash}.{name}"
    discard_file(fs, temporary)
    try:
        with closing(fs, fs.create(temporary)) as fd:
            write_all(fs, fd, content)
            fs.sync(fd)
        fs.rename(temporary, path)
    except BaseException:
        discard_file(fs, temporary)
        raise


def discard_file(fs: Fs, path: str) -> None:
    """Remove a file, if it is there; one that cannot be removed is debris, and logged."""
    try:
        fs.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("file_not_removed", path=path, reason=str(error))


@contextlib.contextmanager
def closing(fs: Fs, fd: int) -> Iterator[int]:
    """Close a file at the end of the `with` block."""
    try:
        yield fd
    finally:
        fs.close(fd)

"""The file of an exported session, as the command line writes and reads it.

Whoever ran the command opens it, not the daemon: so no path ever goes to the daemon, and what may
be read and written is the caller's own.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from semantic_actors.domain.errors import SemanticActorsError
from semantic_actors.domain.limits import MAX_CONTROL_CHUNK_BYTES

FILE_MODE: Final = 0o600


class FileRefused(SemanticActorsError):
    """A file that cannot be written or read."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Make a file that was not there, for its owner alone; what fails leaves none."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    except OSError as error:
        raise FileRefused(path, error.strerror or str(error)) from None
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Iterator[bytes]]:
    """Open a file and yield its parts."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileRefused(path, "not a regular file")
            yield iter(lambda: file.read(MAX_CONTROL_CHUNK_BYTES), b"")
    except OSError as error:
        raise FileRefused(path, error.strerror or str(error)) from None

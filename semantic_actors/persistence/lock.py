"""One daemon per state directory: a lock that the system gives back however the process ends."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from semantic_actors.persistence.errors import StateDirectoryLocked, StateDirectoryRefused

LOCK: Final = "lock"
_PID_BYTES: Final = 32


def take_lock(directory: Path, root: int) -> int:
    """Lock the directory open as `root`, and return what holds the lock until it is closed.

    The file stays behind with a pid in it; what counts is the lock, not the file. Raises
    StateDirectoryLocked.
    """
    try:
        fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=root)
    except OSError as error:
        raise _refused(directory, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        pid = _read_pid(fd)
        os.close(fd)
        raise StateDirectoryLocked(str(directory), pid) from None
    except OSError as error:
        os.close(fd)
        raise _refused(directory, error) from error
    return fd


def _read_pid(fd: int) -> int | None:
    with contextlib.suppress(ValueError):
        return int(os.pread(fd, _PID_BYTES, 0))
    return None


def _refused(directory: Path, error: OSError) -> StateDirectoryRefused:
    return StateDirectoryRefused(f"state directory {directory}: {error.strerror}")

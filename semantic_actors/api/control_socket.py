"""The control channel's socket: a file that only its owner can open, and who is at its other end.

The file's mode keeps others out where the system looks at it; the peer's user id, asked of the
kernel, keeps them out everywhere. The directory must be one in which nobody else can put a socket
of their own in its place.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import Final, Protocol

from semantic_actors.domain.errors import SemanticActorsError

DIRECTORY_MODE: Final = 0o700
UMASK: Final = 0o177
BACKLOG: Final = 128

_UCRED: Final = struct.Struct("iII")
"""Linux, `unix(7)`: pid, uid, gid."""

_XUCRED: Final = struct.Struct("II")
"""macOS, `sys/ucred.h`: version, uid; groups follow."""
_XUCRED_BYTES: Final = 76
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1

_CONNECT_S: Final = 1.0


class SocketRefused(SemanticActorsError):
    """The control socket cannot be where it should be; the message says why."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"cannot listen on the control socket {path}: {why}")


class AsksForOptions(Protocol):
    """A socket, or what asyncio shows of one."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Read an option."""
        ...


def peer_uid(connection: AsksForOptions) -> int:
    """Return the user id of the process that connected."""
    if sys.platform == "darwin":
        found = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES)
        return int(_XUCRED.unpack_from(found)[1])
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(found)[1])


def check_place(path: Path) -> None:
    """Raise SocketRefused where `bind` would, as far as it can be told without binding."""
    if path.parent.exists():
        _check_directory(path)
    _check_free(path)


def bind(path: Path) -> socket.socket:
    """Listen at `path`, in place of a socket whose daemon is gone. Raises SocketRefused."""
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    check_place(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(UMASK)  # the mode is right from the first instant
    try:
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        listening.listen(BACKLOG)
        listening.settimeout(0)
    except OSError as error:
        listening.close()
        raise SocketRefused(path, error.strerror or str(error)) from error
    finally:
        os.umask(before)
    return listening


def _check_directory(path: Path) -> None:
    found = path.parent.stat()
    if found.st_uid != os.geteuid():
        raise SocketRefused(path, f"its directory belongs to user {found.st_uid}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SocketRefused(path, "others can write to its directory: chmod 700 it")


def _check_free(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketRefused(path, "there is a file of that name, and it is no socket")
    if _lives(path):
        raise SocketRefused(path, "another daemon listens there")


def _lives(path: Path) -> bool:
    """Whether somebody listens; a queue too full to enter is somebody's."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(_CONNECT_S)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
        return True

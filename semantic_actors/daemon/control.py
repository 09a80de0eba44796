"""The client's end of the control channel, and where to find the daemon's.

It blocks: a command line has nothing else to do. It needs none of the daemon's heavy rooms.
"""

import hashlib
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from semantic_actors.daemon.settings import Settings
from semantic_actors.daemon.state import NAME, state_directory
from semantic_actors.domain.control import (
    LENGTH,
    Chunk,
    ControlAnswer,
    ControlRequest,
    Done,
    Failed,
    NotUnderstood,
    frame,
    read,
)
from semantic_actors.domain.errors import SemanticActorsError
from semantic_actors.domain.limits import MAX_CONTROL_CHUNK_BYTES

SOCKET: Final = "control.sock"

MAX_PATH_BYTES: Final = 103
"""Of a Unix socket on macOS; Linux takes four more."""

ANSWER_S: Final = 600.0
"""Seconds of silence after which a daemon is given up: it may be storing or reading gigabytes."""

_MAX_ANSWER_BYTES: Final = 64 * 2**20

_CLOSED: Final = "it closed the connection; it may be leaving, have too many, or be another user's"
_FOREIGN: Final = "what listens there is no daemon of this release"


class Unreachable(SemanticActorsError):
    """No daemon answers; the message says what to do."""


class NoAnswer(Unreachable):
    """The connection ended, or made no sense, before it was said what became of the request."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the daemon did not answer: {why}")


class VerbFailed(SemanticActorsError):
    """The daemon says that it was not done, and why."""


def socket_places(settings: Settings, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """List where the control socket may be; a daemon takes the first place.

    The chosen one; beside a chosen state directory, as that is what makes two daemons two; what
    the service manager made for it; or that of the desktop, or of the platform.
    """
    state = settings.store.state_dir
    if settings.server.socket:
        return [Path(settings.server.socket).expanduser()]
    beside = _short(state_directory(state, environment) / SOCKET)
    if state:
        return [beside]
    places = [beside]
    if desktop := environment.get("XDG_RUNTIME_DIR"):
        places.insert(0, Path(desktop) / NAME / SOCKET)
    if managed := environment.get("RUNTIME_DIRECTORY"):
        places.insert(0, Path(managed.split(":", maxsplit=1)[0]) / SOCKET)
    return places


def _short(place: Path) -> Path:
    """Return a place that the system can bind: it takes some 100 bytes of path."""
    name = os.fsencode(place)
    if len(name) <= MAX_PATH_BYTES:
        return place
    folder = Path(tempfile.gettempdir()) / f"{NAME}-{os.geteuid()}"
    return folder / f"{hashlib.sha256(name).hexdigest()[:16]}.sock"


class ControlClient:
    """A connection to the daemon; a context manager. Raises Unreachable."""

    def __init__(self, places: Iterable[Path]) -> None:
        self._connection = _connect(list(places))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, request: ControlRequest, file: Iterable[bytes] | None = None) -> msgspec.Raw:
        """Have a request served, `file` behind it, and return its result. Raises VerbFailed."""
        self._say(request, file)
        for _ in self._parts():
            continue  # a file that nobody asked for
        return self._result

    def download(self, request: ControlRequest) -> Iterator[bytes]:
        """Have a request served that is answered with a file. Raises VerbFailed."""
        self._say(request, None)
        yield from self._parts()

    def _say(self, request: ControlRequest, file: Iterable[bytes] | None) -> None:
        try:
            self._connection.sendall(frame(request))
            for part in file or ():
                self._connection.sendall(frame(Chunk(part)))
            if file is not None:
                self._connection.sendall(frame(Chunk(b"")))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it says why in its answer
        except OSError as error:
            raise NoAnswer(error.strerror or str(error)) from None

    def _parts(self) -> Iterator[bytes]:
        """Read the answer up to its end; the result is kept."""
        while True:
            answer: ControlAnswer = self._answer()
            match answer:
                case Chunk(data=data):
                    yield data
                case Done(result=result):
                    self._result = result
                    return
                case Failed(message=message):
                    raise VerbFailed(message)

    def _answer(self) -> Any:
        try:
            (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
            if length > _MAX_ANSWER_BYTES:
                raise NoAnswer(_FOREIGN)
            return read(self._exactly(length), ControlAnswer)
        except NotUnderstood:
            raise NoAnswer(_FOREIGN) from None

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = self._connection.recv(min(size, MAX_CONTROL_CHUNK_BYTES))
            except OSError as error:
                raise NoAnswer(error.strerror or str(error)) from None
            if not part:
                raise NoAnswer(_CLOSED)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _connect(places: list[Path]) -> socket.socket:
    for place in places:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_S)
        try:
            connection.connect(str(place))
        except OSError:
            connection.close()
        else:
            return connection
    shown = " or ".join(map(str, places))
    message = (
        f"no daemon listens at {shown}: start one with `semantic-actors serve`, "
        "or give the --socket of the one that runs"
    )
    raise Unreachable(message)

"""The words of the control channel, and the frames that they travel in.

    frame     length of the body (4 bytes, big endian), body (msgpack)
    request   one frame; behind an `ImportSession` follow `Chunk`s, the last of them empty
    answer    any number of `Chunk`s, then exactly one `Done` or `Failed`

Both ends are of the same user on the same machine, but maybe not of the same release: a request
says which version of this file it was made by, and one of another is refused in words.
"""

import struct
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from semantic_actors.domain.errors import SemanticActorsError
from semantic_actors.domain.ids import LOCAL, Principal, SessionId
from semantic_actors.domain.limits import MAX_SESSION_ID_CHARS

VERSION: Final = 1

LENGTH: Final = struct.Struct(">I")

_Length = Meta(min_length=1, max_length=MAX_SESSION_ID_CHARS)
Name = Annotated[SessionId, _Length]
Number = Annotated[int, Meta(ge=1, le=2**31 - 1)]

T = TypeVar("T")


class _Request(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="verb"
):
    """What every request says."""

    version: int = VERSION
    principal: Annotated[Principal, _Length] = LOCAL


class _OfSession(_Request, frozen=True, kw_only=True):
    """A request about one session."""

    session: Name


class ListSessions(_Request, frozen=True, kw_only=True, tag="sessions.list"):
    """List a principal's sessions, last used first. Answered with `SessionCard`s."""


class ShowSession(_OfSession, frozen=True, kw_only=True, tag="sessions.show"):
    """Answered with a `SessionHistory`."""


class PinSession(_OfSession, frozen=True, kw_only=True, tag="sessions.pin"):
    """Keep a session on disk whatever the budget, or no longer. Answered with its `SessionCard`."""

    pinned: bool


class ForkSession(_OfSession, frozen=True, kw_only=True, tag="sessions.fork"):
    """Begin `new` with the turns of a session, up to `turn`. Answered with its `SessionCard`."""

    new: Name
    turn: Number | None = None


class RewindSession(_OfSession, frozen=True, kw_only=True, tag="sessions.rewind"):
    """Drop the turns after `turn`. Answered with the `SessionCard`."""

    turn: Number


class SuspendSession(_OfSession, frozen=True, kw_only=True, tag="sessions.suspend"):
    """Let a session's caches leave RAM once they are stored. Answered with `Suspended`."""


class ResumeSession(_OfSession, frozen=True, kw_only=True, tag="sessions.resume"):
    """Bring a session's last turn back into RAM. Answered with `Resumed`."""


class ExportSession(_OfSession, frozen=True, kw_only=True, tag="sessions.export"):
    """Answered with the session's file in `Chunk`s."""


class ImportSession(_Request, frozen=True, kw_only=True, tag="sessions.import"):
    """Take in the file that follows, as `session` if given. Answered with a `SessionCard`."""

    session: Name | None = None


class ForgetSession(_OfSession, frozen=True, kw_only=True, tag="sessions.forget"):
    """Remove a session, and on disk all that no other one holds. Answered with `Forgotten`."""


ControlRequest = (
    ListSessions
    | ShowSession
    | PinSession
    | ForkSession
    | RewindSession
    | SuspendSession
    | ResumeSession
    | ExportSession
    | ImportSession
    | ForgetSession
)


class Chunk(msgspec.Struct, frozen=True, tag="chunk", forbid_unknown_fields=True):
    """Part of a file."""

    data: bytes


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It was done; `result` is what the request says."""

    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It was not done, and why.

    `refused`: it cannot be, as things are; `unavailable`: not now; `malformed`, `version` and
    `verb`: the request was not understood, and the connection is closed; `internal`: see the log.
    """

    reason: Literal["refused", "unavailable", "malformed", "version", "verb", "internal"]
    message: str


ControlAnswer = Chunk | Done | Failed


class NotUnderstood(SemanticActorsError):
    """A frame that is none of ours; `answer` says why."""

    def __init__(self, answer: Failed) -> None:
        super().__init__(answer.message)
        self.answer = answer


class _Head(msgspec.Struct, frozen=True):
    """What is read of a request before its version is known."""

    version: int
    verb: str


def frame(body: msgspec.Struct) -> bytes:
    """Make the frame of a request or of an answer."""
    packed = msgspec.msgpack.encode(body)
    return LENGTH.pack(len(packed)) + packed


def done(result: Any) -> Done:
    """Make the answer of something that was done; any of msgspec's types will do."""
    return Done(msgspec.Raw(msgspec.msgpack.encode(result)))


def read_request(body: bytes) -> ControlRequest:
    """Read a request's frame. Raises NotUnderstood."""
    head = read(body, _Head)
    if head.version != VERSION:
        message = (
            f"this daemon speaks version {VERSION} of the control channel, "
            f"the request version {head.version}: use the command of the daemon's own release"
        )
        raise NotUnderstood(Failed("version", message))
    if head.verb not in _VERBS:
        message = f"unknown verb {head.verb[:64]!r}: known are {', '.join(_VERBS)}"
        raise NotUnderstood(Failed("verb", message))
    request: ControlRequest = read(body, ControlRequest)
    return request


def read(body: bytes | msgspec.Raw, type_: Any) -> Any:
    """Read a body as one of msgspec's types. Raises NotUnderstood."""
    try:
        return msgspec.msgpack.decode(body, type=type_)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise NotUnderstood(Failed("malformed", f"a malformed frame: {error}")) from None


_VERBS: Final = tuple(str(request.__struct_config__.tag) for request in ControlRequest.__args__)

"""What the store is told and asked, and what it answers.

Whoever asks speaks of principals, token ids and rows; blocks, names and files are the store's.
`tokens` are always those of the whole path, from its first: rows mean nothing without them.
"""

from typing import Any, ClassVar

import msgspec

from semantic_actors.actors import ActorRef, Message, Request
from semantic_actors.domain.ids import Principal, SessionId, TokenIds
from semantic_actors.kv.layout import Rows
from semantic_actors.persistence.catalog import Turn
from semantic_actors.persistence.statistics import StoreStatistics


class SessionEntry(msgspec.Struct, frozen=True):
    """A session as it is listed. Instants are wall clock, seconds."""

    principal: str
    session: SessionId
    created: float
    used: float
    pinned: bool
    turns: int


class Forgotten(msgspec.Struct, frozen=True):
    """What became of a session's keys and values."""

    freed_bytes: int
    kept_tokens: int
    """Tokens at the beginning of its paths that other sessions have, too: these are kept."""
    reason: str = ""
    """Why it failed: then the session is still there."""


class LookUp(Request[int], frozen=True):
    """Ask how many of the leading `tokens` are stored. Answered from memory."""

    control: ClassVar[bool] = True
    principal: Principal
    tokens: TokenIds


class Fetch(Message, frozen=True):
    """Read rows `start..stop`; `reply_to` hears one `Fetched`."""

    fetch: int
    principal: Principal
    tokens: TokenIds
    start: int
    stop: int
    reply_to: ActorRef[Any]


class Fetched(Message, frozen=True):
    """Verified rows, in order from `Fetch.start` without a gap.

    They end early where something was not as it should be; `reason` then says what, for the log.
    """

    control: ClassVar[bool] = True
    fetch: int
    rows: tuple[Rows, ...]
    reason: str = ""


class Save(Message, frozen=True):
    """Keep some rows; `reply_to` hears one `Saved`. What is stored already is not written again."""

    save: int
    principal: Principal
    tokens: TokenIds
    rows: tuple[Rows, ...]
    reply_to: ActorRef[Any]


class Saved(Message, frozen=True):
    """The rows are durable, or lost, and `reason` says why. Their memory is free either way."""

    control: ClassVar[bool] = True
    save: int
    reason: str = ""


class Remember(Message, frozen=True):
    """A session gave an answer.

    `conversation` is the digest of the conversation that ends with it, `answer` its token ids, and
    `tokens` the whole path behind it. A `branch` is what goes on from a conversation; its head
    moves with each turn.
    """

    principal: Principal
    session: SessionId
    conversation: bytes
    parent: bytes
    answer: TokenIds
    tokens: TokenIds


class Recall(Request[tuple[tuple[bytes, TokenIds], ...]], frozen=True):
    """Ask for the answers of a session by conversation, oldest first."""

    principal: Principal
    session: SessionId


class Recognise(Request[SessionId | None], frozen=True):
    """Ask which session gave an answer that ends one of these conversations, the longest first."""

    principal: Principal
    conversations: tuple[bytes, ...]


class ListSessions(Request[tuple[SessionEntry, ...]], frozen=True):
    """Ask for the sessions of a principal, or of all, last used first."""

    principal: Principal | None = None


class Recite(Request[tuple[Turn, ...] | None], frozen=True):
    """Ask for what a session said, as it is kept: for a list, or for a file. None on failure."""

    principal: Principal
    session: SessionId


class Adopt(Request[bool | None], frozen=True):
    """Begin a session with turns that were recited, here or elsewhere; all of them or none.

    True if there was no such session; None if the catalog failed.
    """

    principal: Principal
    session: SessionId
    turns: tuple[Turn, ...]


class PinSession(Request[bool | None], frozen=True):
    """Keep what a session needs on disk whatever the budget, or no longer.

    True if there is such a session; None if the catalog failed.
    """

    principal: Principal
    session: SessionId
    pinned: bool


class RewindSession(Request[bool | None], frozen=True):
    """Let a session be as it was after the turn that ended a conversation.

    True if there is such a turn; None if the catalog failed.
    """

    principal: Principal
    session: SessionId
    conversation: bytes


class ForkSession(Request[bool | None], frozen=True):
    """Copy a session, as it is or as it was after a turn, to one that does not exist yet.

    True if there was such a turn and no such copy; None if the catalog failed.
    """

    principal: Principal
    session: SessionId
    into: SessionId
    conversation: bytes | None = None


class ForgetSession(Request[Forgotten | None], frozen=True):
    """Remove a session and all keys and values that no other session has; None if not there."""

    principal: Principal
    session: SessionId


class KeepResponse(Request[bool | None], frozen=True):
    """Keep what was answered in a session, to be gone on from by the response's id.

    True once it is durable, False if it is too large; None on failure.
    """

    principal: Principal
    session: SessionId
    response: str
    content: bytes


class FindResponse(Request[bytes | None], frozen=True):
    """Ask for what was kept under the id of a response."""

    principal: Principal
    response: str


class DropResponse(Request[bool | None], frozen=True):
    """Remove what was kept under the id of a response; True if there was such a thing."""

    principal: Principal
    response: str


class InspectStore(Request[StoreStatistics], frozen=True):
    """Ask for the figures of this instant."""

    control: ClassVar[bool] = True


class Ended(Message, frozen=True):
    """Something that ran beside the store has ended; it told whoever waits."""

    control: ClassVar[bool] = True


class Failed(Message, frozen=True):
    """Something that ran beside the store failed as it never should."""

    control: ClassVar[bool] = True
    error: Exception


class Reopen(Message, frozen=True):
    """Time to try again to open what could not be opened."""

    control: ClassVar[bool] = True


class Sweep(Message, frozen=True):
    """Time to look for what was not used for too long."""

    control: ClassVar[bool] = True


OneSessionMessage = Recite | Adopt | PinSession | RewindSession | ForkSession | ForgetSession
ResponseMessage = KeepResponse | FindResponse | DropResponse
SessionsMessage = Remember | Recall | Recognise | ListSessions | ResponseMessage | OneSessionMessage
StoreMessage = (
    LookUp | Fetch | Save | SessionsMessage | InspectStore | Ended | Failed | Reopen | Sweep
)

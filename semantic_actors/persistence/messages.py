"""What the store is told and asked, and what it answers.

Whoever asks speaks of principals, token ids and rows; blocks, names and files are the store's.
`tokens` are always those of the whole path, from its first: rows mean nothing without them.
"""

from typing import Any, ClassVar

from semantic_actors.actors import ActorRef, Message, Request
from semantic_actors.domain.ids import Principal, SessionId, TokenIds
from semantic_actors.kv.layout import Rows


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


StoreMessage = LookUp | Fetch | Save | Remember | Recall | Recognise

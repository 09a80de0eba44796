"""What is told of sessions to whoever looks after them: cards, and what became of them."""

from typing import Literal

import msgspec

from semantic_actors.domain.usage import Miss

SessionState = Literal["hot", "warm", "suspended"]
"""`hot`: its caches are in RAM, or a turn is open; `warm`: on disk only; `suspended`: the same, on
demand, until the next request."""


class SessionCard(msgspec.Struct, frozen=True):
    """A session as it is listed."""

    name: str
    state: SessionState
    turns: int
    tokens: int
    """Tokens behind its last turn."""
    size_bytes: int
    """Bytes on disk that it needs; others may need some of them, too."""
    used: float | None
    """When it last gave an answer, wall clock seconds; None before its first turn is kept."""
    pinned: bool


class TurnCard(msgspec.Struct, frozen=True):
    """A turn of a session. `tokens` counts the whole path behind it, `at` is wall clock seconds."""

    number: int
    tokens: int
    at: float


class SessionHistory(msgspec.Struct, frozen=True):
    """A session and its turns, oldest first; `miss` is the last one that was explained."""

    session: SessionCard
    turns: tuple[TurnCard, ...]
    miss: Miss | None = None


class Suspended(msgspec.Struct, frozen=True):
    """A session left RAM. `lost_tokens` could not be stored, and will be computed again."""

    freed_bytes: int
    lost_tokens: int = 0


class Resumed(msgspec.Struct, frozen=True):
    """A session's last turn is in RAM again: so many tokens, of which `found` were not computed."""

    tokens: int
    found: int


class Forgotten(msgspec.Struct, frozen=True):
    """A session is gone from the disk, but for what other sessions hold."""

    freed_bytes: int
    kept_bytes: int

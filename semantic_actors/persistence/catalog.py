"""The catalog: what is stored and what the sessions said, in one transactional place.

It is the truth about which files should be there: a file without a row is debris of a crash. The
files know all that it says about pieces, and the journals all that it says about sessions, so one
that is lost or damaged is rebuilt from them.

Every call blocks, belongs on the store's writing thread and is one transaction. Raises OSError for
what may pass, CatalogDamaged for what will not.
"""

from array import array
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from semantic_actors.domain.ids import Principal, SessionId, TokenIds
from semantic_actors.kv.blocks import TOKEN_BYTES, BlockHash, pack
from semantic_actors.kv.prefix import common_prefix
from semantic_actors.persistence.format import Stored


class SessionKey(msgspec.Struct, frozen=True, order=True):
    """Whose session, and which; as bytes, for what clients send need not be text."""

    principal: bytes
    session: bytes


class Answer(msgspec.Struct, frozen=True):
    """What a session said: the ids of its answer, and the whole path behind it."""

    conversation: bytes
    parent: bytes
    answer: TokenIds
    tokens: TokenIds


class Turn(msgspec.Struct, frozen=True):
    """One answer of a session. `number` counts from 1.

    The path behind it is told by difference, as conversations grow at their end: the first `shared`
    tokens of the path of turn `base` (0: of nothing), then `added`. Tokens are packed. So a session
    can be walked whatever became of its keys and values.
    """

    number: int
    conversation: bytes
    parent: bytes
    answer: bytes
    base: int
    shared: int
    added: bytes
    at: float
    """Wall clock, seconds."""

    @property
    def path_tokens(self) -> int:
        """Tokens of the path behind it."""
        return self.shared + len(self.added) // TOKEN_BYTES


class Session(msgspec.Struct, frozen=True):
    """A session as it is listed. Instants are wall clock, seconds."""

    key: SessionKey
    created: float
    used: float
    pinned: bool
    turns: int


class Changes(msgspec.Struct, frozen=True):
    """What becomes of pieces in one transaction; `used` says when others were last used."""

    added: tuple[tuple[Stored, float], ...] = ()
    removed: tuple[BlockHash, ...] = ()
    used: Mapping[BlockHash, float] = {}


class Catalog(Protocol):
    """See the module."""

    def complete(self) -> bool:
        """Whether it says all: False if new, or if a rebuild did not come to its end."""

    def rebuild(
        self,
        pieces: Iterable[tuple[Stored, float]],
        sessions: Mapping[SessionKey, tuple[bool, tuple[Turn, ...]]],
    ) -> None:
        """Replace everything: pieces and when they were used, sessions, whether pinned, turns."""

    def pieces(self) -> list[tuple[Stored, float]]:
        """List the pieces and when they were last used, in order of eviction."""

    def commit(self, changes: Changes) -> None:
        """Add, remove and touch pieces."""

    def sessions(self, principal: bytes | None = None) -> list[Session]:
        """List sessions, of one principal or of all, last used first."""

    def turns(self, key: SessionKey) -> tuple[Turn, ...]:
        """List what a session said, oldest first."""

    def remember(self, key: SessionKey, turn: Turn) -> None:
        """Add a turn, and its session if it is the first."""

    def recognise(self, principal: bytes, conversation: bytes) -> bytes | None:
        """Name the session that gave the answer which ends a conversation; the latest of many."""

    def replace(self, key: SessionKey, turns: tuple[Turn, ...], changes: Changes) -> None:
        """Let a session have said this; with no turns it is gone. Commit `changes` with it."""

    def pin(self, key: SessionKey, *, pinned: bool) -> None:
        """Keep what a session needs, or no longer."""

    def close(self) -> None:
        """Let go of the file."""


def key_of(principal: Principal, session: SessionId) -> SessionKey:
    """Return the key of a session."""
    return SessionKey(encode(principal), encode(session))


def session_of(key: SessionKey) -> SessionId:
    """Return the id that a key was made of."""
    return SessionId(key.session.decode("utf-8", "surrogatepass"))


def encode(text: str) -> bytes:
    """Return a client's words as bytes; a header may hold what is not Unicode."""
    return text.encode("utf-8", "surrogatepass")


def path_of(turns: Iterable[Turn], number: int) -> TokenIds:
    """Return the path behind one turn, without making all others."""
    known = {turn.number: turn for turn in turns}
    behind: list[Turn] = []
    while number in known:
        behind.append(known[number])
        number = min(known[number].base, number - 1)  # it ends, whatever a file says
    path = array("I")
    for turn in reversed(behind):
        del path[turn.shared :]
        path.frombytes(turn.added)
    return tuple(path)


def heads_of(turns: Iterable[Turn]) -> dict[int, int]:
    """Say for each turn which one ends the longest path that begins with its own."""
    known = {turn.number: turn for turn in turns}
    heads: dict[int, int] = {}
    for number in sorted(known, reverse=True):
        head = heads.setdefault(number, number)
        base = known.get(known[number].base)
        if base is not None and known[number].shared == base.path_tokens:
            heads.setdefault(base.number, head)
    return heads


def next_turn(turns: tuple[Turn, ...], answer: Answer, at: float) -> Turn | None:
    """Say what comes after `turns`; None if the same was said before.

    The difference is to the turn that it goes on from, or else to the last one.
    """
    last = base = turns[-1].number if turns else 0
    said = pack(answer.answer)
    for turn in turns:
        if turn.conversation == answer.parent:
            base = turn.number
        if (turn.conversation, turn.parent, turn.answer) == (
            answer.conversation,
            answer.parent,
            said,
        ) and path_of(turns, turn.number) == answer.tokens:
            return None
    shared = common_prefix(path_of(turns, base), answer.tokens)
    return Turn(
        number=last + 1,
        conversation=answer.conversation,
        parent=answer.parent,
        answer=said,
        base=base,
        shared=shared,
        added=pack(answer.tokens[shared:]),
        at=at,
    )

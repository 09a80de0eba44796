"""The inventory: all that the store decides from memory: what to read, write, spare and drop.

Pure bookkeeping around the index; it opens no file and is told the time. Owner: the store actor.
Pieces that leave are *doomed*: found no more, and gone from the disk with the next commit.
"""

import hmac
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from semantic_actors.domain.ids import TokenIds
from semantic_actors.kv.blocks import BLOCK_TOKENS, BlockHash, Piece, Trail, root
from semantic_actors.kv.layout import Rows
from semantic_actors.persistence.archive import Contents
from semantic_actors.persistence.catalog import Changes, SessionKey
from semantic_actors.persistence.format import Stored
from semantic_actors.persistence.index import Extent, Index, shared

MOST_PIECES: Final = 4
"""Pieces of a complete block; made of more, it is rewritten as one.

Turns of 86 tokens and more never cause it; at 50 tokens a turn it doubles the bytes written.
"""

_TRAILS: Final = 8
"""Paths whose names are remembered: the next question is often about the same one."""


class Rewrite(msgspec.Struct, frozen=True):
    """A complete block, and the many pieces that it is made of."""

    piece: Piece
    extents: tuple[Extent, ...]


class Inventory:
    """See the module."""

    def __init__(self, identity: str, budget_bytes: int, ttl_s: float | None) -> None:
        self.index = Index()
        self.budget_bytes = budget_bytes
        self._identity = identity
        self._ttl_s = ttl_s
        self._secret = b""
        self._trails: deque[Trail] = deque(maxlen=_TRAILS)
        self._pinned: dict[SessionKey, tuple[TokenIds, ...]] = {}
        self._needed: dict[BlockHash, set[bytes]] | None = {}  # blocks of pinned paths, by parent
        self._held: Counter[BlockHash] = Counter()
        self._doomed: dict[BlockHash, None] = {}
        self._touched: dict[BlockHash, float] = {}

    def load(self, contents: Contents) -> None:
        """Begin with what was found on disk."""
        self._secret = contents.secret
        for key, paths in contents.pinned.items():
            self.pin(key, paths)
        for piece, used in contents.pieces:
            self.index.add(piece, used)

    def trail(self, principal: bytes, tokens: TokenIds) -> Trail:
        """Return the names along a path of a principal."""
        salt = hmac.digest(self._secret, principal, "sha256")
        before = root(self._identity, salt)
        like: Trail | None = None
        for recent in self._trails:
            if recent.before != before:
                continue
            if recent.tokens is tokens:
                return recent
            if like is None or _may_go_on(recent.tokens, tokens):
                like = recent
        trail = Trail(before, tokens, like)
        self._trails.append(trail)
        return trail

    # Pins

    def pin(self, key: SessionKey, paths: tuple[TokenIds, ...]) -> None:
        """Spare what these paths of a session need, and no longer what it needed before."""
        self._pinned[key] = paths
        self._needed = None

    def unpin(self, key: SessionKey) -> None:
        """Spare nothing for a session any more."""
        self._pinned.pop(key, None)
        self._needed = None

    def is_pinned(self, key: SessionKey) -> bool:
        """Whether a session is pinned."""
        return key in self._pinned

    def _spares(self, piece: Stored) -> bool:
        """Say whether a piece is being read, or needed by a pinned session."""
        if self._needed is None:
            self._needed = {}
            for key, paths in self._pinned.items():
                for path in paths:
                    trail = self.trail(key.principal, path)
                    for depth in range(-(-len(path) // BLOCK_TOKENS)):
                        blocks = self._needed.setdefault(trail.name(depth), set())
                        blocks.add(trail.block(depth))
        blocks = self._needed.get(piece.parent, set())
        needed = any(shared(piece.tokens, block) > piece.start for block in blocks)
        return needed or piece.name in self._held

    # Reading

    def reach(self, principal: bytes, tokens: TokenIds) -> int:
        """Count the leading tokens of a path that are stored."""
        return self.index.reach(self.trail(principal, tokens))

    @contextmanager
    def reading(
        self, trail: Trail, start: int, stop: int, now: float
    ) -> Iterator[tuple[Extent, ...]]:
        """Say what rows are taken from, and hold it meanwhile; the whole path is used."""
        extents = tuple(self.index.cover(trail, start, stop))
        self.use(trail, extents[-1].last_row if extents else start, now)
        with self.holding(extents):
            yield extents

    @contextmanager
    def holding(self, extents: Iterable[Extent]) -> Iterator[None]:
        """Let none of these leave for a while."""
        held = Counter(extent.piece.name for extent in extents)
        self._held += held
        try:
            yield
        finally:
            self._held -= held

    def use(self, trail: Trail, stop: int, now: float) -> None:
        """Record that a path was used; the next commit will say so."""
        path = self.index.cover(trail, 0, stop)
        self.index.touch(path, now)
        self._touched.update((extent.piece.name, now) for extent in path)

    def align(self, trail: Trail, now: float) -> None:
        """Put what was added to a path behind the path's end in the order of eviction."""
        self.index.touch(self.index.cover(trail, 0, len(trail.tokens)), now)

    # Writing

    def missing(self, trail: Trail, rows: Iterable[Rows]) -> Iterator[tuple[Piece, Rows]]:
        """Leave out of some rows those that are stored; a piece holds the last of its rows."""
        for one in rows:
            extents = self.index.cover(trail, one.start, one.stop)
            reached = extents[-1].last_row if extents else one.start
            if reached < one.stop:
                yield trail.piece(reached, one.stop), one

    def has_room(self, trail: Trail, need_bytes: int) -> bool:
        """Whether so many bytes fit in the budget, if all that may leave does."""
        room = self.budget_bytes - need_bytes
        if self.index.size_bytes <= room:
            return True
        path = {extent.piece.name for extent in self.index.cover(trail, 0, len(trail.tokens))}
        leaving = self.index.excess(room, lambda p: p.name in path or self._spares(p))
        return self.index.size_bytes - sum(piece.size_bytes for piece in leaving) <= room

    def written(self, pieces: Iterable[Stored], now: float) -> None:
        """Add pieces that were committed; what they make redundant is doomed."""
        for piece in pieces:
            self._doomed.pop(piece.name, None)
            self.index.add(piece, now)
            self._doom(old for old in self.index.redundant(piece) if old.name not in self._held)

    def to_rewrite(self, trail: Trail, rows: Iterable[Rows]) -> Iterator[Rewrite]:
        """Find the blocks among these rows that are complete and made of too many pieces."""
        for depth in {one.start // BLOCK_TOKENS for one in rows}:
            first, end = depth * BLOCK_TOKENS, (depth + 1) * BLOCK_TOKENS
            if end <= len(trail.tokens):
                extents = tuple(self.index.cover(trail, first, end))
                if len(extents) > MOST_PIECES and extents[-1].last_row == end:
                    yield Rewrite(trail.piece(first, end), extents)

    def evict(self, now: float) -> int:
        """Doom what exceeds the budget, or was not used for too long; return how many."""
        horizon = self.horizon(now)
        if self.index.size_bytes <= self.budget_bytes and self.index.oldest >= horizon:
            return 0
        leaving = self.index.unused_since(horizon, self._spares)
        self._doom(leaving)
        excess = self.index.excess(self.budget_bytes, self._spares)
        self._doom(excess)
        return len(leaving) + len(excess)

    def horizon(self, now: float) -> float:
        """Return the instant before which what was last used is too old."""
        return -math.inf if self._ttl_s is None else now - self._ttl_s

    def lose(self, piece: BlockHash) -> None:
        """Forget a piece; its row and file are somebody else's matter."""
        self.index.remove(piece)
        self._touched.pop(piece, None)

    def doom(self, pieces: Iterable[BlockHash]) -> None:
        """Have pieces leave."""
        for piece in pieces:
            self.lose(piece)
            self._doomed[piece] = None

    def changes(self, pieces: Iterable[Stored], now: float) -> Changes:
        """Say what a transaction that adds these pieces changes besides."""
        added = tuple((piece, now) for piece in pieces)
        names = {piece.name for piece, _ in added}
        removed = tuple(piece for piece in self._doomed if piece not in names)
        return Changes(added, removed, dict(self._touched))

    def committed(self, changes: Changes) -> None:
        """Record that a transaction succeeded."""
        for piece in changes.removed:
            self._doomed.pop(piece, None)
        for name, used in changes.used.items():
            if self._touched.get(name) == used:
                del self._touched[name]

    @property
    def unsettled(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._doomed or self._touched)

    @property
    def doomed(self) -> bool:
        """Whether there is something to remove."""
        return bool(self._doomed)

    def _doom(self, pieces: Iterable[Stored]) -> None:
        self.doom([piece.name for piece in pieces])


def _may_go_on(known: TokenIds, tokens: TokenIds) -> bool:
    """Look at one token: whether one path is likely to begin with the other."""
    last = min(len(known), len(tokens)) - 1
    return last >= 0 and known[last] == tokens[last]

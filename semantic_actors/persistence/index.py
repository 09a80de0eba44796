"""The index: which pieces are on disk, where they lie in the tree of paths, which leave first.

Pure bookkeeping in memory: it opens no file and decides without waiting. Owner: the store actor.

A path is covered block by block. Within a block, pieces with the same parent are alternatives and
continuations of each other, and may overlap; each covers from its start to where its tokens and the
path's diverge:

    block  |-------------------------------|   wanted: the path's tokens
    A      |=========|                         start 0, all of it
    B            |=======x---|                 start 60, used up to the diverging token
    C                    |=================|   start 140: there is no gap, the block is covered

Order of eviction is order of last use, and every use touches its whole path from its end to its
beginning, so what is first in line is a leaf.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import msgspec

from semantic_actors.kv.blocks import BLOCK_TOKENS, TOKEN_BYTES, BlockHash, Trail, name
from semantic_actors.persistence.format import Stored

Spared = Callable[[Stored], bool]
"""Says of a piece that it must not leave now."""


class Extent(msgspec.Struct, frozen=True):
    """Rows `start..stop` of a block, to be taken from one piece."""

    piece: Stored
    start: int
    stop: int

    @property
    def first_row(self) -> int:
        """Its first row, counted from the beginning of the path."""
        return self.piece.depth * BLOCK_TOKENS + self.start

    @property
    def last_row(self) -> int:
        """The row of the path after its last."""
        return self.piece.depth * BLOCK_TOKENS + self.stop


class Index:
    """See the module."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._pieces: dict[BlockHash, Stored] = {}
        self._used: dict[BlockHash, float] = {}  # in order of eviction
        self._siblings: dict[BlockHash, dict[BlockHash, Stored]] = {}

    # Queries

    def __len__(self) -> int:
        return len(self._pieces)

    def __contains__(self, piece: BlockHash) -> bool:
        return piece in self._pieces

    def __iter__(self) -> Iterator[Stored]:
        """In order of eviction."""
        return (self._pieces[piece] for piece in self._used)

    @property
    def oldest(self) -> float:
        """When the first in order of eviction was last used."""
        return next(iter(self._used.values()), math.inf)

    def reach(self, trail: Trail) -> int:
        """Count the leading tokens of a path that are stored."""
        extents = self.cover(trail, 0, len(trail.tokens))
        return extents[-1].last_row if extents else 0

    def cover(self, trail: Trail, start: int, stop: int) -> list[Extent]:
        """Say what rows `start..stop` of a path are taken from, up to the first that is missing."""
        extents: list[Extent] = []
        row = start
        while row < stop:
            depth = row // BLOCK_TOKENS
            first = depth * BLOCK_TOKENS
            end = min(stop, first + BLOCK_TOKENS)
            extents += self._cover_block(trail, depth, row - first, end - first)
            if not extents or extents[-1].last_row < end:
                break
            row = end
        return extents

    def redundant(self, piece: Stored) -> list[Stored]:
        """List what this piece holds all rows of."""
        return [
            other
            for other in self._siblings.get(piece.parent, {}).values()
            if other.name != piece.name
            and piece.start <= other.start
            and piece.tokens.startswith(other.tokens)
        ]

    def beyond(self, trail: Trail, row: int) -> set[BlockHash]:
        """List what depends on a token of the path from `row` on, whatever comes after it."""
        found: set[BlockHash] = set()
        for depth in range(row // BLOCK_TOKENS, len(trail.tokens) // BLOCK_TOKENS + 1):
            block, kept = trail.block(depth), max(0, row - depth * BLOCK_TOKENS)
            for piece in self._siblings.get(trail.name(depth), {}).values():
                if depth * BLOCK_TOKENS > row or shared(piece.tokens, block) > kept:
                    found |= {piece.name, *self._below(piece)}
        return found

    def excess(self, budget_bytes: int, spared: Spared) -> list[Stored]:
        """Choose what to evict for all to fit in the budget; all but the spared, if need be."""
        chosen, excess = [], self.size_bytes - budget_bytes
        for piece in self:
            if excess <= 0:
                break
            if not spared(piece):
                chosen.append(piece)
                excess -= piece.size_bytes
        return chosen

    def unused_since(self, instant: float, spared: Spared) -> list[Stored]:
        """Choose what was last used before `instant`, except the spared."""
        chosen = []
        for piece in self:
            if self._used[piece.name] >= instant:
                break
            if not spared(piece):
                chosen.append(piece)
        return chosen

    # Commands

    def add(self, piece: Stored, used: float) -> None:
        """Add a piece as the last to be evicted."""
        self.remove(piece.name)
        self._pieces[piece.name] = piece
        self._used[piece.name] = used
        self._siblings.setdefault(piece.parent, {})[piece.name] = piece
        self.size_bytes += piece.size_bytes

    def remove(self, piece: BlockHash) -> None:
        """Forget a piece, if it is there."""
        stored = self._pieces.pop(piece, None)
        if stored is None:
            return
        del self._used[piece]
        siblings = self._siblings[stored.parent]
        del siblings[piece]
        if not siblings:
            del self._siblings[stored.parent]
        self.size_bytes -= stored.size_bytes

    def touch(self, path: Iterable[Extent], used: float) -> None:
        """Record that a path, from its beginning, was used."""
        for extent in reversed(list(path)):
            if self._used.pop(extent.piece.name, None) is not None:
                self._used[extent.piece.name] = used

    def check_integrity(self) -> None:
        """Raise `AssertionError` where the books do not add up."""
        assert self._pieces.keys() == self._used.keys()
        assert sum(piece.size_bytes for piece in self._pieces.values()) == self.size_bytes
        listed = [piece for siblings in self._siblings.values() for piece in siblings]
        assert sorted(listed) == sorted(self._pieces)

    def _cover_block(self, trail: Trail, depth: int, row: int, stop: int) -> Iterator[Extent]:
        siblings = self._siblings.get(trail.name(depth))
        if not siblings:
            return
        if (depth + 1) * BLOCK_TOKENS <= len(trail.tokens):
            whole = siblings.get(trail.name(depth + 1))
            if whole is not None and whole.tokens == trail.block(depth):
                yield Extent(whole, row, stop)
                return
        wanted = trail.block(depth)[: stop * TOKEN_BYTES]
        while row < stop:
            found = _farthest(siblings.values(), wanted, row)
            if found is None:
                return
            yield found
            row = found.stop

    def _below(self, piece: Stored) -> Iterator[BlockHash]:
        """List what comes after the block that a piece ends, however deep."""
        ends = [piece]
        while ends:
            end = ends.pop()
            if end.stop == BLOCK_TOKENS:
                block = end.name if end.start == 0 else name(end.parent, end.tokens)
                below = self._siblings.get(block, {})
                yield from below
                ends += below.values()


def shared(left: bytes, right: bytes) -> int:
    """Count the leading tokens that two packed runs share."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size // TOKEN_BYTES
    differing = int.from_bytes(left[:size], "little") ^ int.from_bytes(right[:size], "little")
    lowest_bit = (differing & -differing).bit_length() - 1
    return lowest_bit // (8 * TOKEN_BYTES)


def _farthest(pieces: Iterable[Stored], wanted: bytes, row: int) -> Extent | None:
    """Find the piece that covers most rows from `row` on; of equals, the one with fewest before."""
    best: Stored | None = None
    reached = row
    head = wanted[: (row + 1) * TOKEN_BYTES]
    for piece in pieces:
        if piece.start > row or not piece.tokens.startswith(head):
            continue
        rows = shared(piece.tokens, wanted)
        if rows > reached or (best is not None and rows == reached and piece.start > best.start):
            best, reached = piece, rows
    return None if best is None else Extent(best, row, reached)

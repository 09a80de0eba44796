"""Frozen tokens that several sequences have behind them, held once.

A span is what a sequence held when another one was forked from it. It is never written to again:
who goes on from it appends to arrays of its own. It lives as long as anybody has it behind him.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import mlx.core as mx

from semantic_actors.engine import caches

Pair = tuple[mx.array, mx.array]
"""Keys and values `(1, kv heads, tokens, width)`, spare tokens included."""


@dataclass(slots=True, eq=False)
class Span:
    """Keys and values of each member of a cache; None for one that is never filled."""

    pairs: tuple[Pair | None, ...]

    def shrink(self, rows: int) -> None:
        """Let go of all but the first tokens, one member at a time."""
        for place, pair in enumerate(self.pairs):
            if pair is not None:
                keys, values = (caches.copied(array, rows) for array in pair)
                mx.eval(keys, values)
                self.pairs = (*self.pairs[:place], (keys, values), *self.pairs[place + 1 :])

    @classmethod
    def of(cls, members: Iterable[caches.Layer]) -> "Span":
        """Take over the arrays of plain caches."""
        return cls(tuple(None if one.keys is None else (one.keys, one.values) for one in members))


@dataclass(frozen=True, slots=True)
class Segment:
    """The first `rows` tokens of a span."""

    span: Span
    rows: int

    def tokens(self, start: int, stop: int) -> list[mx.array]:
        """Some tokens of each of its arrays, `(heads, tokens, width)`."""
        return [array[0, :, start:stop] for pair in self.span.pairs if pair for array in pair]


@dataclass(frozen=True, slots=True)
class Behind:
    """The first `rows` tokens of a span, and which sequences of a run have them behind.

    `places` are theirs, None for all. `kept` are the tokens that each of these has, where they have
    not all the same.
    """

    span: Span
    rows: int
    places: tuple[int, ...] | None = None
    kept: tuple[int, ...] | None = None


Prefix = tuple[Segment, ...]


def cut(prefix: Prefix, keep: int) -> Prefix:
    """Keep the first `keep` tokens."""
    left = []
    for segment in prefix:
        if keep <= 0:
            break
        left.append(Segment(segment.span, min(segment.rows, keep)))
        keep -= segment.rows
    return tuple(left)


def behind(prefixes: list[Prefix]) -> tuple[Behind, ...]:
    """Find each span that is behind some of the sequences, and which they are."""
    found: dict[int, tuple[Span, dict[int, int]]] = {}
    for place, prefix in enumerate(prefixes):
        for segment in prefix:
            _, rows = found.setdefault(id(segment.span), (segment.span, {}))
            rows[place] = segment.rows
    return tuple(_behind(span, rows, len(prefixes)) for span, rows in found.values())


def _behind(span: Span, rows: dict[int, int], total: int) -> Behind:
    most = max(rows.values())
    places = None if len(rows) == total else tuple(rows)
    kept = None if min(rows.values()) == most else tuple(rows.values())
    return Behind(span, most, places, kept)

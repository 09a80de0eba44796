"""What a sequence has behind it: spans that it may share, and a tail of its own.

The tail is a cache of mlx-lm, alone or as a row of a group's. Only the tail is written to.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import mlx.core as mx

from semantic_actors.engine import caches
from semantic_actors.engine.forward.span import Prefix, Segment, Span, cut

if TYPE_CHECKING:
    from semantic_actors.engine.forward.group import Group

Fresh = Callable[[], caches.Layers]
"""Makes an empty cache."""


@dataclass(slots=True, eq=False)
class Past:
    """One sequence's `length` tokens: the first `before` are in spans, the others in its tail.

    While the tail is in a group, `layers` are empty shells: `own` takes them back.
    """

    layers: caches.Layers
    length: int = 0
    prefix: Prefix = ()
    before: int = 0
    group: "Group | None" = None
    members: list[caches.Layer] = field(init=False)

    def __post_init__(self) -> None:
        self.members = caches.members(self.layers)

    @property
    def tail(self) -> int:
        """Tokens in its own cache."""
        return self.length - self.before

    def own(self) -> caches.Layers:
        """Return the tail as its own, out of any group."""
        if self.group is not None:
            self.group.give_back([self])
        return self.layers

    def freeze(self, fresh: Fresh) -> None:
        """Make a span of the tail, and begin another."""
        self.own()
        if self.tail:
            self.prefix = (*self.prefix, Segment(Span.of(self.members), self.tail))
        self.before = self.length
        self._begin(fresh())

    def cut(self, keep: int, fresh: Fresh) -> None:
        """Forget all but the first `keep` tokens."""
        if keep >= self.before:
            caches.trim(self.own(), self.tail, keep - self.before)
        else:
            self.own()
            self._begin(fresh())
            self.prefix, self.before = cut(self.prefix, keep), keep
        self.length = keep

    def fork(self, keep: int, fresh: Fresh, behind: int | None = None) -> "Past":
        """Make another one of the first `keep` tokens; all but the first `behind` are copied."""
        most = min(keep, self.before)
        if behind is not None and behind < most:
            return self._copied(behind, keep, fresh())
        if keep <= self.before:
            return Past(fresh(), keep, cut(self.prefix, keep), keep)
        layers = caches.fork(self.own(), self.tail, keep - self.before)
        return Past(layers, keep, self.prefix, self.before)

    def rows(self, start: int, stop: int) -> list[mx.array]:
        """Keys and values of some tokens, `(heads, tokens, width)` each; plain attention only."""
        pieces, first = [], 0
        for segment in self.prefix:
            low, high = max(start, first), min(stop, first + segment.rows)
            if low < high:
                pieces.append(segment.tokens(low - first, high - first))
            first += segment.rows
        if stop > first:
            pieces.append(self._tail_rows(max(start, first) - first, stop - first))
        if len(pieces) == 1:
            return pieces[0]
        return [mx.concatenate(list(parts), axis=1) for parts in zip(*pieces, strict=True)]

    def size_bytes(self) -> int:
        """Bytes the arrays of its tail occupy, or its share of a group's."""
        total = sum(array.nbytes for array in self.arrays())
        return total if self.group is None else total // len(self.group.pasts)

    def arrays(self, layers: int | None = None) -> list[mx.array]:
        """All arrays of its tail, or its group's; those of so many layers only."""
        if self.group is not None:
            return self.group.arrays(layers)
        return caches.arrays(self.members[:layers])

    def states(self) -> list[mx.array]:
        """Arrays that a drawn token may not depend on: all but keys and values."""
        if self.group is not None:
            return self.group.states()
        others = [member for member in self.members if not caches.is_attention(member)]
        return caches.arrays(others) if others else []

    def discard(self) -> None:
        """Forget the cache."""
        if self.group is not None:
            group = self.group
            group.remove([self])
            mx.eval(group.arrays())  # or its old ones stay until the next step
        self.prefix = ()
        self._begin([])

    def _copied(self, behind: int, keep: int, layers: caches.Layers) -> "Past":
        past = Past(layers, keep, cut(self.prefix, behind), behind)
        filled = [number for number, pair in enumerate(self.prefix[0].span.pairs) if pair]
        rows = iter(self.rows(behind, keep))
        for number in filled:
            keys, values = next(rows)[None], next(rows)[None]
            caches.refill(past.members[number], keys, values, keep - behind)
        mx.eval(caches.arrays(past.members))
        return past

    def _begin(self, layers: caches.Layers) -> None:
        self.layers, self.members = layers, caches.members(layers)

    def _tail_rows(self, start: int, stop: int) -> list[mx.array]:
        if self.group is not None:
            return self.group.rows(self, start, stop)
        return [array[0, :, start:stop] for array in caches.arrays(self.members)]

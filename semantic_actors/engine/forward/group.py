"""Sequences of nearly one length that decode together, their caches laid into common arrays.

A call of attention costs as much as some hundred tokens of it, so rows of one length are cheaper
together, and rows of very different lengths are not: the short would be padded to the long.
`regroup` decides who is in which group. Who joins or leaves is copied; the whole group is when it
outgrows its arrays, which is why groups are bounded. All lengths here are those of the sequences'
own tails: what they have in spans before costs them no row.
"""

from collections.abc import Collection, Iterable, Sequence

import mlx.core as mx

from semantic_actors.engine import caches
from semantic_actors.engine.forward import stacks
from semantic_actors.engine.forward.past import Past

SLACK = 4
"""A row may be padded by a quarter of its length,"""

SLACK_TOKENS = 256
"""or by so many tokens if that is more: padding them costs less than a call of their own."""

OVERGROWN = 1.5
"""A group that has grown to so many times its bound is dissolved, and smaller ones are formed."""


class Group:
    """Owns the tails of its `pasts`, one row each, in this order; `longest` is a row's length."""

    def __init__(self, pasts: Iterable[Past]) -> None:
        self.pasts: list[Past] = []
        self.longest = 0
        ordered = sorted(pasts, key=lambda past: -past.tail)
        self.stacks = [stacks.make(member, len(ordered)) for member in ordered[0].members]
        for past in ordered:
            self.join(past)

    def arrays(self, layers: int | None = None) -> list[mx.array]:
        """Those of all rows; of so many layers only."""
        return [array for stack in self.stacks[:layers] for array in stack.arrays]

    def states(self) -> list[mx.array]:
        """All arrays but keys and values."""
        kept = (stack for stack in self.stacks if isinstance(stack, stacks.StateStack))
        return [array for stack in kept for array in stack.arrays]

    def rows(self, past: Past, start: int, stop: int) -> list[mx.array]:
        """As `Past.rows`, of one of its own."""
        row = self.pasts.index(past)
        return [
            array
            for stack in self.stacks
            if isinstance(stack, stacks.AttentionStack)
            for array in stack.slice(row, past.tail, start, stop)
        ]

    def fits(self, length: int, most_tokens: float) -> bool:
        """Whether a sequence of that length may be a row."""
        longest = max(length, self.longest)
        shortest = min(length, *(past.tail for past in self.pasts))
        small = longest * (len(self.pasts) + 1) <= most_tokens
        return small and longest - shortest <= allowed_padding(longest)

    def join(self, past: Past) -> None:
        """Take a sequence's arrays into a new row."""
        self.longest = max(self.longest, past.tail)
        for stack, member in zip(self.stacks, past.members, strict=True):
            stack.put(member, past.tail, self.longest)
        self.pasts.append(past)
        past.group = self

    def give_back(self, leaving: Collection[Past]) -> None:
        """Copy the rows of some sequences to arrays of their own, and remove them."""
        for past in leaving:
            row = self.pasts.index(past)
            for stack, member in zip(self.stacks, past.members, strict=True):
                stack.give(row, member, past.tail)
        self.remove(leaving)

    def remove(self, leaving: Collection[Past]) -> None:
        """Free the rows of some sequences; the last of the others take their places."""
        gone = set(map(id, leaving))
        stay = [row for row, past in enumerate(self.pasts) if id(past) not in gone]
        last = iter([row for row in stay if row >= len(stay)])
        rows = [row if row in stay else next(last) for row in range(len(stay))]
        moving = [row for place, row in enumerate(rows) if row != place]
        lifted = [stack.lift(moving) for stack in self.stacks]
        mx.eval(lifted, [caches.arrays(past.members) for past in leaving])
        for stack, copies in zip(self.stacks, lifted, strict=True):
            stack.keep(rows, copies)
        self.pasts = [self.pasts[row] for row in rows]
        self.longest = max((past.tail for past in self.pasts), default=0)
        for past in leaving:
            past.group = None

    def advance(self) -> None:
        """Count the token that each row was given."""
        self.longest += 1
        for past in self.pasts:
            past.length += 1

    def mask(self, columns: int) -> mx.array | None:
        """Which of the last columns each row sees, `(rows, 1, 1, columns)`; None: all."""
        lengths = [past.tail + 1 for past in self.pasts]
        if min(lengths) >= columns:
            return None
        seen = mx.array(lengths)[:, None]
        return (mx.arange(columns)[None] >= columns - seen)[:, None, None]


def allowed_padding(longest: int) -> int:
    """Tokens by which a row may be shorter than the longest of its group."""
    return max(longest // (SLACK + 1), SLACK_TOKENS)


def regroup(groups: list[Group], singles: Sequence[Past], most_tokens: float) -> list[Group]:
    """Arrange the sequences that decode in this step; those of other lengths stay alone.

    Returns the groups there are now. None is formed or joined beyond `most_tokens` in all.
    """
    here = set(map(id, singles))
    for group in groups:
        overgrown = group.longest * len(group.pasts) > OVERGROWN * most_tokens
        leaving = [past for past in group.pasts if overgrown or id(past) not in here]
        if leaving:
            group.give_back(leaving)
    left = [group for group in groups if group.pasts]
    lone = sorted(
        (past for past in singles if past.group is None and past.tail),
        key=lambda past: -past.tail,
    )
    lone = [past for past in lone if not _joined(past, left, most_tokens)]
    return [*left, *_formed(lone, most_tokens)]


def _joined(past: Past, groups: Iterable[Group], most_tokens: float) -> bool:
    fitting = next((group for group in groups if group.fits(past.tail, most_tokens)), None)
    if fitting is not None:
        fitting.join(past)
    return fitting is not None


def _formed(lone: list[Past], most_tokens: float) -> Iterable[Group]:
    """Form groups of who is near enough to whom; `lone` is longest first."""
    while lone:
        longest = lone[0].tail
        near = [past for past in lone if past.tail >= longest - allowed_padding(longest)]
        mates = near[: max(1, int(min(len(near), most_tokens // longest)))]
        if len(mates) > 1:
            yield Group(mates)
        lone = lone[len(mates) :]

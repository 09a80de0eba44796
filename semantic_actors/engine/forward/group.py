"""Sequences of nearly one length that decode together, their caches laid into common arrays.

A call of attention costs as much as some hundred tokens of it, so rows of one length are cheaper
together, and rows of very different lengths are not: the short would be padded to the long.
`regroup` decides who is in which group; it copies each sequence once as it joins or leaves.
"""

from collections.abc import Iterable, Sequence

import mlx.core as mx

from semantic_actors.engine.forward import stacks
from semantic_actors.engine.forward.past import Past

SLACK = 4
"""A row may be padded by a quarter of its length,"""

SLACK_TOKENS = 256
"""or by so many tokens if that is more: padding them costs less than a call of their own."""


class Group:
    """Owns the arrays of its `pasts`, one row each, in this order; `longest` is a row's length."""

    def __init__(self, pasts: Iterable[Past]) -> None:
        self.pasts: list[Past] = []
        self.longest = 0
        ordered = sorted(pasts, key=lambda past: -past.length)
        self.stacks = [stacks.make(member) for member in ordered[0].members]
        for past in ordered:
            self.join(past)

    def arrays(self) -> list[mx.array]:
        """Those of all rows, spare ones included."""
        return [array for stack in self.stacks for array in stack.arrays]

    def states(self) -> list[mx.array]:
        """All arrays but keys and values."""
        return [
            array
            for stack in self.stacks
            if isinstance(stack, stacks.StateStack)
            for array in stack.arrays
        ]

    def fits(self, length: int, most_tokens: float) -> bool:
        """Whether a sequence of that length may be a row."""
        longest = max(length, self.longest)
        if longest * (len(self.pasts) + 1) > most_tokens:
            return False
        return abs(length - self.longest) <= allowed_padding(longest)

    def advance(self) -> None:
        """Count the token that each row was given."""
        self.longest += 1
        for past in self.pasts:
            past.length += 1

    def join(self, past: Past) -> None:
        """Take a sequence's arrays into a new row."""
        self.longest = max(self.longest, past.length)
        for stack, member in zip(self.stacks, past.members, strict=True):
            stack.put(member, past.length, self.longest)
        self.pasts.append(past)
        past.group = self

    def give_back(self, past: Past) -> None:
        """Copy a sequence's row to arrays of its own, and remove it."""
        row = self.pasts.index(past)
        for stack, member in zip(self.stacks, past.members, strict=True):
            stack.give(row, member, past.length)
        self.remove(past)

    def remove(self, past: Past) -> None:
        """Free a sequence's row; the last row takes its place."""
        row = self.pasts.index(past)
        last = self.pasts.pop()
        if last is not past:
            self.pasts[row] = last
        for stack in self.stacks:
            stack.remove(row)
        self.longest = max((one.length for one in self.pasts), default=0)
        past.group = None

    def mask(self, columns: int) -> mx.array | None:
        """Which of the last columns each row sees, `(rows, 1, 1, columns)`; None: all."""
        lengths = [past.length + 1 for past in self.pasts]
        if min(lengths) >= columns:
            return None
        seen = mx.array(lengths)[:, None]
        return (mx.arange(columns)[None] >= columns - seen)[:, None, None]


def allowed_padding(longest: int) -> int:
    """Tokens by which a row may be shorter than the longest of its group."""
    return max(longest // (SLACK + 1), SLACK_TOKENS)


def regroup(singles: Sequence[Past], most_tokens: float) -> None:
    """Arrange the sequences that decode in this step; those of other lengths stay alone.

    Whoever sits in a group and is not among them is given back its arrays. No group grows beyond
    `most_tokens` in all: its arrays are copied whenever they grow, and that must not stall a step.
    """
    here = set(map(id, singles))
    groups = {id(past.group): past.group for past in singles if past.group is not None}
    for group in groups.values():
        for past in [one for one in group.pasts if id(one) not in here]:
            group.give_back(past)
    lone = sorted(
        (past for past in singles if past.group is None and past.length),
        key=lambda past: -past.length,
    )
    lone = [past for past in lone if not _joined(past, groups.values(), most_tokens)]
    while lone:
        longest = lone[0].length
        near = [past for past in lone if past.length >= longest - allowed_padding(longest)]
        mates = near[: max(1, int(min(len(near), most_tokens // longest)))]
        if len(mates) > 1:
            Group(mates)
        lone = lone[len(mates) :]


def _joined(past: Past, groups: Iterable[Group], most_tokens: float) -> bool:
    fitting = next((group for group in groups if group.fits(past.length, most_tokens)), None)
    if fitting is not None:
        fitting.join(past)
    return fitting is not None

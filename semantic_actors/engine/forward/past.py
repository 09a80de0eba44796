"""What a sequence has behind it: its cache, alone or as a row of a group's."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import mlx.core as mx

from semantic_actors.engine import caches

if TYPE_CHECKING:
    from semantic_actors.engine.forward.group import Group


@dataclass(slots=True, eq=False)
class Past:
    """One sequence's cache of `length` tokens.

    While it is in a group, `layers` are empty shells: `own` takes them back.
    """

    layers: caches.Layers
    length: int = 0
    group: "Group | None" = None
    members: list[caches.Layer] = field(init=False)

    def __post_init__(self) -> None:
        self.members = caches.members(self.layers)

    def own(self) -> caches.Layers:
        """Return the cache as its own, out of any group."""
        if self.group is not None:
            self.group.give_back([self])
        return self.layers

    def rows(self, start: int, stop: int) -> list[mx.array]:
        """Keys and values of some tokens, `(heads, tokens, width)` each; plain attention only."""
        if self.group is not None:
            return self.group.rows(self, start, stop)
        return [array[0, :, start:stop] for array in caches.arrays(self.members)]

    def size_bytes(self) -> int:
        """Bytes its arrays occupy, or its share of a group's."""
        total = sum(array.nbytes for array in self.arrays())
        return total if self.group is None else total // len(self.group.pasts)

    def arrays(self, layers: int | None = None) -> list[mx.array]:
        """All its arrays, or its group's; those of so many layers only."""
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
        self.layers, self.members = [], []

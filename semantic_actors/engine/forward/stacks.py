"""One layer's caches of a whole group, as one array each, a row per sequence.

Rows end in the same column, so that a step appends with one write and attends in one call; what is
left of a shorter row is masked, and blank. Nothing here evaluates, and every array has one owner,
so that writes are in place: who joins is copied to a spare row, the last row takes the place of who
leaves, and the others stay where they are. mlx writes in place once all that read an array before
has been done, so what leaves must be evaluated before the rows are written to again.
"""

from collections.abc import Sequence
from typing import Any, Final

import mlx.core as mx
from mlx_lm.models import cache as mlx_lm_cache

from semantic_actors.engine import caches

_stock: Any = mlx_lm_cache

SPARE_ROWS: Final = 4
"""Arrays that grow get a spare row for so many that they have,"""

SPARE_COLUMNS: Final = 16
"""and a spare column for so many tokens, or more."""


class AttentionStack:
    """Keys and values `(rows, kv heads, columns, width)`; `window` bounds what a row keeps.

    Arrays are made with space for `room` rows.
    """

    def __init__(self, window: int | None, room: int) -> None:
        self.window = window
        self._arrays: list[mx.array] = []
        self._room = room
        self._rows = 0
        self._end = 0

    @property
    def arrays(self) -> list[mx.array]:
        """Keys and values, spare rows and columns included."""
        return self._arrays

    def put(self, member: caches.Layer, length: int, longest: int) -> None:
        """Append a row, which takes the arrays of `member`, a stock cache of `length` tokens."""
        self._rows += 1
        if member.keys is None:
            return  # some models have caches that they never fill
        kept = self._kept(length)
        taken = [caches.last_rows(member, array, kept) for array in (member.keys, member.values)]
        member.keys = member.values = None
        if not self._arrays:
            self._end = kept
            self._arrays = [_blank(array, self._room, kept + _spare(kept)) for array in taken]
        earlier = max(0, self._kept(longest) - self._end)  # it is longer than all others
        if earlier or self._rows > self._room:
            if self._rows > self._room:
                self._room = self._rows + self._rows // SPARE_ROWS
            spare = self._arrays[0].shape[2] - self._end
            self._widen(self._rows - 1, 0, (earlier, spare))
        for array, row in zip(self._arrays, taken, strict=True):
            blank = [(0, 0), (0, 0), (self._end - kept, 0), (0, 0)]
            array[self._rows - 1 : self._rows, :, : self._end] = mx.pad(row, blank)

    def append(self, keys: mx.array, values: mx.array, longest: int) -> None:
        """Write one token per row, `(rows, kv heads, 1, width)`; `longest` is a row before it."""
        if self._end == self._arrays[0].shape[2]:
            kept = self._kept(longest)
            self._widen(self._rows, self._end - kept, (0, _spare(kept)))
        for array, token in zip(self._arrays, (keys, values), strict=True):
            array[: self._rows, :, self._end : self._end + 1] = token
        self._end += 1

    def seen(self, columns: int) -> tuple[mx.array, mx.array]:
        """Keys and values of the last columns."""
        keys, values = (
            array[: self._rows, :, self._end - columns : self._end] for array in self._arrays
        )
        return keys, values

    def slice(self, row: int, length: int, start: int, stop: int) -> list[mx.array]:
        """Keys and values of some tokens of a row of `length`, `(heads, tokens, width)` each."""
        first = self._end - length
        return [array[row, :, first + start : first + stop] for array in self._arrays]

    def give(self, row: int, member: caches.Layer, length: int) -> None:
        """Fill `member` with a copy of a row of `length` tokens."""
        if not self._arrays:
            return
        kept = self._kept(length)
        keys, values = (
            array[row : row + 1, :, self._end - kept : self._end] for array in self._arrays
        )
        caches.refill(member, keys, values, length)

    def lift(self, rows: list[int]) -> list[mx.array]:
        """Copy some rows of each array."""
        return [array[mx.array(rows)] for array in self._arrays] if rows else []

    def keep(self, rows: list[int], lifted: Sequence[mx.array]) -> None:
        """Keep only these rows, in this order; `lifted` are copies of those that change places."""
        self._rows = len(rows)
        if len(rows) * SPARE_ROWS < self._room * (SPARE_ROWS - 1):
            self._room = len(rows)
            self._arrays = self.lift(rows)
            return
        places = [place for place, row in enumerate(rows) if row != place]
        for array, moved in zip(self._arrays, lifted, strict=bool(lifted)):
            for i, place in enumerate(places):
                array[place : place + 1] = moved[i : i + 1]

    def _kept(self, length: int) -> int:
        return length if self.window is None else min(length, self.window)

    def _widen(self, rows: int, first: int, columns: tuple[int, int]) -> None:
        """Move the rows, from column `first` on, to arrays with so many columns around them."""
        around = [(0, self._room - rows), (0, 0), columns, (0, 0)]
        kept = (array[:rows, :, first : self._end] for array in self._arrays)
        self._arrays = [mx.pad(array, around) for array in kept]
        self._end += columns[0] - first


class StateStack:
    """Recurrent states, each array `(rows, ...)`."""

    def __init__(self) -> None:
        self.state: Any = None

    @property
    def arrays(self) -> list[mx.array]:
        """The states."""
        return [] if self.state is None else list(self.state.cache)

    def put(self, member: caches.Layer, _length: int, _longest: int) -> None:
        """Append a row, which takes the state of `member`."""
        if self.state is None:
            self.state = _stock.ArraysCache(len(member.cache))
            self.state.cache = member.cache
        else:
            pairs = zip(self.state.cache, member.cache, strict=True)
            self.state.cache = [mx.concatenate(list(pair)) for pair in pairs]
        member.cache = [None] * len(member.cache)

    def give(self, row: int, member: caches.Layer, _length: int) -> None:
        """Fill `member` with a copy of a row."""
        member.cache = [mx.contiguous(array[row : row + 1]) for array in self.state.cache]

    def lift(self, _: list[int]) -> list[mx.array]:
        """Copy nothing: states are small, and made anew at each step."""
        return []

    def keep(self, rows: list[int], _: Sequence[mx.array]) -> None:
        """Keep only these rows, in this order."""
        if rows:
            self.state.cache = [array[mx.array(rows)] for array in self.state.cache]
        else:
            self.state = None


Stack = AttentionStack | StateStack


def make(member: caches.Layer, room: int) -> Stack:
    """Make the empty stack for caches like `member`, with space for so many rows."""
    if caches.is_state(member):
        return StateStack()
    return AttentionStack(getattr(member, "max_size", None), room)


def _spare(columns: int) -> int:
    """Columns to add: in proportion, so that to grow is not to copy again and again."""
    step = caches.STEP
    return step - columns % step + columns // (SPARE_COLUMNS * step) * step


def _blank(like: mx.array, rows: int, columns: int) -> mx.array:
    _, heads, _, width = like.shape
    return mx.zeros((rows, heads, columns, width), like.dtype)

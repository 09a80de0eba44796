"""One layer's caches of a whole group, as one array each, a row per sequence.

Rows end in the same column, so that a step appends with one write and attends in one call; what is
left of a shorter row is masked, and blank. Everything is lazy, and every array has one owner, so
that writes are in place.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.models import cache as mlx_lm_cache

from semantic_actors.engine import caches

_stock: Any = mlx_lm_cache


class AttentionStack:
    """Keys and values `(rows, kv heads, columns, width)`; `window` bounds what a row keeps."""

    def __init__(self, window: int | None) -> None:
        self.window = window
        self._arrays: list[mx.array] = []
        self._end = 0

    @property
    def arrays(self) -> list[mx.array]:
        """Keys and values, spare columns included."""
        return self._arrays

    def put(self, member: caches.Layer, length: int, longest: int) -> None:
        """Append a row, which takes the arrays of `member`, a stock cache of `length` tokens."""
        if member.keys is None:
            return  # some models have caches that they never fill
        kept = self._kept(length)
        taken = [caches.last_rows(member, array, kept) for array in (member.keys, member.values)]
        member.keys = member.values = None
        if not self._arrays:
            self._end = kept
            self._arrays = [_widened(array, 0, _spare(kept)) for array in taken]
            return
        if (earlier := self._kept(longest) - self._end) > 0:  # longer than all others
            self._end += earlier
            self._arrays = [_widened(array, earlier, 0) for array in self._arrays]
        spare = self._arrays[0].shape[2] - self._end
        rows = [_widened(array, self._end - kept, spare) for array in taken]
        pairs = zip(self._arrays, rows, strict=True)
        self._arrays = [mx.concatenate(list(pair)) for pair in pairs]

    def append(self, keys: mx.array, values: mx.array, longest: int) -> None:
        """Write one token per row, `(rows, kv heads, 1, width)`; `longest` is a row before it."""
        if self._end == self._arrays[0].shape[2]:
            self._grow(self._kept(longest))
        for array, token in zip(self._arrays, (keys, values), strict=True):
            array[:, :, self._end : self._end + 1] = token
        self._end += 1

    def seen(self, columns: int) -> tuple[mx.array, mx.array]:
        """Keys and values of the last columns."""
        keys, values = (array[:, :, self._end - columns : self._end] for array in self._arrays)
        return keys, values

    def give(self, row: int, member: caches.Layer, length: int) -> None:
        """Fill `member` with a copy of a row of `length` tokens."""
        if not self._arrays:
            return
        kept = self._kept(length)
        keys, values = (
            array[row : row + 1, :, self._end - kept : self._end] for array in self._arrays
        )
        caches.refill(member, keys, values, length)

    def keep(self, rows: list[int]) -> None:
        """Keep only these rows."""
        self._arrays = [array[mx.array(rows)] for array in self._arrays] if rows else []

    def _kept(self, length: int) -> int:
        return length if self.window is None else min(length, self.window)

    def _grow(self, kept: int) -> None:
        """Move what is kept to wider arrays."""
        self._arrays = [
            _widened(array[:, :, self._end - kept : self._end], 0, _spare(kept))
            for array in self._arrays
        ]
        self._end = kept


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

    def keep(self, rows: list[int]) -> None:
        """Keep only these rows."""
        if rows:
            self.state.cache = [array[mx.array(rows)] for array in self.state.cache]
        else:
            self.state = None


Stack = AttentionStack | StateStack


def make(member: caches.Layer) -> Stack:
    """Make the empty stack for caches like `member`."""
    if caches.is_state(member):
        return StateStack()
    return AttentionStack(getattr(member, "max_size", None))


def _spare(columns: int) -> int:
    """Columns to add, as the caches of single sequences do."""
    return caches.STEP - columns % caches.STEP


def _widened(array: mx.array, before: int, after: int) -> mx.array:
    """Copy to a new array with blank columns on both sides."""
    return mx.pad(array, [(0, 0), (0, 0), (before, after), (0, 0)])

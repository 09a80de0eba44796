"""One layer's caches of a whole group, as one array each, a row per sequence.

Rows end in the same column, so that a step appends with one write and attends in one call; what is
left of a shorter row is masked. Only the first rows are in use, those of the group's sequences, in
its order. Everything is lazy, and every array has one owner, so that writes are in place.
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
        self._rows = 0
        self._end = 0

    @property
    def arrays(self) -> list[mx.array]:
        """Keys and values, spare rows and columns included."""
        return self._arrays

    def put(self, member: caches.Layer, length: int, longest: int) -> None:
        """Append a row, which takes the arrays of `member`, a stock cache of `length` tokens."""
        if member.keys is None:
            return  # some models have caches that they never fill
        kept = self._kept(length)
        taken = [caches.last_rows(member, array, kept) for array in (member.keys, member.values)]
        member.keys = member.values = None
        if not self._arrays:
            self._end = self._kept(longest)
            columns = self._end + _spare(self._end)
            self._arrays = [_blank(array, 1, columns) for array in taken]
        elif self._rows == self._arrays[0].shape[0]:
            self._arrays = [
                mx.concatenate([array, mx.zeros_like(array[: self._rows])])
                for array in self._arrays
            ]
        self._begin_earlier(self._kept(longest) - self._end)
        for array, mine in zip(self._arrays, taken, strict=True):
            array[self._rows : self._rows + 1, :, self._end - kept : self._end] = mine
        self._rows += 1

    def _begin_earlier(self, columns: int) -> None:
        """Make room before the first column, for a row that is longer than all others."""
        if columns > 0:
            self._end += columns
            self._arrays = [
                mx.concatenate([_blank(array, array.shape[0], columns), array], axis=2)
                for array in self._arrays
            ]

    def append(self, keys: mx.array, values: mx.array, longest: int) -> None:
        """Write one token per row, `(rows, kv heads, 1, width)`; `longest` is a row before it."""
        if self._end == self._arrays[0].shape[2]:
            self._grow(self._kept(longest))
        for array, token in zip(self._arrays, (keys, values), strict=True):
            array[: self._rows, :, self._end : self._end + 1] = token
        self._end += 1

    def seen(self, columns: int) -> tuple[mx.array, mx.array]:
        """Keys and values of the last columns."""
        keys, values = (
            array[: self._rows, :, self._end - columns : self._end] for array in self._arrays
        )
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

    def remove(self, row: int) -> None:
        """Take a row out; the last takes its place."""
        self._rows -= 1
        if row != self._rows:
            for array in self._arrays:
                array[row] = array[self._rows]

    def _kept(self, length: int) -> int:
        return length if self.window is None else min(length, self.window)

    def _grow(self, kept: int) -> None:
        """Move what is kept to wider arrays."""
        self._arrays = [
            mx.concatenate(
                [
                    array[:, :, self._end - kept : self._end],
                    _blank(array, array.shape[0], _spare(kept)),
                ],
                axis=2,
            )
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
        return list(self.state.cache)

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

    def remove(self, row: int) -> None:
        """Take a row out; the last takes its place."""
        last = self.state.cache[0].shape[0] - 1
        order = mx.array([last if i == row else i for i in range(last)], mx.int32)
        self.state.cache = [array[order] for array in self.state.cache]


Stack = AttentionStack | StateStack


def make(member: caches.Layer) -> Stack:
    """Make the empty stack for caches like `member`."""
    if caches.is_state(member):
        return StateStack()
    return AttentionStack(getattr(member, "max_size", None))


def _spare(columns: int) -> int:
    """Columns to add, as the caches of single sequences do."""
    return caches.STEP - columns % caches.STEP


def _blank(like: mx.array, rows: int, columns: int) -> mx.array:
    return mx.zeros((rows, like.shape[1], columns, like.shape[3]), like.dtype)

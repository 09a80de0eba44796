"""Rows out of rows: a piece's data divided by part and head, where rows lie side by side."""

import mmap
from collections.abc import Sequence

from semantic_actors.kv.layout import Layout
from semantic_actors.persistence.fs import Buffer


def cut(layout: Layout, data: Buffer, rows: int, start: int, stop: int) -> list[memoryview]:
    """Return rows `start..stop` of a piece's `rows`, as one slice per part and head; no copy."""
    view = memoryview(data).cast("B")
    slices, offset = [], 0
    for part in layout.parts:
        row_bytes = part.row_bytes // part.heads
        for _ in range(part.heads):
            slices.append(view[offset + start * row_bytes : offset + stop * row_bytes])
            offset += rows * row_bytes
    return slices


def join(cuts: Sequence[Sequence[memoryview]]) -> list[memoryview]:
    """Put rows behind each other: the slices of what follows go after those of what is before."""
    return [one for head in zip(*cuts, strict=True) for one in head]


def contiguous(slices: Sequence[memoryview]) -> memoryview:
    """Copy slices into one buffer, a short one at a time."""
    size = sum(len(one) for one in slices)
    whole = memoryview(mmap.mmap(-1, max(1, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANON))
    offset = 0
    for one in slices:
        whole[offset : offset + len(one)] = one
        offset += len(one)
    return whole[:size].toreadonly()

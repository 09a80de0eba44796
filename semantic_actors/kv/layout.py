"""What the keys and values of tokens look like outside the engine."""

from typing import Any, Final

import msgspec

DTYPE_BYTES: Final = {"F32": 4, "F16": 2, "BF16": 2}
"""Element types by the names that safetensors gives them."""


class Part(msgspec.Struct, frozen=True):
    """One array of a layer: `(heads, rows, width)` elements of `dtype`."""

    name: str
    dtype: str
    heads: int
    width: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one token."""
        return self.heads * self.width * DTYPE_BYTES[self.dtype]


class Rows(msgspec.Struct, frozen=True):
    """Keys and values of rows `start..stop` of a path, as raw bytes in the order of the `Layout`.

    They never cross the border of a block.
    """

    start: int
    stop: int
    data: Any
    """Anything with a contiguous buffer; whoever gets it must not write to it."""


class Layout(msgspec.Struct, frozen=True):
    """All parts of a cache, in the order in which their bytes follow each other.

    Rows are laid out part by part, each part as `(heads, rows, width)`.
    """

    parts: tuple[Part, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one token in all parts."""
        return sum(part.row_bytes for part in self.parts)

    def holds(self, rows: Rows) -> bool:
        """Whether a buffer is as long as its rows say."""
        return memoryview(rows.data).nbytes == self.row_bytes * (rows.stop - rows.start)

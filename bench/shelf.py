"""The disk as a daemon has left it: what of a path is stored, and how long it takes to read.

Read with the store's own code, one piece after the other, each verified: header, names, tokens,
sha256 of everything. That is the least a restore can take on this machine, if nothing of it is done
while something else is. Nobody serves from the state directory meanwhile: it is locked.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from semantic_actors.domain.ids import LOCAL, TokenIds
from semantic_actors.kv.layout import Layout, Part
from semantic_actors.persistence import Fs, open_state
from semantic_actors.persistence.archive import Archive
from semantic_actors.persistence.catalog import encode
from semantic_actors.persistence.format import Header, read_header
from semantic_actors.persistence.inventory import Inventory
from semantic_actors.persistence.sqlite_catalog import open_catalog
from semantic_actors.persistence.transfer import closing

PIECES: Final = "blocks/*/*.safetensors"
_BESIDES: Final = ("tokens", "checksum")
"""Tensors of a piece that are no part of the layout."""

_NO_BUDGET: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Shelf:
    """An opened state directory."""

    archive: Archive
    inventory: Inventory
    layout: Layout

    @property
    def size_bytes(self) -> int:
        """Bytes of all pieces' files."""
        return self.inventory.index.size_bytes

    def kept(self, path: TokenIds) -> int:
        """Count the leading tokens that are stored."""
        return self.inventory.reach(encode(LOCAL), path)

    def read_s(self, path: TokenIds) -> float:
        """Read and verify all that is stored of a path; seconds."""
        trail = self.inventory.trail(encode(LOCAL), path)
        began = time.perf_counter()
        for extent in self.inventory.index.cover(trail, 0, len(path)):
            self.archive.take(extent)
        return time.perf_counter() - began


@contextlib.contextmanager
def opened(state: Path) -> Iterator[Shelf]:
    """Open what a daemon that has left was given as its state directory."""
    with open_state(state) as fs:
        header = _any_header(fs, state)
        layout = _layout(header)
        identity = header.metadata.identity
        archive = Archive(fs, identity, layout, open_catalog)
        inventory = Inventory(identity, _NO_BUDGET, None)
        inventory.load(archive.open(time.time()))
        try:
            yield Shelf(archive, inventory, layout)
        finally:
            archive.close()


def forget_pages(state: Path) -> None:
    """Have the system forget the pieces' content, so that the next to read asks the disk."""
    for file in state.glob(PIECES):
        fd = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def _any_header(fs: Fs, state: Path) -> Header:
    """Read what all pieces have in common: one model has written them."""
    file = next(state.glob(PIECES))
    with closing(fs, fs.open(str(file.relative_to(state)))) as fd:
        return read_header(fs, fd)


def _layout(header: Header) -> Layout:
    return Layout(tuple(_parts(header)))


def _parts(header: Header) -> Iterable[Part]:
    for name, tensor in header.tensors.items():
        if name not in _BESIDES:
            heads, _, width = tensor.shape
            yield Part(name, tensor.dtype, heads, width)

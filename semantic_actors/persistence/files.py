"""The files of pieces: published whole or not at all, read verified or not at all.

    blocks/<2 hex>/<64 hex>.safetensors     under its final name only once it is durable
    blocks/<2 hex>/.<64 hex>                being written; swept at the next start
    quarantine/<instant>-<64 hex>           what failed verification, up to a number of bytes

Every call blocks and belongs on the store's threads. Which files there should be is the catalog's
knowledge.
"""

import errno
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import structlog

from semantic_actors.kv.blocks import BlockHash, Piece
from semantic_actors.kv.layout import Layout
from semantic_actors.persistence.errors import Flaw, Flawed
from semantic_actors.persistence.format import (
    Stored,
    encode_piece,
    file_bytes,
    inspect_piece,
    read_header,
    read_piece,
)
from semantic_actors.persistence.fs import Buffer, Fs, UnsafeFile
from semantic_actors.persistence.index import Extent
from semantic_actors.persistence.slices import contiguous, cut, join
from semantic_actors.persistence.transfer import closing, discard_file, publish_file

BLOCKS: Final = "blocks"
QUARANTINE: Final = "quarantine"
SUFFIX: Final = ".safetensors"

log = structlog.get_logger(__name__)


class PieceFiles:
    """See the module; `identity` and `layout` are those of the model being served."""

    def __init__(self, fs: Fs, identity: str, layout: Layout) -> None:
        self._fs = fs
        self._identity = identity
        self._layout = layout

    def prepare(self) -> None:
        """Make the directories, so that writing makes files only."""
        for folder in (BLOCKS, QUARANTINE):
            self._fs.make_directory(folder)
        wanted = [f"{byte:02x}" for byte in range(256)]
        for folder in set(wanted).difference(self._fs.list(BLOCKS)):
            self._fs.make_directory(f"{BLOCKS}/{folder}")
        self._fs.sync_directory(BLOCKS)
        self._fs.sync_directory("")

    def sized(self, piece: Piece) -> Stored:
        """Say what a piece's file will be."""
        size = file_bytes(piece, self._identity, self._layout)
        fields = {name: getattr(piece, name) for name in Piece.__struct_fields__}
        return Stored(**fields, size_bytes=size)

    def publish(self, piece: Piece, data: Sequence[Buffer]) -> None:
        """Write a piece's file and give it its name; `sync` makes the name durable.

        Raises Flawed where a later version's file has the name, or OSError; then there is nothing
        left of it.
        """
        path = path_of(piece.name)
        self._check_replaceable(path)
        publish_file(self._fs, path, encode_piece(piece, self._identity, self._layout, data))

    def sync(self, pieces: Iterable[BlockHash]) -> None:
        """Make the names of published files durable."""
        for folder in sorted({_folder(piece) for piece in pieces}):
            self._fs.sync_directory(folder)

    def read(self, piece: Piece) -> memoryview:
        """Read the rows of a piece. Raises Flawed."""
        try:
            with closing(self._fs, self._fs.open(path_of(piece.name))) as fd:
                return read_piece(self._fs, fd, piece, self._identity, self._layout)
        except OSError as error:
            raise _flawed(error) from error

    def take(self, extent: Extent) -> memoryview:
        """Read some rows of a piece, contiguous. Raises Flawed."""
        data = self.read(extent.piece)
        if (extent.start, extent.stop) == (extent.piece.start, extent.piece.stop):
            return data
        return contiguous(self._cut(extent, data))

    def rewrite(self, piece: Piece, extents: Sequence[Extent]) -> None:
        """Publish a piece that holds the rows of these. Raises Flawed, or OSError."""
        cuts = [self._cut(extent, self.read(extent.piece)) for extent in extents]
        self.publish(piece, join(cuts))

    def discard(self, pieces: Iterable[BlockHash]) -> None:
        """Remove files, if they are there; what cannot be removed now is at the next start."""
        for piece in pieces:
            discard_file(self._fs, path_of(piece))

    def quarantine(self, piece: BlockHash, most_bytes: int) -> None:
        """Move a file out of the way, and drop the oldest such files beyond `most_bytes`."""
        try:
            self._fs.rename(path_of(piece), f"{QUARANTINE}/{time.time_ns():020}-{piece.hex()}")
        except OSError as error:
            log.warning("quarantine_failed", piece=piece.hex(), reason=str(error))
            discard_file(self._fs, path_of(piece))
        kept = 0
        for name in sorted(self._fs.list(QUARANTINE), reverse=True):
            path = f"{QUARANTINE}/{name}"
            try:
                with closing(self._fs, self._fs.open(path)) as fd:
                    kept += self._fs.size(fd)
            except OSError:
                kept = most_bytes + 1
            if kept > most_bytes:
                discard_file(self._fs, path)

    def names(self) -> Iterator[BlockHash]:
        """List the pieces that have a file; sweeps what was being written. Raises OSError."""
        for folder in self._fs.list(BLOCKS):
            for name in self._names_in(folder):
                piece = _name_of(folder, name)
                if piece is not None:
                    yield piece
                elif name.startswith("."):
                    discard_file(self._fs, f"{BLOCKS}/{folder}/{name}")

    def any(self) -> bool:
        """Whether any piece has a file."""
        return any(True for _ in self.names())

    def _names_in(self, folder: str) -> list[str]:
        try:
            return self._fs.list(f"{BLOCKS}/{folder}")
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise  # what is not seen now may still be there
            log.warning("directory_ignored", folder=folder, reason=str(error))
            return []

    def inspect(self, piece: BlockHash) -> Stored:
        """Read what a file says that it is. Raises Flawed."""
        try:
            with closing(self._fs, self._fs.open(path_of(piece))) as fd:
                stored = inspect_piece(self._fs, fd)
        except OSError as error:
            raise _flawed(error) from error
        if stored.name != piece:
            raise Flawed(Flaw.NAME, stored.name.hex())
        return stored

    def _cut(self, extent: Extent, data: memoryview) -> list[memoryview]:
        piece = extent.piece
        start, stop = extent.start - piece.start, extent.stop - piece.start
        return cut(self._layout, data, piece.rows, start, stop)

    def _check_replaceable(self, path: str) -> None:
        try:
            with closing(self._fs, self._fs.open(path)) as fd:
                read_header(self._fs, fd)
        except OSError:
            return
        except Flawed as error:
            if error.flaw is Flaw.VERSION:
                raise


def path_of(piece: BlockHash) -> str:
    """Where the file of a piece is."""
    return f"{_folder(piece)}/{piece.hex()}{SUFFIX}"


def _folder(piece: BlockHash) -> str:
    return f"{BLOCKS}/{piece.hex()[:2]}"


def _name_of(folder: str, name: str) -> BlockHash | None:
    try:
        piece = BlockHash(bytes.fromhex(name.removesuffix(SUFFIX)))
    except ValueError:
        return None
    return piece if path_of(piece) == f"{BLOCKS}/{folder}/{name}" else None


def _flawed(error: OSError) -> Flawed:
    if isinstance(error, FileNotFoundError):
        return Flawed(Flaw.MISSING)
    if isinstance(error, UnsafeFile) or error.errno in (errno.ELOOP, errno.ENXIO):
        return Flawed(Flaw.REFUSED)
    if error.errno == errno.EIO:
        return Flawed(Flaw.FAILING)
    return Flawed(Flaw.UNREADABLE, str(error))

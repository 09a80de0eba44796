"""The format of one file: a piece of a block as a safetensors file that vouches for itself.

    8 bytes   length of the header
    header    JSON: `__metadata__`, then name, dtype, shape and offsets of each tensor
    data      the layout's parts, each (heads, rows, width)
              `tokens`, of the block from its first to the piece's last
              `checksum`, sha256 of all bytes of the file before it

safetensors itself checks no content and trusts what a header says. Here nothing is returned that
was not verified whole: version, identity, name, tokens, layout, sizes, checksum. sha256 and not
crc32: at 1 to 2 GB a second it costs twice to four times as much, which is still less than the disk
does, and it cannot be met by accident.

Bytes go out and come in without a copy and without holding the interpreter: hashing, `pwritev` and
`preadv` let go of it, and an anonymous map is not zeroed by it as a bytearray is.
"""

import hashlib
import mmap
from collections.abc import Sequence
from typing import Final

import msgspec

from semantic_actors.kv.blocks import BLOCK_TOKENS, TOKEN_BYTES, BlockHash, Piece, name
from semantic_actors.kv.layout import Layout
from semantic_actors.persistence.errors import Flaw, Flawed
from semantic_actors.persistence.fs import Buffer, Fs
from semantic_actors.persistence.transfer import read_all

KIND: Final = "semantic-actors.kv"
MAJOR: Final = 1
MINOR: Final = 0
CHECKSUM_BYTES: Final = hashlib.sha256().digest_size

_LENGTH_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 1 << 20
"""Some 120 bytes a tensor, and a cache of no model has a thousand."""

_MAX_DEPTH: Final = 1 << 31


class Stored(Piece, frozen=True):
    """A piece and the size of its file."""

    size_bytes: int


class _Metadata(msgspec.Struct, frozen=True):
    """Who wrote what; safetensors wants strings."""

    kind: str
    version: str
    identity: str
    name: str
    parent: str
    depth: str
    start: str


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class Header(msgspec.Struct, frozen=True):
    """A header as it was found; nothing in it is verified beyond its form."""

    metadata: _Metadata
    tensors: dict[str, _Tensor]
    raw: bytes
    """All of it, its length included."""


def encode_header(piece: Piece, identity: str, layout: Layout) -> bytes:
    """Make the header of a piece's file, its length included."""
    metadata = _Metadata(
        kind=KIND,
        version=f"{MAJOR}.{MINOR}",
        identity=identity,
        name=piece.name.hex(),
        parent=piece.parent.hex(),
        depth=str(piece.depth),
        start=str(piece.start),
    )
    text = msgspec.json.encode({"__metadata__": metadata, **_tensors(piece, layout)})
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def file_bytes(piece: Piece, identity: str, layout: Layout) -> int:
    """Bytes of a piece's file."""
    head = len(encode_header(piece, identity, layout))
    return head + piece.rows * layout.row_bytes + len(piece.tokens) + CHECKSUM_BYTES


def encode_piece(
    piece: Piece, identity: str, layout: Layout, data: Sequence[Buffer]
) -> list[Buffer]:
    """Make a piece's file, as buffers; `data` are its rows, in any division."""
    rows = [memoryview(buffer).cast("B") for buffer in data]
    buffers: list[Buffer] = [encode_header(piece, identity, layout), *rows, piece.tokens]
    checksum = hashlib.sha256()
    for buffer in buffers:
        checksum.update(buffer)
    return [*buffers, checksum.digest()]


def read_header(fs: Fs, fd: int) -> Header:
    """Read a header. Raises Flawed, or OSError."""
    length = bytearray(_LENGTH_BYTES)
    read_all(fs, fd, memoryview(length), 0)
    size = int.from_bytes(length, "little")
    if size > min(_MAX_HEADER_BYTES, fs.size(fd) - _LENGTH_BYTES):
        raise Flawed(Flaw.HEADER, f"of {size} bytes")
    text = bytearray(size)
    read_all(fs, fd, memoryview(text), _LENGTH_BYTES)
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(fields.pop("__metadata__", b"null"), type=_Metadata)
        version = int(metadata.version.partition(".")[0])
        if metadata.kind == KIND and version > MAJOR:
            raise Flawed(Flaw.VERSION, metadata.version)
        tensors = {key: msgspec.json.decode(raw, type=_Tensor) for key, raw in fields.items()}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Flawed(Flaw.HEADER, str(error)) from error
    if metadata.kind != KIND or version != MAJOR:
        raise Flawed(Flaw.HEADER, f"{metadata.kind} {metadata.version}")
    return Header(metadata, tensors, bytes(length + text))


def read_piece(fs: Fs, fd: int, expected: Piece, identity: str, layout: Layout) -> memoryview:
    """Read the rows of a piece's file, all of it verified. Raises Flawed, or OSError."""
    header = read_header(fs, fd)
    if header.metadata.identity != identity:
        raise Flawed(Flaw.IDENTITY, header.metadata.identity)
    found = _piece(header.metadata, expected.tokens)
    if (found.name, found.depth) != (expected.name, expected.depth):
        raise Flawed(Flaw.NAME, found.name.hex())
    if header.tensors != _tensors(expected, layout):
        raise Flawed(Flaw.LAYOUT)
    size = len(header.raw) + _data_bytes(header)
    if fs.size(fd) != size:
        raise Flawed(Flaw.SIZE, f"{fs.size(fd)} bytes, not {size}")
    whole = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON))
    read_all(fs, fd, whole, 0)
    start = len(header.raw)
    end = start + expected.rows * layout.row_bytes
    if whole[:start] != header.raw:
        raise Flawed(Flaw.HEADER, "it changed meanwhile")
    if hashlib.sha256(whole[:-CHECKSUM_BYTES]).digest() != whole[-CHECKSUM_BYTES:]:
        raise Flawed(Flaw.CHECKSUM)
    if whole[end:-CHECKSUM_BYTES] != expected.tokens:
        raise Flawed(Flaw.TOKENS)
    return whole[start:end].toreadonly()


def inspect_piece(fs: Fs, fd: int) -> Stored:
    """Read what a file says that it is, for a catalog; its rows are not verified.

    Raises Flawed, or OSError.
    """
    header = read_header(fs, fd)
    size = fs.size(fd)
    tensor = header.tensors.get("tokens")
    if tensor is None or len(header.raw) + _data_bytes(header) != size:
        raise Flawed(Flaw.SIZE, f"{size} bytes")
    start, stop = tensor.data_offsets
    if not 0 <= start < stop <= start + BLOCK_TOKENS * TOKEN_BYTES:
        raise Flawed(Flaw.TOKENS, f"{stop - start} bytes")
    tokens = bytearray(stop - start)
    read_all(fs, fd, memoryview(tokens), len(header.raw) + start)
    piece = _piece(header.metadata, bytes(tokens))
    if not piece.start < piece.stop:
        raise Flawed(Flaw.TOKENS, f"{piece.stop} of them, from {piece.start}")
    return Stored(**msgspec.structs.asdict(piece), size_bytes=size)


def _piece(metadata: _Metadata, tokens: bytes) -> Piece:
    """Return the piece that a file says that it is, if its name says the same."""
    try:
        parent = BlockHash(bytes.fromhex(metadata.parent))
        depth, start = int(metadata.depth), int(metadata.start)
        named = name(parent, tokens, start)
    except (ValueError, OverflowError) as error:
        raise Flawed(Flaw.HEADER, str(error)) from error
    if named.hex() != metadata.name or not 0 <= depth < _MAX_DEPTH:
        raise Flawed(Flaw.NAME, metadata.name)
    return Piece(named, parent, depth, start, tokens)


def _tensors(piece: Piece, layout: Layout) -> dict[str, _Tensor]:
    shapes: list[tuple[str, str, tuple[int, ...], int]] = [
        (part.name, part.dtype, (part.heads, piece.rows, part.width), piece.rows * part.row_bytes)
        for part in layout.parts
    ]
    shapes.append(("tokens", "U32", (piece.stop,), len(piece.tokens)))
    shapes.append(("checksum", "U8", (CHECKSUM_BYTES,), CHECKSUM_BYTES))
    tensors, offset = {}, 0
    for key, dtype, shape, size in shapes:
        tensors[key] = _Tensor(dtype, shape, (offset, offset + size))
        offset += size
    return tensors


def _data_bytes(header: Header) -> int:
    return max((tensor.data_offsets[1] for tensor in header.tensors.values()), default=0)

"""The file of a session: all that another machine needs to go on with it.

    magic     26 bytes, the version among them
    records   length of the head (4 bytes, big endian), head (msgpack), digest (32 bytes),
              and where the head says that data follow: data, digest

    Opening   which model's keys and values these are, and of which session
    Said      a turn
    Held      rows of the path behind a turn, raw, in the order of the layout
    End

Each digest is that of what is before it, back to the digest before that, and of that one: so all
is what was written, behind what was written before it, and a file without its end is not whole.
Blocks have no names here: they are named anew where they are taken in, by the owner that they have
there. How long data are is never taken from the file: the layout that it has to share with its
reader says it.

Nothing here knows a store or a socket. Parts are small, so that whoever passes them on holds nobody
up.
"""

import hashlib
import mmap
import struct
from collections.abc import AsyncGenerator, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from semantic_actors.domain.control import Name
from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.limits import MAX_CONTROL_CHUNK_BYTES
from semantic_actors.kv.blocks import BLOCK_TOKENS
from semantic_actors.kv.layout import Layout
from semantic_actors.persistence.catalog import Turn

MAGIC: Final = b"semantic-actors session 1\n"

MAX_HEAD_BYTES: Final = 128 << 20
"""A turn of ten million tokens; it is not allocated before it has come."""

MAX_TURNS: Final = 1 << 20

_LENGTH: Final = struct.Struct(">I")
_DIGEST_BYTES: Final = hashlib.sha256().digest_size

_Row = Annotated[int, Meta(ge=0, le=1 << 31)]


class Opening(msgspec.Struct, frozen=True, tag="session"):
    """What the file is of."""

    identity: str
    layout: Layout
    session: Name
    turns: Annotated[int, Meta(ge=1, le=MAX_TURNS)]


class Said(msgspec.Struct, frozen=True, tag="turn"):
    """A turn, as stores keep it; turns come in order of their numbers."""

    turn: Turn


class Held(msgspec.Struct, frozen=True, tag="rows"):
    """Rows `start..stop` of the path behind the turn of that number; the data follows."""

    turn: _Row
    start: _Row
    stop: _Row

    @property
    def rows(self) -> int:
        """How many; of one block, or it is not one of ours."""
        return self.stop - self.start


class End(msgspec.Struct, frozen=True, tag="end"):
    """There is no more."""


Head = Opening | Said | Held | End


class Doubtful(InvalidRequest):
    """A file that is not taken in."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the file is not taken in: {why}")


class Packer:
    """Makes the parts of a file, in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256(MAGIC).digest()

    def begin(self, opening: Opening) -> Iterator[bytes]:
        """Make the first parts."""
        yield MAGIC
        yield from self.pack(opening)

    def pack(self, head: Head, data: Any = b"") -> Iterator[bytes]:
        """Make the parts of a record; `data` is anything with a contiguous buffer."""
        packed = msgspec.msgpack.encode(head)
        yield from self._vouch(_LENGTH.pack(len(packed)) + packed)
        if isinstance(head, Held):
            yield from self._vouch(data)

    def _vouch(self, whole: Any) -> Iterator[bytes]:
        digest = hashlib.sha256(self._digest)
        view = memoryview(whole).cast("B")
        for start in range(0, len(view), MAX_CONTROL_CHUNK_BYTES):
            part = bytes(view[start : start + MAX_CONTROL_CHUNK_BYTES])
            digest.update(part)
            yield part
        self._digest = digest.digest()
        yield self._digest


class Unpacker:
    """Reads a file record by record; nothing is returned that was not verified."""

    def __init__(self, file: AsyncGenerator[bytes], layout: Layout) -> None:
        self._file = file
        self._row_bytes = layout.row_bytes
        self._left = memoryview(b"")
        self._digest = hashlib.sha256(MAGIC).digest()

    async def begin(self) -> Opening:
        """Read the first record. Raises Doubtful."""
        if await self._exactly(len(MAGIC)) != MAGIC:
            why = "it is none of a session, or of another release"
            raise Doubtful(why)
        opening, _ = await self.record()
        if not isinstance(opening, Opening):
            why = "it does not say what it is of"
            raise Doubtful(why)
        return opening

    async def record(self) -> tuple[Head, memoryview]:
        """Read a record and its data. Raises Doubtful."""
        prefix = await self._exactly(_LENGTH.size)
        (length,) = _LENGTH.unpack(prefix)
        if length > MAX_HEAD_BYTES:
            why = f"a record of {length} bytes"
            raise Doubtful(why)
        packed = await self._exactly(length)
        await self._verify(hashlib.sha256(self._digest + prefix + packed))
        try:
            head: Head = msgspec.msgpack.decode(packed, type=Head)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            why = f"a malformed record: {error}"
            raise Doubtful(why) from None
        return head, await self._data(head) if isinstance(head, Held) else memoryview(b"")

    async def finish(self) -> None:
        """See that there is no more. Raises Doubtful."""
        left = len(self._left)
        async for part in self._file:
            left += len(part)
        if left:
            why = f"it goes on behind its end, for {left} bytes"
            raise Doubtful(why)

    async def _data(self, head: Held) -> memoryview:
        if not 0 < head.rows <= BLOCK_TOKENS:
            why = f"a record of {head.rows} rows"
            raise Doubtful(why)
        size = head.rows * self._row_bytes
        whole = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON))
        digest, filled = hashlib.sha256(self._digest), 0
        while filled < size:
            part = await self._some(size - filled)
            digest.update(part)
            whole[filled : filled + len(part)] = part
            filled += len(part)
        await self._verify(digest)
        return whole.toreadonly()

    async def _verify(self, digest: "hashlib._Hash") -> None:
        self._digest = digest.digest()
        if await self._exactly(_DIGEST_BYTES) != self._digest:
            why = "it is not what was written: a checksum differs"
            raise Doubtful(why)

    async def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            found += await self._some(size - len(found))
        return bytes(found)

    async def _some(self, most: int) -> memoryview:
        while not self._left:
            try:
                self._left = memoryview(await anext(self._file))
            except StopAsyncIteration:
                why = "it is not whole: its end is missing"
                raise Doubtful(why) from None
        found, self._left = self._left[:most], self._left[most:]
        return found

"""One connection of the control channel: frames in and out, each within its deadline."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from semantic_actors.domain import limits
from semantic_actors.domain.control import (
    LENGTH,
    Chunk,
    ControlAnswer,
    ControlRequest,
    Failed,
    NotUnderstood,
    frame,
    read,
    read_request,
)


class ControlBounds(msgspec.Struct, frozen=True):
    """How much, and for how long, the control channel puts up with one client."""

    max_connections: int = limits.MAX_CONTROL_CONNECTIONS
    max_request_bytes: int = limits.MAX_CONTROL_REQUEST_BYTES
    max_chunk_bytes: int = limits.MAX_CONTROL_CHUNK_BYTES
    frame_deadline_s: float = limits.CONTROL_FRAME_DEADLINE_S


CHUNK_OVERHEAD_BYTES = 64
"""What a chunk's frame has besides its data, at most."""


class PeerLeft(ConnectionError):
    """The client has gone, or is as good as gone; there is nobody to answer."""


class ControlConnection:
    """See the module. Owned by the errand that serves it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bounds: ControlBounds
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._bounds = bounds

    async def request(self) -> ControlRequest:
        """Read the next request. Raises NotUnderstood, or PeerLeft."""
        return read_request(await self._frame(self._bounds.max_request_bytes))

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Read chunks up to the empty one. Raises NotUnderstood, or PeerLeft."""
        most = self._bounds.max_chunk_bytes + CHUNK_OVERHEAD_BYTES
        while True:
            chunk: Chunk = read(await self._frame(most), Chunk)
            if not chunk.data:
                return
            yield chunk.data

    async def send(self, answer: ControlAnswer) -> None:
        """Send a frame, and wait until most of it is on its way. Raises PeerLeft."""
        self._writer.write(frame(answer))
        try:
            async with asyncio.timeout(self._bounds.frame_deadline_s):
                await self._writer.drain()
        except (TimeoutError, ConnectionError) as error:
            raise PeerLeft from error

    async def close(self) -> None:
        """Close, with what was sent still on its way for as long as a frame may take."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._bounds.frame_deadline_s):
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    async def _frame(self, most_bytes: int) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.frame_deadline_s):
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                if not 0 < length <= most_bytes:
                    message = f"a frame of {length} bytes: at least 1 and at most {most_bytes}"
                    raise NotUnderstood(Failed("malformed", message))
                return await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise PeerLeft from error
            raise NotUnderstood(Failed("malformed", "half a frame")) from error
        except TimeoutError:
            message = f"no complete frame within {self._bounds.frame_deadline_s:g} s"
            raise NotUnderstood(Failed("malformed", message)) from None
        except ConnectionError as error:
            raise PeerLeft from error

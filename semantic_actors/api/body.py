"""A request's body, read within its caps: plain JSON, so large, and so slow, and no more.

What a large one takes to be understood would hold the event loop, and everybody's tokens: that is
done on a thread beside it.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from aiohttp import web

from semantic_actors.actors import OwnThread
from semantic_actors.api.bounds import Bounds
from semantic_actors.api.refusals import (
    BodyTooLarge,
    BodyTooSlow,
    MalformedBody,
    UnsupportedMediaType,
)

T = TypeVar("T")

_SMALL_BYTES: Final = 64 * 2**10
"""A body of no more is understood on the loop, within milliseconds whatever it holds."""


class Bodies:
    """Reads bodies, one large one at a time. Owned by the application that it is a part of."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._thread = OwnThread("bodies")

    async def close(self, _: web.Application) -> None:
        """End the thread, once what it has in hand is done; what waits for it is cancelled."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def read(self, request: web.Request, understand: Callable[[bytes], T]) -> T:
        """Read a whole body and return what it means, or raise what `understand` does.

        What its headers already rule out is refused unread.
        """
        _check_coding(request)
        _check_size(request.content_length or 0, self._bounds.max_body_bytes)
        content = await self._content(request)
        return await self.beside(len(content), lambda: understand(content))

    async def beside(self, size_bytes: int, work: Callable[[], T]) -> T:
        """Do what takes as long as so many bytes are many: if they are, beside the event loop."""
        if size_bytes <= _SMALL_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _content(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.body_deadline_s):
                return await _collect(request, self._bounds.max_body_bytes)
        except TimeoutError:
            raise BodyTooSlow(self._bounds.body_deadline_s) from None
        except web.RequestPayloadError:
            raise MalformedBody(wanted="well-formed HTTP") from None


def _check_coding(request: web.Request) -> None:
    coding = request.headers.get("Content-Encoding", "identity").lower()
    if coding != "identity":
        raise UnsupportedMediaType(
            header="Content-Encoding", expected="an uncompressed body", got=coding
        )
    if request.content_type != "application/json":
        raise UnsupportedMediaType(
            header="Content-Type", expected="application/json", got=request.content_type
        )


def _check_size(size_bytes: int, cap_bytes: int) -> None:
    if size_bytes > cap_bytes:
        raise BodyTooLarge(size_bytes, cap_bytes)


async def _collect(request: web.Request, cap_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        _check_size(len(body), cap_bytes)
    return bytes(body)

"""A reader that stops reading is cut off, so that it cannot hold an answer and its KV cache."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web


class ReaderStalled(ConnectionError):
    """The client left its socket full for too long; its connection is gone."""


@contextlib.asynccontextmanager
async def write_deadline(request: web.Request, deadline_s: float) -> AsyncIterator[None]:
    """Abort the connection and raise `ReaderStalled` if the writes inside take longer."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ReaderStalled from None

"""A request's body, read within its caps: plain JSON, so large, and so slow, and no more."""

import asyncio

from aiohttp import web

from semantic_actors.api.bounds import Bounds
from semantic_actors.api.refusals import (
    BodyTooLarge,
    BodyTooSlow,
    MalformedBody,
    UnsupportedMediaType,
)


async def read_body(request: web.Request, bounds: Bounds) -> bytes:
    """Read the whole body. What its headers already rule out is refused unread."""
    _check_coding(request)
    _check_size(request.content_length or 0, bounds.max_body_bytes)
    try:
        async with asyncio.timeout(bounds.body_deadline_s):
            return await _collect(request, bounds.max_body_bytes)
    except TimeoutError:
        raise BodyTooSlow(bounds.body_deadline_s) from None
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

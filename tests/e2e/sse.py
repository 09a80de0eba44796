"""Streams as they come over the wire: frames of server-sent events, read to their end.

A connection that breaks off raises; so a stream that was read here had a proper end.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp

DONE = "[DONE]"


class Frame(NamedTuple):
    """One event: its name, if it has one, and its data as text."""

    event: str | None
    data: str

    @property
    def document(self) -> Any:
        """The data as JSON; free-form, as it came."""
        return json.loads(self.data)


async def frames(answer: aiohttp.ClientResponse) -> AsyncIterator[Frame]:
    """Read every frame; comments, which keep a silent stream alive, are passed over."""
    event: str | None = None
    async for raw in answer.content:
        field, _, value = raw.decode().rstrip("\r\n").partition(": ")
        if field == "event":
            event = value
        elif field == "data":
            yield Frame(event, value)
            event = None


def text_of(frame: Frame) -> str:
    """Return the text that a frame of either API adds to the answer."""
    if frame.data == DONE:
        return ""
    match frame.document:
        case {"type": "content_block_delta", "delta": {"text": str(text)}}:
            return text
        case {"choices": [{"delta": {"content": str(text)}}]}:
            return text
        case {"choices": [{"text": str(text)}]}:
            return text
        case _:
            return ""


class Reader:
    """Reads one stream to its end; `texts` are the deltas so far."""

    def __init__(self, url: str, path: str, body: dict[str, Any]) -> None:
        self.texts: list[str] = []
        self.last: Frame | None = None
        self._reading = asyncio.ensure_future(self._read(url + path, body))

    @property
    def open(self) -> bool:
        """Whether more is to come."""
        return not self._reading.done()

    async def whole(self) -> str:
        """Wait for the end of the stream; returns its text."""
        await self._reading
        return "".join(self.texts)

    async def _read(self, url: str, body: dict[str, Any]) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, json=body | {"stream": True}) as answer,
        ):
            async for frame in frames(answer):
                self.last = frame
                if text := text_of(frame):
                    self.texts.append(text)

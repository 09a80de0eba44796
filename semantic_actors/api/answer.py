"""From turns to their reader: streamed as they come, or whole once they are complete."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

from aiohttp import web

from semantic_actors.api.bounds import Bounds
from semantic_actors.api.choices import Choice, Choices, begun
from semantic_actors.api.deadline import write_deadline
from semantic_actors.api.reply import (
    Alone,
    Answer,
    ChoicesReply,
    Collector,
    Reply,
    StreamedReply,
)
from semantic_actors.api.visit import VISIT, Visit
from semantic_actors.api.wire import document
from semantic_actors.domain.request import Generation
from semantic_actors.sessions.desk import Desk, Identity

_WRITE_BUFFER_BYTES: Final = 16 * 2**10
"""Unsent bytes of a stream at which writing waits: a stalled reader is noticed early."""

_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class Answering:
    """Gives the answers of one desk."""

    def __init__(self, desk: Desk, bounds: Bounds) -> None:
        self._desk = desk
        self._bounds = bounds

    async def give(
        self,
        request: web.Request,
        identity: Identity,
        generation: Generation,
        reply: Reply,
        *,
        stream: bool,
    ) -> web.StreamResponse:
        """Have the answer generated and hand it to the client as `reply` words it."""
        return await self.give_choices(
            request, identity, (generation,), Alone(reply), stream=stream
        )

    async def give_choices(
        self,
        request: web.Request,
        identity: Identity,
        generations: Iterable[Generation],
        reply: ChoicesReply,
        *,
        stream: bool,
    ) -> web.StreamResponse:
        """Have an answer generated for each generation and hand them over as `reply` words them."""
        async with begun(self._desk, identity, generations) as choices:
            if stream:
                return await self.stream(request, choices, reply)
            return document(reply.document(*await _collect(choices, request[VISIT])))

    async def stream(
        self, request: web.Request, choices: AsyncIterator[Choice], reply: StreamedReply
    ) -> web.StreamResponse:
        """Hand the events of some turns to the client as they come."""
        visit = request[VISIT]
        response = web.StreamResponse(headers=_HEADERS)
        if request.transport is not None:
            request.transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        await response.prepare(request)
        visit.stream = response
        while True:
            try:
                async with asyncio.timeout(self._bounds.ping_interval_s):
                    choice, event = await anext(choices)
            except TimeoutError:
                frames = reply.keepalive
            except StopAsyncIteration:
                return response
            else:
                visit.note(event, choice)
                frames = reply.encode(event, choice)
            if not frames:
                continue
            async with write_deadline(request, self._bounds.write_deadline_s):
                await response.write(frames)
                await request.writer.drain()


async def _collect(choices: Choices, visit: Visit) -> list[Answer]:
    """Read whole answers; raise the error of the first that fails."""
    collectors = [Collector() for _ in range(len(choices))]
    async for choice, event in choices:
        visit.note(event, choice)
        collectors[choice].add(event)
    return [collector.answer() for collector in collectors]

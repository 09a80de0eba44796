"""From a turn to its reader: streamed as it comes, or whole once it is complete.

Whatever happens to the reader, the turn is cancelled in one place: it costs nothing when the
answer is complete, and stops a generation within a step when nobody will read it.
"""

import asyncio
from typing import Final

from aiohttp import web

from semantic_actors.api.bounds import Bounds
from semantic_actors.api.deadline import write_deadline
from semantic_actors.api.reply import Reply, collect
from semantic_actors.api.visit import VISIT
from semantic_actors.api.wire import document
from semantic_actors.domain.request import Generation
from semantic_actors.sessions.desk import Desk, Identity
from semantic_actors.sessions.turn import Turn

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
        turn = await self._desk.begin(identity, generation)
        try:
            if stream:
                return await self._stream(request, turn, reply)
            return document(reply.document(await collect(turn, request[VISIT])))
        finally:
            turn.cancel()

    async def _stream(self, request: web.Request, turn: Turn, reply: Reply) -> web.StreamResponse:
        visit = request[VISIT]
        response = web.StreamResponse(headers=_HEADERS)
        if request.transport is not None:
            request.transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        await response.prepare(request)
        visit.stream = response
        while True:
            try:
                async with asyncio.timeout(self._bounds.ping_interval_s):
                    event = await anext(turn)
            except TimeoutError:
                frames = reply.keepalive
            except StopAsyncIteration:
                return response
            else:
                visit.note(event)
                frames = reply.encode(event)
            if not frames:
                continue
            async with write_deadline(request, self._bounds.write_deadline_s):
                await response.write(frames)
                await request.writer.drain()

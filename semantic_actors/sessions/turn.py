"""One answer on its way from a session to whoever reads it.

The session puts events in, one reader takes them out. A reader that falls behind costs no more
than the text itself: text that waits is joined into one delta.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from semantic_actors.domain.ids import SessionId, TurnId
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    Failed,
    Finished,
    TextDelta,
    ThinkingDelta,
    TurnEvent,
)


class Turn:
    """A stream of `TurnEvent`s ending with `Finished` or `Failed`; read it with `async for`.

    Owned by its session; the reader may call `cancel()` at any time, more than once.
    """

    def __init__(self, turn: TurnId, session: SessionId, cancel: Callable[[], None]) -> None:
        self.id = turn
        self.session = session
        self._cancel = cancel
        self._events: deque[TurnEvent] = deque()
        self._ready = asyncio.Event()
        self._ended = False

    def put(self, event: TurnEvent) -> None:
        """Add an event. After the last one further events are ignored."""
        if self._ended:
            return
        self._ended = isinstance(event, Finished | Failed)
        joined = _joined(self._events[-1], event) if self._events else None
        if joined is not None:
            self._events[-1] = joined
        else:
            self._events.append(event)
        self._ready.set()

    def cancel(self) -> None:
        """Say that nobody reads any more; generation stops within a step, if it goes on."""
        if not self._ended:
            self._cancel()

    def __aiter__(self) -> "Turn":
        """Iterate over the events still to come."""
        return self

    async def __anext__(self) -> TurnEvent:
        """Wait for the next event; cancelling the wait loses nothing."""
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._events.popleft()


def _joined(last: TurnEvent, event: TurnEvent) -> TurnEvent | None:
    """Make one delta of two that wait, if they are of one kind."""
    match last, event:
        case TextDelta(), TextDelta():
            return TextDelta(last.text + event.text, last.logprobs + event.logprobs)
        case ThinkingDelta(), ThinkingDelta():
            return ThinkingDelta(last.text + event.text)
        case ArgumentsDelta(), ArgumentsDelta():
            return ArgumentsDelta(last.text + event.text)
        case _:
            return None

"""An answer as an API shows it: event by event, or whole. No reply touches a socket.

`Reply` is what the three encoders have in common. An encoder serves one answer and then is done.
"""

import itertools
import secrets
import time
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from semantic_actors.api.visit import Visit
from semantic_actors.domain.errors import SemanticActorsError
from semantic_actors.domain.ids import RequestId
from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.stream import Failed, Finished, TextDelta, ToolCalled, TurnEvent
from semantic_actors.sessions.turn import Turn


class Envelope(msgspec.Struct, frozen=True):
    """What an answer says of itself. `created` in Unix seconds."""

    id: str
    model: str
    created: int
    request_id: RequestId


class EndMissing(SemanticActorsError):
    """A turn ended without its last event."""


class Answer(msgspec.Struct, frozen=True):
    """A complete answer: text and tool calls in the order they were generated."""

    parts: tuple[str | ToolCall, ...]
    finished: Finished

    @property
    def text(self) -> str:
        """All text, as one."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All tool calls."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))


class Reply(Protocol):
    """One answer in the words of one API."""

    @property
    def keepalive(self) -> bytes:
        """What keeps a silent stream alive."""
        ...

    def encode(self, event: TurnEvent) -> bytes:
        """Encode the next event of a stream."""
        ...

    def document(self, answer: Answer) -> dict[str, Any]:
        """Show a complete answer."""
        ...


def envelope(prefix: str, model: str, visit: Visit) -> Envelope:
    """Make the envelope of a new answer."""
    return Envelope(f"{prefix}{secrets.token_hex(12)}", model, int(time.time()), visit.id)


async def collect(turn: Turn, visit: Visit) -> Answer:
    """Read a whole answer; raise the error of one that fails."""
    parts: list[str | ToolCall] = []
    async for event in turn:
        visit.note(event)
        match event:
            case TextDelta(text=text):
                parts.append(text)
            case ToolCalled(call=call):
                parts.append(call)
            case Finished():
                return Answer(tuple(_merged(parts)), event)
            case Failed(error=error):
                raise error
    raise EndMissing


def _merged(parts: list[str | ToolCall]) -> Iterator[str | ToolCall]:
    """Join texts that follow each other."""
    for kind, run in itertools.groupby(parts, type):
        if kind is str:
            yield "".join(part for part in run if isinstance(part, str))
        else:
            yield from run

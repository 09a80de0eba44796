"""An answer as an API shows it: event by event, or whole. No reply touches a socket.

`Reply` is what the encoders of one answer have in common, `ChoicesReply` those of several answers
to one request. An encoder serves one request and then is done.
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
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    DrawnLogprob,
    Failed,
    Finished,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    TurnEvent,
)


class Envelope(msgspec.Struct, frozen=True):
    """What an answer says of itself. `created` in Unix seconds."""

    id: str
    model: str
    created: int
    request_id: RequestId


class EndMissing(SemanticActorsError):
    """A turn ended without its last event."""


class Thought(msgspec.Struct, frozen=True):
    """What the model thought before it went on."""

    text: str


class CutCall(msgspec.Struct, frozen=True):
    """A call that the end of the answer cut off: `arguments` are as far as they came."""

    id: str
    name: str
    arguments: str


Part = str | Thought | ToolCall | CutCall


class Answer(msgspec.Struct, frozen=True):
    """A complete answer: its parts in the order they were generated, no two texts in a row.

    Only the last part can be a `CutCall`.
    """

    parts: tuple[Part, ...]
    finished: Finished
    logprobs: tuple[DrawnLogprob, ...] = ()

    @property
    def text(self) -> str:
        """All text, as one."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def thinking(self) -> str:
        """All thinking, as one."""
        return "".join(part.text for part in self.parts if isinstance(part, Thought))

    @property
    def calls(self) -> tuple[ToolCall | CutCall, ...]:
        """All tool calls."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall | CutCall))


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


class StreamedReply(Protocol):
    """Several answers to one request in the words of one API, event by event; numbered from 0."""

    @property
    def keepalive(self) -> bytes:
        """What keeps a silent stream alive."""
        ...

    def encode(self, event: TurnEvent, choice: int) -> bytes:
        """Encode the next event of a stream: one of that choice."""
        ...


class ChoicesReply(StreamedReply, Protocol):
    """Several answers to one request in the words of one API."""

    def document(self, *answers: Answer) -> dict[str, Any]:
        """Show the complete answers."""
        ...


class Alone:
    """A reply of one answer, as the only choice of its request."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    @property
    def keepalive(self) -> bytes:
        """What keeps a silent stream alive."""
        return self._reply.keepalive

    def encode(self, event: TurnEvent, choice: int) -> bytes:  # noqa: ARG002 - there is but one
        """Encode the next event of a stream."""
        return self._reply.encode(event)

    def document(self, *answers: Answer) -> dict[str, Any]:
        """Show the complete answer."""
        return self._reply.document(*answers)


def envelope(prefix: str, model: str, visit: Visit) -> Envelope:
    """Make the envelope of a new answer."""
    return Envelope(f"{prefix}{secrets.token_hex(12)}", model, int(time.time()), visit.id)


class Collector:
    """Puts an answer together from its events."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._logprobs: list[DrawnLogprob] = []
        self._call: CallStarted | None = None
        self._arguments: list[str] = []
        self._finished: Finished | None = None

    def add(self, event: TurnEvent) -> None:
        """Take the next event. Raises the error of an answer that fails."""
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self._parts.append(text)
                self._logprobs += logprobs
            case ThinkingDelta(text=text):
                self._parts.append(Thought(text))
            case CallStarted():
                self._call = event
                self._arguments.clear()
            case ArgumentsDelta(text=text):
                self._arguments.append(text)
            case ToolCalled(call=call):
                self._parts.append(call)
                self._call = None
            case Finished():
                self._finished = event
            case Failed(error=error):
                raise error

    def answer(self) -> Answer:
        """Return the whole answer. Raises `EndMissing`."""
        if self._finished is None:
            raise EndMissing
        parts = [*_merged(self._parts)]
        if self._call is not None:
            parts.append(CutCall(self._call.id, self._call.name, "".join(self._arguments)))
        return Answer(tuple(parts), self._finished, tuple(self._logprobs))


def _merged(parts: list[Part]) -> Iterator[Part]:
    """Join texts that follow each other, and thoughts that do."""
    for kind, run in itertools.groupby(parts, type):
        if kind is str:
            yield "".join(part for part in run if isinstance(part, str))
        elif kind is Thought:
            yield Thought("".join(part.text for part in run if isinstance(part, Thought)))
        else:
            yield from run

"""The output of a response, item by item, and the events by which it is told.

Each item is added, grows and is done; one is open at a time. Events have no numbers yet.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, assert_never

from semantic_actors.api.fields import JsonObject
from semantic_actors.api.responses_encode import Status, status_of
from semantic_actors.api.responses_wire import ToolName
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    DrawnLogprob,
    Finished,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCalled,
)

Written = ThinkingDelta | TextDelta | CallStarted | ArgumentsDelta | ToolCalled
"""What an answer is written by."""

_CONTENT: Final = {"content_index": 0}


class _Item:
    """An item that is being written. `number` is its place in the output, from 0."""

    prefix: ClassVar[str]
    status: Status = "in_progress"

    def __init__(self, response: str, number: int) -> None:
        self.id = f"{self.prefix}_{response.removeprefix('resp_')}_{number}"
        self.text = ""
        self.place: Final = {"item_id": self.id, "output_index": number}

    def shown(self) -> JsonObject:
        """Show the item as it is now."""
        raise NotImplementedError

    def added(self) -> Iterator[JsonObject]:
        """Tell that it begins."""
        yield self._told("added")

    def done(self) -> Iterator[JsonObject]:
        """Tell that it ends."""
        yield self._told("done")

    def _told(self, event: str) -> JsonObject:
        index = self.place["output_index"]
        kind = f"response.output_item.{event}"
        return {"type": kind, "output_index": index, "item": self.shown()}


class _Content(_Item):
    """An item with one part of text; `event` begins the names of the events of that text."""

    event: ClassVar[str]

    def __init__(self, response: str, number: int) -> None:
        super().__init__(response, number)
        self.begun = False
        self.logprobs: list[JsonObject] = []

    def part(self) -> JsonObject:
        """Show the part as it is now."""
        raise NotImplementedError

    def more(self, logprobs: list[JsonObject]) -> JsonObject:
        """Return what the events of its text say besides."""
        raise NotImplementedError

    def added(self) -> Iterator[JsonObject]:
        yield from super().added()
        self.begun = True
        yield self._part("added")

    def grown(self, text: str, logprobs: tuple[DrawnLogprob, ...] = ()) -> JsonObject:
        """Add text and tell of it."""
        drawn = [_logprob(one) for one in logprobs]
        self.text += text
        self.logprobs += drawn
        delta = {"type": f"{self.event}.delta", "delta": text}
        return delta | self.place | _CONTENT | self.more(drawn)

    def done(self) -> Iterator[JsonObject]:
        done = {"type": f"{self.event}.done", "text": self.text}
        yield done | self.place | _CONTENT | self.more(self.logprobs)
        yield self._part("done")
        yield from super().done()

    def _part(self, event: str) -> JsonObject:
        told = {"type": f"response.content_part.{event}", "part": self.part()}
        return told | self.place | _CONTENT


class _Thought(_Content):
    prefix = "rs"
    event = "response.reasoning_text"

    def part(self) -> JsonObject:
        return {"type": "reasoning_text", "text": self.text}

    def more(self, logprobs: list[JsonObject]) -> JsonObject:  # noqa: ARG002  (they are of text)
        return {}

    def shown(self) -> JsonObject:
        content = [self.part()] if self.begun else []
        item = {"id": self.id, "type": "reasoning", "summary": [], "content": content}
        return item | {"encrypted_content": None, "status": self.status}


class _Message(_Content):
    prefix = "msg"
    event = "response.output_text"

    def part(self) -> JsonObject:
        part = {"type": "output_text", "text": self.text, "annotations": []}
        return part | {"logprobs": self.logprobs}

    def more(self, logprobs: list[JsonObject]) -> JsonObject:
        return {"logprobs": logprobs}

    def shown(self) -> JsonObject:
        item = {"id": self.id, "type": "message", "role": "assistant", "status": self.status}
        return item | {"content": [self.part()] if self.begun else []}


class _Call(_Item):
    prefix = "fc"

    def __init__(self, response: str, number: int, call: CallStarted, name: ToolName) -> None:
        super().__init__(response, number)
        self._call_id = call.id
        self._namespace, self._name = name

    def shown(self) -> JsonObject:
        item = {"id": self.id, "type": "function_call", "status": self.status}
        item |= {"call_id": self._call_id, "name": self._name, "arguments": self.text}
        return item | ({"namespace": self._namespace} if self._namespace else {})

    def grown(self, text: str) -> JsonObject:
        """Add to the arguments and tell of it."""
        self.text += text
        return {"type": "response.function_call_arguments.delta", "delta": text} | self.place

    def done(self) -> Iterator[JsonObject]:
        """Tell that it ends; arguments that were cut off are not said to be whole."""
        if self.status == "completed":
            done = {"type": "response.function_call_arguments.done", "name": self._name}
            yield done | {"arguments": self.text} | self.place
        yield from super().done()


class Output:
    """All items of one response. `names` says what the client calls the functions."""

    def __init__(self, response: str, names: Mapping[str, ToolName]) -> None:
        self._response = response
        self._names = names
        self._items: list[_Item] = []
        self._open: _Item | None = None

    @property
    def shown(self) -> list[JsonObject]:
        """The items as they are now."""
        return [item.shown() for item in self._items]

    def write(self, event: Written) -> Iterator[JsonObject]:
        """Take an event of the answer and tell it."""
        match event:
            case ThinkingDelta(text=text):
                thought = self._open if isinstance(self._open, _Thought) else None
                if thought is None:
                    thought = _Thought(self._response, len(self._items))
                    yield from self._begin(thought)
                yield thought.grown(text)
            case TextDelta(text=text, logprobs=logprobs):
                message = self._open if isinstance(self._open, _Message) else None
                if message is None:
                    message = _Message(self._response, len(self._items))
                    yield from self._begin(message)
                yield message.grown(text, logprobs)
            case CallStarted(name=name):
                own = self._names.get(name, (None, name))
                yield from self._begin(_Call(self._response, len(self._items), event, own))
            case ArgumentsDelta(text=text):
                if isinstance(self._open, _Call):
                    yield self._open.grown(text)
            case ToolCalled():
                yield from self._end("completed")
            case _:
                assert_never(event)

    def finish(self, finished: Finished) -> Iterator[JsonObject]:
        """Take the end of the answer. A complete one has a message or a call, if an empty one.

        A call that is still open was cut off, whatever the reason.
        """
        status = status_of(finished)
        only_thought = all(isinstance(item, _Thought) for item in self._items)
        if only_thought and (status == "completed" or not self._items):
            yield from self._begin(_Message(self._response, len(self._items)))
        cut = isinstance(self._open, _Call)
        yield from self._end("incomplete" if cut else status)

    def abandon(self) -> None:
        """Take the end of an answer that failed: what is open stays incomplete."""
        if self._open is not None:
            self._open.status = "incomplete"
            self._open = None

    def _begin(self, item: _Item) -> Iterator[JsonObject]:
        yield from self._end("completed")
        self._items.append(item)
        self._open = item
        yield from item.added()

    def _end(self, status: Status) -> Iterator[JsonObject]:
        if self._open is not None:
            self._open.status = status
            yield from self._open.done()
            self._open = None


def _logprob(drawn: DrawnLogprob) -> JsonObject:
    return _token(drawn.drawn) | {"top_logprobs": [_token(token) for token in drawn.top]}


def _token(token: TokenLogprob) -> JsonObject:
    text = token.token.decode(errors="replace")
    return {"token": text, "logprob": token.logprob, "bytes": list(token.token)}

"""One response as it is told: numbered events, or one document at its end.

A comment keeps no client of this API waiting, and the first event of a stream must be that the
response was created. So a silent stream repeats that it is in progress.
"""

from collections.abc import Iterable, Iterator

from semantic_actors.api.fields import JsonObject
from semantic_actors.api.responses_encode import Head
from semantic_actors.api.responses_output import Output
from semantic_actors.api.wire import frame
from semantic_actors.domain.stream import Failed, Finished, Started, TurnEvent


class ResponseReply:
    """See the module. `response` is the document, once the answer has ended."""

    def __init__(self, head: Head, output: Output) -> None:
        self._head = head
        self._output = output
        self._events = 0
        self._ending: list[JsonObject] | None = None
        self.response: JsonObject = {}

    @property
    def keepalive(self) -> bytes:
        """What keeps a silent stream alive; another one each time, for it has a number."""
        return self._frames([self._began("in_progress")])

    def encode(self, event: TurnEvent, choice: int = 0) -> bytes:  # noqa: ARG002 - there is but one
        """Encode the next event of a stream."""
        match event:
            case Started():
                return self._frames([self._began("in_progress")])
            case Failed():
                self.end(event)
                return self._frames(self._ended())
            case Finished():
                return self._frames([*self.end(event), *self._ended()])
            case _:
                return self._frames(self._output.write(event))

    def write(self, event: TurnEvent) -> None:
        """Take the next event of an answer that is not streamed."""
        match event:
            case Started():
                pass
            case Finished() | Failed():
                self.end(event)
            case _:
                list(self._output.write(event))

    def end(self, event: Finished | Failed) -> list[JsonObject]:
        """Take the end of the answer, once; return the events that lead to it."""
        if self._ending is not None:
            return self._ending
        match event:
            case Finished():
                self._ending = list(self._output.finish(event))
                self.response = self._head.ended(event, self._output.shown)
            case Failed(error=error):
                self._ending = []
                self._output.abandon()
                self.response = self._head.failed(error, self._output.shown)
        return self._ending

    def _ended(self) -> Iterator[JsonObject]:
        yield {"type": f"response.{self.response['status']}", "response": self.response}

    def _began(self, event: str) -> JsonObject:
        return {"type": f"response.{event}", "response": self._head.begun()}

    def _frames(self, events: Iterable[JsonObject]) -> bytes:
        created = [self._began("created")] if not self._events else []
        return b"".join(self._frame(event) for event in (*created, *events))

    def _frame(self, event: JsonObject) -> bytes:
        numbered = event | {"sequence_number": self._events}
        self._events += 1
        return frame(numbered, event["type"])

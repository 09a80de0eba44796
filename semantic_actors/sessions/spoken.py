"""What an answer has said so far. Owned by the answer."""

from collections.abc import Iterable

from semantic_actors.domain.request import ChatMessage, ToolCall
from semantic_actors.domain.stream import (
    CallStarted,
    DrawnLogprob,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
)
from semantic_actors.text import Part


class Spoken:
    """Takes the parts of an answer and returns them as events.

    `calls` are those that are complete.
    """

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._logprobs: list[DrawnLogprob] = []
        self._calling = False

    @property
    def whole(self) -> bool:
        """Whether no call was begun that is not complete."""
        return not self._calling

    @property
    def message(self) -> ChatMessage:
        """The answer in canonical form; a call that was cut off is no part of it."""
        said, thought = "".join(self._text), "".join(self._thoughts)
        return ChatMessage("assistant", said, tuple(self.calls), reasoning=thought)

    def drew(self, logprobs: Iterable[DrawnLogprob]) -> None:
        """Keep log-probabilities for the text that their tokens are of."""
        self._logprobs += logprobs

    def settle(self) -> None:
        """Forget log-probabilities of tokens that turned out to have no text."""
        self._logprobs.clear()

    def say(self, part: Part) -> Part:
        """Take a part; text is returned with its log-probabilities, other parts have none."""
        logprobs = tuple(self._logprobs)
        self._logprobs.clear()
        match part:
            case TextDelta(text=text):
                self._text.append(text)
                return TextDelta(text, logprobs)
            case ThinkingDelta(text=text):
                self._thoughts.append(text)
            case CallStarted():
                self._calling = True
            case ToolCalled(call=call):
                self._calling = False
                self.calls.append(call)
            case _:
                pass
        return part

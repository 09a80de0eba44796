"""What a session tells the API about an answer, in order.

`Started`, then any number of `TextDelta` and `ToolCalled`, then exactly one `Finished` or `Failed`.
"""

from typing import Literal

import msgspec

from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.usage import Usage

FinishReason = Literal["stop", "length", "stop_sequence", "tool_calls", "context"]
"""`stop`: the model ended its turn; `length`: max_tokens; `context`: the context is full."""


class Started(msgspec.Struct, frozen=True):
    """The prompt was admitted; `usage` has its size and how much of it was cached."""

    usage: Usage


class TextDelta(msgspec.Struct, frozen=True):
    """More text, never empty, never half a character."""

    text: str


class ToolCalled(msgspec.Struct, frozen=True):
    """A complete tool call."""

    call: ToolCall


class Finished(msgspec.Struct, frozen=True):
    """The answer is complete. `stop_sequence` is the stop string that ended it, if one did."""

    reason: FinishReason
    usage: Usage
    stop_sequence: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """The answer ends here. `error` is a `Rejected` (fit for the client) or a `TurnFailed`."""

    error: Exception


TurnEvent = Started | TextDelta | ToolCalled | Finished | Failed

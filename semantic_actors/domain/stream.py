"""What a session tells the API about an answer, in order.

`Started`, then any number of `ThinkingDelta`, `TextDelta` and calls, then exactly one `Finished` or
`Failed`. A call is `CallStarted`, `ArgumentsDelta` as often as it takes, `ToolCalled`; nothing else
comes between. One that was cut off by the end of the answer has no `ToolCalled`.
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


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token as bytes, which need not be whole characters, and its natural log-probability."""

    token: bytes
    logprob: float


class DrawnLogprob(msgspec.Struct, frozen=True):
    """A token that was drawn, and the likeliest in its place, the likeliest first."""

    drawn: TokenLogprob
    top: tuple[TokenLogprob, ...] = ()


class TextDelta(msgspec.Struct, frozen=True):
    """More text, never empty, never half a character.

    `logprobs`, if they were asked for, are of the tokens that were drawn since the last delta.
    """

    text: str
    logprobs: tuple[DrawnLogprob, ...] = ()


class ThinkingDelta(msgspec.Struct, frozen=True):
    """More of what the model thinks before it answers, never empty, never half a character."""

    text: str


class CallStarted(msgspec.Struct, frozen=True):
    """A tool call begins; its arguments follow."""

    id: str
    name: str


class ArgumentsDelta(msgspec.Struct, frozen=True):
    """More of the JSON text of the arguments of the call that has begun; never empty."""

    text: str


class ToolCalled(msgspec.Struct, frozen=True):
    """The call that has begun is complete; its arguments are the deltas joined, a JSON object."""

    call: ToolCall


class Finished(msgspec.Struct, frozen=True):
    """The answer is complete. `stop_sequence` is the stop string that ended it, if one did."""

    reason: FinishReason
    usage: Usage
    stop_sequence: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """The answer ends here. `error` is a `Rejected` (fit for the client) or a `TurnFailed`."""

    error: Exception


TurnEvent = (
    Started
    | ThinkingDelta
    | TextDelta
    | CallStarted
    | ArgumentsDelta
    | ToolCalled
    | Finished
    | Failed
)

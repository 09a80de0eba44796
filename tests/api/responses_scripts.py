"""Answers by every way they can go, and the events and items by which they are told."""

from typing import Any

import aiohttp
from openai.types.responses import Response

from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    TurnEvent,
)
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    frames,
)

PATH = "/v1/responses"
PATIENCE_S = 10.0

TOOLS: list[Any] = [
    {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False},
    {
        "type": "namespace",
        "name": "files",
        "description": "f",
        "tools": [{"type": "function", "name": "read"}],
    },
]


def call(name: str = "look", id_: str = "call_1") -> tuple[TurnEvent, ...]:
    """Call a tool, in two parts."""
    called = ToolCalled(ToolCall(id_, name, '{"a": 1}'))
    return CallStarted(id_, name), ArgumentsDelta('{"a"'), ArgumentsDelta(": 1}"), called


def answer(*written: TurnEvent, reason: FinishReason = "stop") -> tuple[TurnEvent, ...]:
    """Make an answer of what is written."""
    return Started(ASKED), *written, Finished(reason, ANSWERED)


BEGUN = ["created", "in_progress"]
THOUGHT = [
    "output_item.added",
    "content_part.added",
    "reasoning_text.delta",
    "reasoning_text.done",
    "content_part.done",
    "output_item.done",
]
MESSAGE = [event.replace("reasoning_text", "output_text") for event in THOUGHT]
SILENCE = [event for event in MESSAGE if not event.endswith("delta")]
CALL = [
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
]
CUT = [event for event in CALL if event != "function_call_arguments.done"]

SEQUENCES: dict[str, tuple[tuple[TurnEvent, ...], list[str], list[tuple[str, str]]]] = {
    "text": (
        answer(TextDelta("a")),
        [*BEGUN, *MESSAGE, "completed"],
        [("message", "completed")],
    ),
    "a stop string": (
        answer(TextDelta("a"), reason="stop_sequence"),
        [*BEGUN, *MESSAGE, "completed"],
        [("message", "completed")],
    ),
    "a thought, then text": (
        answer(ThinkingDelta("t"), TextDelta("a")),
        [*BEGUN, *THOUGHT, *MESSAGE, "completed"],
        [("reasoning", "completed"), ("message", "completed")],
    ),
    "calls": (
        answer(*call(), *call("files__read", "call_2"), reason="tool_calls"),
        [*BEGUN, *CALL, *CALL, "completed"],
        [("function_call", "completed"), ("function_call", "completed")],
    ),
    "text around a call": (
        answer(TextDelta("a"), *call(), TextDelta("b"), reason="tool_calls"),
        [*BEGUN, *MESSAGE, *CALL, *MESSAGE, "completed"],
        [("message", "completed"), ("function_call", "completed"), ("message", "completed")],
    ),
    "all at once": (
        answer(ThinkingDelta("t"), TextDelta("a"), *call(), reason="tool_calls"),
        [*BEGUN, *THOUGHT, *MESSAGE, *CALL, "completed"],
        [("reasoning", "completed"), ("message", "completed"), ("function_call", "completed")],
    ),
    "nothing": (answer(), [*BEGUN, *SILENCE, "completed"], [("message", "completed")]),
    "only a thought": (
        answer(ThinkingDelta("t")),
        [*BEGUN, *THOUGHT, *SILENCE, "completed"],
        [("reasoning", "completed"), ("message", "completed")],
    ),
    "text cut off": (
        answer(ThinkingDelta("t"), TextDelta("a"), reason="length"),
        [*BEGUN, *THOUGHT, *MESSAGE, "incomplete"],
        [("reasoning", "completed"), ("message", "incomplete")],
    ),
    "a thought cut off": (
        answer(ThinkingDelta("t"), reason="context"),
        [*BEGUN, *THOUGHT, "incomplete"],
        [("reasoning", "incomplete")],
    ),
    "cut off at once": (
        answer(reason="length"),
        [*BEGUN, *SILENCE, "incomplete"],
        [("message", "incomplete")],
    ),
    "a call cut off": (
        answer(TextDelta("a"), *call()[:-1], reason="length"),
        [*BEGUN, *MESSAGE, *CUT, "incomplete"],
        [("message", "completed"), ("function_call", "incomplete")],
    ),
    "a call broken off": (
        answer(*call()[:-1]),
        [*BEGUN, *CUT, "completed"],
        [("function_call", "incomplete")],
    ),
}


def told(response: Response) -> list[tuple[str, str | None]]:
    """List the items of a response with what became of them."""
    return [(item.type, getattr(item, "status", None)) for item in response.output]


async def stream_of(client: aiohttp.ClientSession) -> list[dict[str, Any]]:
    """Ask for a stream and read its events, each named as its type."""
    async with client.post(PATH, json={"input": "hi", "stream": True}) as answered:
        assert answered.status == 200
        read = frames(await answered.text())
    assert [name for name, _ in read] == [event["type"] for _, event in read]
    return [event for _, event in read]

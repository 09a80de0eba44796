"""Responses that are kept, as their clients have them made and gone on from."""

from typing import Any

import openai
from openai.types.responses import Response

from semantic_actors.domain.request import ChatMessage, ChatPrompt, ToolCall
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
)
from tests.api.fakes import ANSWERED, ASKED, FakeDesk

PATH = "/v1/responses"
PATIENCE_S = 10.0
UNKNOWN = "resp_" + "0" * 24
HI = ChatMessage("user", "hi")
HELLO = ChatMessage("assistant", "Hello")
LOOK = ToolCall("call_1", "look", '{"a": 1}')
ERRAND = (
    Started(ASKED),
    ThinkingDelta("hm"),
    TextDelta("I look."),
    CallStarted("call_1", "look"),
    ArgumentsDelta('{"a": 1}'),
    ToolCalled(LOOK),
    Finished("tool_calls", ANSWERED),
)


def sdk(port: int, key: str = "any") -> openai.AsyncOpenAI:
    """Connect OpenAI's SDK."""
    return openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key=key,
        max_retries=0,
        _strict_response_validation=True,
    )


def messages(desk: FakeDesk) -> tuple[ChatMessage, ...]:
    """Return the conversation that the desk was asked last."""
    prompt = desk.generation.prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages


async def made(gpt: openai.AsyncOpenAI, *, stream: bool = False, **body: Any) -> str:
    """Have a response made, streamed or not; return its id."""
    if not stream:
        whole: Response = await gpt.responses.create(**body)
        return whole.id
    events: Any = await gpt.responses.create(**body, stream=True)
    last = [event async for event in events][-1]
    assert last.type == "response.completed"
    name: str = last.response.id
    return name

"""OpenAI's official SDK, strict about every field, against our server."""

import json
from typing import Any

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from semantic_actors.domain.errors import Draining, PromptTooLong
from semantic_actors.domain.request import JsonOutput, ToolChoice
from semantic_actors.domain.stream import (
    Failed,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    TurnEvent,
)
from tests.api.fakes import ANSWERED, ASKED, DISAPPOINTMENT, ERRAND, GREETING, MISSED, FakeDesk
from tests.api.openai_chunks import CUT, SPLIT

pytestmark = pytest.mark.asyncio

SCHEMA: dict[str, object] = {"type": "object", "properties": {"path": {"type": "string"}}}
HI: ChatCompletionMessageParam = {"role": "user", "content": "hi"}
READ: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "read", "parameters": SCHEMA},
}


async def test_gpt_chat(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """A whole chat with tool calls."""
    desk.script = ERRAND
    chat = await gpt.chat.completions.create(
        model="any",
        messages=[{"role": "developer", "content": "d"}, {"role": "user", "content": "look"}],
        tools=[{"type": "function", "function": {"name": "read", "parameters": SCHEMA}}],
    )

    assert (
        chat.choices[0].finish_reason,
        len(chat.choices[0].message.tool_calls or []),
    ) == ("tool_calls", 2)
    assert chat.usage is not None
    assert chat.usage.prompt_tokens_details is not None
    assert (
        chat.usage.prompt_tokens,
        chat.usage.prompt_tokens_details.cached_tokens,
    ) == (10, 4)
    assert (chat._request_id or "").startswith("req_")


async def test_gpt_stream(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """A streamed chat, put together by the SDK, with usage."""
    desk.script = ERRAND
    async with gpt.chat.completions.stream(
        model="any",
        messages=[{"role": "user", "content": "look"}],
        stream_options={"include_usage": True},
    ) as stream:
        await stream.until_done()
        chat = await stream.get_final_completion()

    message = chat.choices[0].message
    assert message.content == "I look."
    assert [call.function.name for call in message.tool_calls or [] if call.type == "function"] == [
        "read",
        "list",
    ]
    assert chat.usage is not None
    assert chat.usage.total_tokens == 13


async def test_gpt_miss(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """Why tokens were not cached is an extra field of usage: strict clients keep it."""
    desk.script = DISAPPOINTMENT
    asked: openai.types.chat.ChatCompletionUserMessageParam = {"role": "user", "content": "hi"}
    whole = await gpt.chat.completions.create(model="any", messages=[asked])
    async with gpt.chat.completions.stream(
        model="any", messages=[asked], stream_options={"include_usage": True}
    ) as stream:
        streamed = await stream.get_final_completion()

    for chat in (whole, streamed):
        assert chat.usage is not None
        assert chat.usage.prompt_tokens_details is not None
        extra = chat.usage.prompt_tokens_details.model_extra or {}
        assert extra["cache_diagnostics"] == MISSED


async def test_gpt_completion(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """A text completion, whole and streamed.

    The stream is read loosely: the SDK's type denies the null finish_reason of the real API.
    """
    whole = await gpt.completions.create(model="any", prompt="Once")
    desk.script = GREETING
    loose = gpt.copy(_extra_kwargs={"_strict_response_validation": False})
    stream = await loose.completions.create(model="any", prompt="Once", stream=True)
    text = "".join([chunk.choices[0].text async for chunk in stream])

    assert "Hello" == whole.choices[0].text == text


async def test_gpt_failure(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """A stream that fails raises in the SDK; a refusal is its own exception."""
    desk.script = (Started(ASKED), TextDelta("a"), Failed(Draining()))
    stream = await gpt.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    with pytest.raises(openai.APIError, match="shutting down"):
        [chunk async for chunk in stream]

    desk.refusal = PromptTooLong(9, 4)
    with pytest.raises(openai.BadRequestError) as raised:
        await gpt.chat.completions.create(model="any", messages=[{"role": "user", "content": "hi"}])
    assert raised.value.code == "context_length_exceeded"


async def test_gpt_models(gpt: openai.AsyncOpenAI) -> None:
    """The models, listed and one by one."""
    listed = [model async for model in gpt.models.list()]

    assert [model.id for model in listed] == ["pocket"]
    assert listed[0] == await gpt.models.retrieve("pocket")


async def test_cut_call(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """A call that was cut off is the same streamed and whole, and says that it was."""
    desk.script = CUT
    whole = await gpt.chat.completions.create(model="any", messages=[HI], tools=[READ])
    stream = await gpt.chat.completions.create(
        model="any", messages=[HI], tools=[READ], stream=True
    )
    arguments = ""
    async for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function is not None
            arguments += call.function.arguments or ""
        reason = chunk.choices[0].finish_reason

    (choice,) = whole.choices
    (only,) = choice.message.tool_calls or []
    assert only.type == "function"
    assert only.function.arguments == arguments == '{"path": "'
    assert choice.finish_reason == reason == "length"


async def test_reasoning(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """What the model thinks is an extra field, streamed and whole."""
    desk.script = CUT
    whole = await gpt.chat.completions.create(model="any", messages=[HI], reasoning_effort="none")
    stream = await gpt.chat.completions.create(model="any", messages=[HI], stream=True)
    streamed = "".join(
        [
            (chunk.choices[0].delta.model_extra or {}).get("reasoning_content", "")
            async for chunk in stream
        ]
    )

    assert (whole.choices[0].message.model_extra or {})["reasoning_content"] == streamed == "Hmm."


async def test_choice_of_tools(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """A tool that has to be called, alone."""
    desk.script = ERRAND
    await gpt.chat.completions.create(
        model="any",
        messages=[HI],
        tools=[READ],
        tool_choice={"type": "function", "function": {"name": "read"}},
        parallel_tool_calls=False,
    )

    assert desk.generation.tool_choice == ToolChoice("required", "read", parallel=False)


class Step(pydantic.BaseModel):
    """What a model is asked to answer with."""

    title: str
    done: bool


async def test_structured_output(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """The SDK asks for JSON by a schema and reads it, streamed and whole."""
    desk.script = (Started(ASKED), TextDelta('{"title": "a", "done": true}'), GREETING[-1])
    whole = await gpt.chat.completions.parse(model="any", messages=[HI], response_format=Step)
    async with gpt.chat.completions.stream(
        model="any", messages=[HI], response_format=Step
    ) as stream:
        streamed = await stream.get_final_completion()

    for parsed in (whole, streamed):
        assert parsed.choices[0].message.parsed == Step(title="a", done=True)
    output = desk.generation.output
    assert isinstance(output, JsonOutput)
    assert json.loads(output.schema)["required"] == ["title", "done"]


async def test_logprobs(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """Log-probabilities, streamed and whole, in both shapes."""
    desk.script = SPLIT
    asked: dict[str, Any] = {"model": "any", "messages": [HI], "logprobs": True, "top_logprobs": 2}
    whole = await gpt.chat.completions.create(**asked)
    async with gpt.chat.completions.stream(**asked) as stream:
        streamed = await stream.get_final_completion()
    text = await gpt.completions.create(model="any", prompt="Once", logprobs=2)

    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert streamed.choices[0].logprobs == logprobs
    spelled = b"".join(bytes(token.bytes or []) for token in logprobs.content or [])
    assert spelled.decode() == "Hi é!"
    columns = text.choices[0].logprobs
    assert columns is not None
    assert columns.text_offset == [0, 2, 3, 3]


async def test_choices(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """Several answers, streamed and whole; their prompt counts once."""
    desk.script = ERRAND
    whole = await gpt.chat.completions.create(model="any", messages=[HI], tools=[READ], n=3)
    async with gpt.chat.completions.stream(
        model="any", messages=[HI], n=3, stream_options={"include_usage": True}
    ) as stream:
        streamed = await stream.get_final_completion()

    for chat in (whole, streamed):
        assert [choice.index for choice in chat.choices] == [0, 1, 2]
        assert {len(choice.message.tool_calls or []) for choice in chat.choices} == {2}
        assert chat.usage is not None
        assert (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (10, 9)
    assert len({asked.sampling.seed for _, asked in desk.asked}) == 6


async def test_prompts(gpt: openai.AsyncOpenAI) -> None:
    """Several texts, or lists of token ids, are continued in one request."""
    texts = await gpt.completions.create(model="any", prompt=["a", "b"], echo=True, n=2)
    ids = await gpt.completions.create(model="any", prompt=[[1, 2], [3]])

    assert [choice.text for choice in texts.choices] == ["aHello", "aHello", "bHello", "bHello"]
    assert [choice.index for choice in ids.choices] == [0, 1]
    assert ids.usage is not None
    assert ids.usage.prompt_tokens == 20


async def test_finish_reasons(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """Every finish reason is one that the SDK knows."""
    reasons: tuple[FinishReason, ...] = ("stop", "length", "stop_sequence", "tool_calls", "context")
    for reason in reasons:
        answer: tuple[TurnEvent, ...] = (Started(ASKED), TextDelta("a"), Finished(reason, ANSWERED))
        desk.script = answer
        chat = await gpt.chat.completions.create(model="any", messages=[HI])
        assert chat.choices[0].finish_reason in {"stop", "length", "tool_calls"}

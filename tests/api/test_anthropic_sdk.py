"""Anthropic's SDK, strict about every field, against our server."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pydantic
import pytest
import pytest_asyncio

from semantic_actors.domain.errors import Draining, Overloaded, PromptTooLong
from semantic_actors.domain.request import ChatMessage, ChatPrompt
from semantic_actors.domain.stream import Failed, Finished, Started, TextDelta
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    CALL,
    CUT,
    DISAPPOINTMENT,
    ERRAND,
    GREETING,
    MISSED,
    PONDERED,
    FakeDesk,
    called,
)

pytestmark = pytest.mark.asyncio

SHOWN = ("type", "text", "thinking", "signature", "id", "name", "input")
"""What a block holds; the SDK adds to a streamed one what it parsed."""

SCHEMA: dict[str, object] = {"type": "object", "properties": {"path": {"type": "string"}}}


@pytest_asyncio.fixture
async def claude(port: int) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Open Anthropic's SDK."""
    async with anthropic.AsyncAnthropic(
        base_url=f"http://127.0.0.1:{port}",
        api_key="any",
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


async def test_claude_message(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A whole message with tool calls."""
    desk.script = ERRAND
    message = await claude.messages.create(
        model="any",
        max_tokens=9,
        system="Be brief.",
        messages=[{"role": "user", "content": "look"}],
        tools=[{"name": "read", "input_schema": SCHEMA}],
    )

    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert message.stop_reason == "tool_use"
    assert (
        message.usage.input_tokens,
        message.usage.cache_read_input_tokens,
        message.usage.output_tokens,
    ) == (6, 4, 3)
    assert (message._request_id or "").startswith("req_")


async def test_claude_stream(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A streamed message with tool calls, put together by the SDK."""
    desk.script = ERRAND
    async with claude.messages.stream(
        model="any", max_tokens=9, messages=[{"role": "user", "content": "look"}]
    ) as stream:
        message = await stream.get_final_message()

    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert message.content[1].input == {"path": "a.txt", "n": 1}  # type: ignore[union-attr]
    assert (message.stop_reason, message.usage.output_tokens) == ("tool_use", 3)


async def test_claude_thinking(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """Thinking is a signed block with the text of the thought, streamed or whole, and the same."""
    desk.script = PONDERED
    asked: Any = {
        "model": "any",
        "max_tokens": 2048,
        "thinking": {"type": "adaptive", "display": "omitted"},
        "messages": [{"role": "user", "content": "look"}],
    }
    whole = await claude.messages.create(**asked)
    async with claude.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()
    beta = await claude.beta.messages.create(**asked)

    kinds = ["thinking", "text", "tool_use", "thinking", "text"]
    assert [block.type for block in whole.content] == kinds
    first = whole.content[0]
    assert isinstance(first, anthropic.types.ThinkingBlock)
    assert (first.thinking, bool(first.signature)) == ("Let me see.", True)
    assert [block.model_dump(include={*SHOWN}) for block in streamed.content] == [
        block.model_dump(include={*SHOWN}) for block in whole.content
    ]
    assert [block.to_dict() for block in beta.content] == [
        block.to_dict() for block in whole.content
    ]


async def test_claude_cut_call(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A call that was cut off ends the stream in good order, and is not in a whole message."""
    desk.script = CUT
    asked: Any = {
        "model": "any",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "look"}],
    }
    whole = await claude.messages.create(**asked)
    async with claude.messages.stream(**asked) as stream:
        streamed = await stream.get_final_message()

    assert [block.type for block in whole.content] == ["text"]
    assert [block.type for block in streamed.content] == ["text", "tool_use"]
    assert whole.stop_reason == streamed.stop_reason == "max_tokens"


async def test_claude_echo(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """An answer that the SDK sends back is the answer that we gave."""
    desk.script = PONDERED
    user: Any = {"role": "user", "content": "look"}
    answer = await claude.messages.create(model="any", max_tokens=9, messages=[user])
    result: Any = {"type": "tool_result", "tool_use_id": CALL.id, "content": "x"}
    history: Any = [user, answer.to_param(), {"role": "user", "content": [result]}]
    await claude.messages.create(model="any", max_tokens=9, messages=history)

    prompt = desk.generation.prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.messages[1:] == (
        ChatMessage("assistant", "I look.Done.", (CALL,), reasoning="Let me see.And?"),
        ChatMessage("tool", "x", tool_call_id=CALL.id),
    )


async def test_claude_structured(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A schema that the SDK makes of a model reaches the desk; its answer is parsed by it."""

    class City(pydantic.BaseModel):
        name: str

    desk.script = (Started(ASKED), TextDelta('{"name": "Bern"}'), Finished("stop", ANSWERED))
    parsed = await claude.messages.parse(
        model="any",
        max_tokens=9,
        output_format=City,
        messages=[{"role": "user", "content": "Where?"}],
    )

    assert parsed.parsed_output == City(name="Bern")
    assert desk.generation.output is not None
    assert desk.generation.output.field == "output_config.format.schema"
    assert json.loads(desk.generation.output.schema)["required"] == ["name"]


async def test_claude_tool_runner(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """The SDK's runner goes on from a thread, is told that there is none, and sends all it has."""

    @anthropic.beta_async_tool
    async def read(path: str, n: int) -> str:
        """Read a file."""
        desk.script = GREETING
        return f"{path} {n}"

    desk.script = (Started(ASKED), *called(CALL), Finished("tool_calls", ANSWERED))
    runner = claude.beta.messages.tool_runner(
        model="any",
        max_tokens=9,
        tools=[read],
        messages=[{"role": "user", "content": "look"}],
    )
    message = await runner.until_done()

    assert message.content[0].type == "text"
    prompt = desk.generation.prompt
    assert isinstance(prompt, ChatPrompt)
    assert [m.role for m in prompt.messages] == ["user", "assistant", "tool"]
    assert prompt.messages[-1].content == "a.txt 1"


async def test_claude_miss(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """Why tokens were not cached is an extra field of usage: strict clients keep it."""
    desk.script = DISAPPOINTMENT
    asked: anthropic.types.MessageParam = {"role": "user", "content": "hi"}
    whole = await claude.messages.create(model="any", max_tokens=9, messages=[asked])
    async with claude.messages.stream(model="any", max_tokens=9, messages=[asked]) as stream:
        streamed = await stream.get_final_message()

    for message in (whole, streamed):
        assert (message.usage.model_extra or {})["cache_diagnostics"] == MISSED


async def test_claude_reasons(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """Every stop reason is one that the SDK knows."""
    for reason in ("stop", "length", "stop_sequence", "tool_calls", "context"):
        desk.script = (Started(ASKED), TextDelta("a"), Finished(reason, ANSWERED, None))
        message = await claude.messages.create(
            model="any", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
        assert message.stop_reason


async def test_claude_failure(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A stream that fails raises in the SDK, with the type of its cause."""
    desk.script = (Started(ASKED), TextDelta("a"), Failed(Draining()))
    with pytest.raises(anthropic.APIStatusError) as raised:
        async with claude.messages.stream(
            model="any", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        ) as stream:
            await stream.until_done()

    assert raised.value.type == "overloaded_error"


async def test_claude_refusals(claude: anthropic.AsyncAnthropic, desk: FakeDesk) -> None:
    """A refusal is the SDK's own exception, with our request id."""
    for error, kind in [
        (Overloaded("full", retry_after_s=1), anthropic.OverloadedError),
        (PromptTooLong(9, 4), anthropic.BadRequestError),
    ]:
        desk.refusal = error
        with pytest.raises(kind) as raised:
            await claude.messages.create(
                model="any", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
            )
        assert (raised.value.request_id or "").startswith("req_")


async def test_claude_count(claude: anthropic.AsyncAnthropic) -> None:
    """Counting tokens."""
    count = await claude.messages.count_tokens(
        model="any", messages=[{"role": "user", "content": "hi"}]
    )

    assert count.input_tokens == 42


async def test_claude_models(claude: anthropic.AsyncAnthropic) -> None:
    """The models, listed and one by one."""
    listed = [model async for model in claude.models.list()]

    assert [model.id for model in listed] == ["pocket"]
    assert listed[0] == await claude.models.retrieve("pocket")
    assert listed[0].max_input_tokens == 4096
    assert listed[0] == await claude.models.retrieve("claude-sonnet-5-5")
    assert [model async for model in claude.models.list(limit=1000)] == listed
    assert [model async for model in claude.models.list(after_id="pocket")] == []
    assert [model async for model in claude.models.list(before_id="pocket")] == []

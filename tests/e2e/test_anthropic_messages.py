"""The Messages API whole, through Anthropic's own SDK, with the bundled model behind it."""

import asyncio
import json
from typing import Any

import aiohttp
import anthropic
import pydantic
import pytest

from tests.e2e.clients import open_claude
from tests.e2e.daemon import Daemon, eventually
from tests.e2e.sse import frames

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

BURST = 25
"""Counts that Claude Code asks for at once."""

HELLO: Any = {"role": "user", "content": "Hello!"}
COUNT: Any = {"role": "user", "content": "Count to 40."}
WISH: Any = {"role": "user", "content": 'Use the tool get_weather with city "Paris".'}
FOUND = "The sky is blue."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
WEATHER: Any = {"name": "get_weather", "description": "Weather.", "input_schema": SCHEMA}
PICK: Any = {
    "name": "pick",
    "input_schema": {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    },
}
LATE = {"name": "late", "input_schema": {"type": "object"}, "defer_loading": True}
PICTURE: Any = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:1/x.png"}}


def _call(name: str, city: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "get_weather", "input": {"city": city}}


def _result(name: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": content, **more}


def _after(*results: Any) -> list[dict[str, Any]]:
    """Make a conversation in which two calls were answered."""
    calls = [_call("t1", "Paris"), _call("t2", "Rome")]
    return [WISH, {"role": "assistant", "content": calls}, {"role": "user", "content": [*results]}]


CONVERSATIONS: dict[str, dict[str, Any]] = {
    "a word": {"messages": [HELLO]},
    "a system": {
        "system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}],
        "messages": [HELLO, {"role": "system", "content": "Be brief."}],
    },
    "tools": {"tools": [WEATHER, LATE], "messages": [WISH]},
    "no choice": {"tools": [WEATHER], "tool_choice": {"type": "none"}, "messages": [WISH]},
    "results": {
        "tools": [WEATHER],
        "messages": _after(_result("t2", "x", is_error=True), _result("t1", FOUND)),
    },
    "a tool that was found": {
        "tools": [WEATHER, LATE],
        "messages": _after(_result("t1", [{"type": "tool_reference", "tool_name": "late"}])),
    },
    "thinking": {
        "thinking": {"type": "adaptive"},
        "messages": [
            HELLO,
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                    {"type": "text", "text": "Hello!"},
                ],
            },
            HELLO,
        ],
    },
    "no thinking": {"thinking": {"type": "disabled"}, "messages": [HELLO]},
}


def _total(usage: Any) -> int:
    read, created = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return int(usage.input_tokens + read + created)


async def _ask(claude: anthropic.AsyncAnthropic, **body: Any) -> Any:
    greedy: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 64,
        "extra_body": {"temperature": 0},
    }
    return await claude.messages.create(**greedy | body)


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_a_count_is_what_is_charged(claude: anthropic.AsyncAnthropic, name: str) -> None:
    """Counting a conversation says what an answer to it costs, whatever it is made of."""
    body = CONVERSATIONS[name]
    counted = await claude.messages.count_tokens(model="any", **body)

    assert counted.input_tokens == _total((await _ask(claude, **body)).usage)


async def test_counts_wait_for_no_answer(slow: Daemon) -> None:
    """A burst of counts is served while an answer is being generated, and is exact."""
    async with open_claude(slow.url) as claude, open_claude(slow.url) as busy:
        async with busy.messages.stream(model="any", max_tokens=100, messages=[COUNT]) as answer:
            await anext(aiter(answer.text_stream))
            counts = await asyncio.gather(
                *(claude.messages.count_tokens(model="any", messages=[HELLO]) for _ in range(BURST))
            )
            assert (await slow.counters())["running"] == 1
        usage = (await _ask(claude, messages=[HELLO])).usage
        await eventually(slow.idle)

    assert {count.input_tokens for count in counts} == {_total(usage)}


async def test_results_in_any_order_are_one_prompt(claude: anthropic.AsyncAnthropic) -> None:
    """Which of two tools was ready first makes no other prompt of the conversation."""
    results = [_result("t1", "The sky is blue."), _result("t2", "The sky is grey.")]
    first = await _ask(claude, tools=[WEATHER], messages=_after(*results))
    second = await _ask(claude, tools=[WEATHER], messages=_after(*reversed(results)))

    assert second.content == first.content
    assert _total(second.usage) == _total(first.usage)
    assert second.usage.input_tokens <= 1


async def test_a_found_tool_moves_nothing(claude: anthropic.AsyncAnthropic) -> None:
    """When the list of tools grows by one that was found, all before it is still cached."""
    before = await _ask(claude, tools=[WEATHER], messages=_after(_result("t1", "None."))[:2])
    found = _after(_result("t1", [{"type": "tool_reference", "tool_name": "late"}]))
    after = await _ask(claude, tools=[LATE, WEATHER], messages=found)

    assert before.usage.output_tokens > 0
    assert (after.usage.cache_read_input_tokens or 0) >= 0.8 * _total(before.usage)


async def test_reasons(claude: anthropic.AsyncAnthropic) -> None:
    """Why an answer ended is told; more tokens than there can be are no reason to refuse."""
    stopped = await _ask(claude, messages=[COUNT], stop_sequences=[" 7"])
    cut = await _ask(claude, messages=[COUNT], max_tokens=5)
    async with claude.messages.stream(
        model="any", max_tokens=2_000_000, messages=[HELLO], extra_body={"temperature": 0}
    ) as stream:
        ended = await stream.get_final_message()

    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " 7")
    assert stopped.content[0].text.endswith("6")
    assert (cut.stop_reason, cut.stop_sequence, cut.usage.output_tokens) == ("max_tokens", None, 5)
    assert (ended.stop_reason, ended.stop_sequence) == ("end_turn", None)


@pytest.mark.parametrize("asked", [WISH, COUNT], ids=["a call", "text"])
async def test_streamed_or_whole(claude: anthropic.AsyncAnthropic, asked: Any) -> None:
    """Streamed or whole, an answer has the same content, usage and reason."""
    body: dict[str, Any] = {
        "model": "any",
        "max_tokens": 128,
        "messages": [asked],
        "tools": [WEATHER],
        "extra_body": {"temperature": 0},
    }
    await claude.messages.create(**body)  # so that both find the same cache
    whole = await claude.messages.create(**body)
    async with claude.messages.stream(**body) as stream:
        streamed = await stream.get_final_message()

    shown = {"type", "text", "name", "input"}
    assert [block.model_dump(include=shown) for block in streamed.content] == [
        block.model_dump(include=shown) for block in whole.content
    ]
    assert (streamed.stop_reason, streamed.usage) == (whole.stop_reason, whole.usage)


async def test_a_stream_is_in_order(daemon: Daemon) -> None:
    """Events come under their names, blocks one after the other, and the message is stopped."""
    body = {
        "model": "any",
        "max_tokens": 64,
        "stream": True,
        "temperature": 0,
        "messages": [WISH],
        "tools": [WEATHER],
    }
    async with (
        aiohttp.ClientSession(daemon.url) as http,
        http.post("/v1/messages?beta=true", json=body) as answer,
    ):
        read = [frame async for frame in frames(answer) if frame.event != "ping"]

    names = [frame.event for frame in read]
    assert [frame.document["type"] for frame in read] == names
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert names[1:-2] == [
        "content_block_start",
        *["content_block_delta"] * (len(names) - 5),
        "content_block_stop",
    ]
    parts = [frame.document["delta"]["partial_json"] for frame in read[2:-3]]
    assert json.loads("".join(parts)) == {"city": "Paris"}


async def test_tool_runner(claude: anthropic.AsyncAnthropic) -> None:
    """The SDK's own loop wants a thread, is told that there is none, and comes to an end."""

    @anthropic.beta_async_tool
    async def get_weather(city: str) -> str:
        """Weather."""
        return FOUND if city == "Paris" else city

    runner = claude.beta.messages.tool_runner(
        model="any",
        max_tokens=64,
        tools=[get_weather],
        messages=[WISH],
        extra_body={"temperature": 0},
    )
    message = await runner.until_done()

    assert message.content[0].text == f"The tool says: {FOUND}"  # type: ignore[union-attr]


async def test_choices(claude: anthropic.AsyncAnthropic) -> None:
    """A tool that must be called is called, and one that must not be is not."""
    named = await _ask(
        claude,
        messages=[HELLO],
        tools=[WEATHER, PICK],
        tool_choice={"type": "tool", "name": "pick", "disable_parallel_tool_use": True},
    )
    called = await _ask(
        claude,
        messages=[HELLO],
        tools=[PICK],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )
    silent = await _ask(claude, messages=[WISH], tools=[WEATHER], tool_choice={"type": "none"})

    for message in (named, called):
        calls = [block for block in message.content if block.type == "tool_use"]
        assert [call.name for call in calls] == ["pick"]
        assert calls[0].input["colour"] in {"red", "blue"}
        assert message.stop_reason == "tool_use"
    assert {block.type for block in silent.content} <= {"text"}
    assert silent.stop_reason != "tool_use"


async def test_structured_output(claude: anthropic.AsyncAnthropic) -> None:
    """An answer that is to be JSON of a schema is."""

    class Verdict(pydantic.BaseModel):
        good: bool

    parsed = await claude.messages.parse(
        model="any", max_tokens=100, output_format=Verdict, messages=[HELLO]
    )

    assert isinstance(parsed.parsed_output, Verdict)
    assert parsed.stop_reason == "end_turn"

"""Conversations through both SDKs, whole and streamed: recall, tools, counts, text, models."""

import itertools
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.clients import MODEL, RECALL, ClaudeTalk, GptTalk, Talk

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

WISH = 'Use the tool get_weather with city "Paris".'
FOUND = "The sky is blue."
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def _talk(claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI, api: str, **how: Any) -> Talk:
    return ClaudeTalk(claude, **how) if api == "anthropic" else GptTalk(gpt, **how)


@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
@pytest.mark.parametrize("api", ["anthropic", "openai"])
@streamed
async def test_recall(
    claude: anthropic.AsyncAnthropic,
    gpt: openai.AsyncOpenAI,
    api: str,
    *,
    stream: bool,
    named: bool,
) -> None:
    """A fact of the first turn is known in the fifth, and every turn is a pure append.

    Each prompt finds in the cache all of the last one and of its answer but the end token, which
    was drawn and never fed; with a session's name and without.
    """
    key, value = RECALL[4 * (api == "openai") + 2 * stream + named]
    headers = {"X-Session-Id": f"the {key} one"} if named else {}
    talk = _talk(claude, gpt, api, stream=stream, headers=headers)
    turns = [
        await talk.say(text)
        for text in (
            f"My {key} is {value}.",
            "Hello!",
            "Thank you.",
            "How are you?",
            f"What is my {key}?",
        )
    ]

    assert turns[-1].text == f"Your {key} is {value}."
    for before, after in itertools.pairwise(turns):
        assert after.cached >= before.prompt + before.completion - 1
        assert after.cached > before.cached


@streamed
async def test_claude_uses_a_tool(claude: anthropic.AsyncAnthropic, *, stream: bool) -> None:
    """An offered tool is called with the arguments named, and its result is told."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 64,
        "extra_body": {"temperature": 0},
        "tools": [{"name": "get_weather", "description": "Weather.", "input_schema": SCHEMA}],
    }

    async def answer(messages: list[Any]) -> Any:
        if not stream:
            return await claude.messages.create(messages=messages, **asked)
        async with claude.messages.stream(messages=messages, **asked) as going:
            return await going.get_final_message()

    wish: list[Any] = [{"role": "user", "content": WISH}]
    call = await answer(wish)
    (block,) = call.content
    assert (
        call.stop_reason,
        block.name,
        block.input,
    ) == ("tool_use", "get_weather", {"city": "Paris"})

    result = {"type": "tool_result", "tool_use_id": block.id, "content": FOUND}
    told = await answer(
        [
            *wish,
            {"role": "assistant", "content": call.content},
            {"role": "user", "content": [result]},
        ]
    )
    assert ("end_turn", f"The tool says: {FOUND}") == (told.stop_reason, told.content[0].text)
    assert told.usage.cache_read_input_tokens > call.usage.input_tokens


@streamed
async def test_gpt_uses_a_tool(gpt: openai.AsyncOpenAI, *, stream: bool) -> None:
    """An offered tool is called with the arguments named, and its result is told."""
    function = {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA}
    asked: dict[str, Any] = {
        "model": MODEL,
        "temperature": 0,
        "tools": [{"type": "function", "function": function}],
    }

    async def answer(messages: list[Any]) -> Any:
        if not stream:
            return await gpt.chat.completions.create(messages=messages, **asked)
        async with gpt.chat.completions.stream(messages=messages, **asked) as going:
            return await going.get_final_completion()

    wish: list[Any] = [{"role": "user", "content": WISH}]
    called = (await answer(wish)).choices[0]
    (call,) = called.message.tool_calls
    assert (
        called.finish_reason,
        call.function.name,
        call.function.arguments,
    ) == ("tool_calls", "get_weather", '{"city": "Paris"}')

    sent = {"name": call.function.name, "arguments": call.function.arguments}
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call.id, "type": "function", "function": sent}],
    }
    found = {"role": "tool", "tool_call_id": call.id, "content": FOUND}
    told = (await answer([*wish, said, found])).choices[0]
    assert ("stop", f"The tool says: {FOUND}") == (told.finish_reason, told.message.content)


async def test_count_tokens(claude: anthropic.AsyncAnthropic) -> None:
    """Counting says what the same request then costs, tools, system and history included."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "system": "Be brief.",
        "tools": [{"name": "get_weather", "description": "Weather.", "input_schema": SCHEMA}],
        "messages": [
            {"role": "user", "content": "My access key is 4821."},
            {"role": "assistant", "content": "Noted."},
            {"role": "user", "content": "What is my access key?"},
        ],
    }
    counted = await claude.messages.count_tokens(**asked)
    usage = (await claude.messages.create(max_tokens=16, **asked)).usage

    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


async def test_completions(gpt: openai.AsyncOpenAI) -> None:
    """Text is continued, up to `max_tokens`; streamed it is the same text.

    The stream is read loosely: the SDK's type denies the null finish_reason of the real API.
    """
    asked: dict[str, Any] = {
        "model": MODEL,
        "prompt": "1 2 3 4 5 6 7 8",
        "max_tokens": 6,
        "temperature": 0,
    }
    whole = await gpt.completions.create(**asked)
    loose = gpt.copy(_extra_kwargs={"_strict_response_validation": False})
    stream = await loose.completions.create(stream=True, **asked)
    chunks = [chunk.choices[0] async for chunk in stream]

    assert whole.usage is not None
    assert (whole.choices[0].finish_reason, whole.usage.completion_tokens) == ("length", 6)
    assert whole.choices[0].text == "".join(chunk.text for chunk in chunks)
    assert whole.choices[0].text.startswith(" 9 10")
    assert chunks[-1].finish_reason == "length"


async def test_models(claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI) -> None:
    """The one model has one name, in the shape of the API that asks, whatever it was called."""
    theirs = [model async for model in claude.models.list()]
    ours = [model async for model in gpt.models.list()]

    assert ["pocket"] == [model.id for model in theirs] == [model.id for model in ours]
    assert theirs[0] == await claude.models.retrieve("pocket")
    assert ours[0] == await gpt.models.retrieve("pocket")
    assert theirs[0] == await claude.models.retrieve("claude-opus-5-5")
    assert ours[0] == await gpt.models.retrieve("gpt-5")

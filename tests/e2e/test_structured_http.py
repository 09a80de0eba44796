"""Structured output as both SDKs ask for it, of the real daemon."""

import asyncio
import json
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from tests.e2e.daemon import Daemon
from tests.text import schemas

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

SEEDS = range(40, 48)
HOSTILE: dict[str, Any] = {
    "remote": {"$ref": "https://example.com/schema.json"},
    "chain": {
        "$ref": "#/$defs/a0",
        "$defs": {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}]} for i in range(450)},
    },
    "multiple": {"type": "integer", "multipleOf": 999_983},
    "enum": {"enum": [f"value {i}" for i in range(12_000)]},
    "negation": {"not": {"type": "string"}},
}


@pytest.mark.parametrize("seed", SEEDS)
async def test_chat_answers_in_the_schema(gpt: openai.AsyncOpenAI, seed: int) -> None:
    """`response_format`, at temperature 1."""
    wanted: Any = {"name": "note", "schema": schemas.schema(seed), "strict": True}

    answer = await gpt.chat.completions.create(
        model="pocket",
        messages=[{"role": "user", "content": "Take a note."}],
        response_format={"type": "json_schema", "json_schema": wanted},
        temperature=1,
        seed=seed,
        max_tokens=2_000,
    )

    assert answer.choices[0].finish_reason == "stop"
    value = json.loads(answer.choices[0].message.content or "")
    assert schemas.holds(value, schemas.schema(seed))


@pytest.mark.parametrize("seed", SEEDS)
async def test_messages_answer_in_the_schema(claude: anthropic.AsyncAnthropic, seed: int) -> None:
    """`output_config.format`, streamed."""
    async with claude.messages.stream(
        model="pocket",
        messages=[{"role": "user", "content": f"Take note {seed}."}],
        output_config={"format": {"type": "json_schema", "schema": schemas.schema(seed)}},
        max_tokens=2_000,
    ) as stream:
        answer = await stream.get_final_message()

    assert answer.stop_reason == "end_turn"
    text = "".join(block.text for block in answer.content if block.type == "text")
    assert schemas.holds(json.loads(text), schemas.schema(seed))


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_schema_costs_its_request_a_400(
    daemon: Daemon, gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, name: str
) -> None:
    """In either API's words, naming the field, within a second; the daemon lives on."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(openai.BadRequestError) as chat:
        await gpt.chat.completions.create(
            model="pocket",
            messages=[{"role": "user", "content": "Take a note."}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "note", "schema": HOSTILE[name]},
            },
        )
    took_s = loop.time() - began
    with pytest.raises(anthropic.BadRequestError) as messages:
        await claude.messages.create(
            model="pocket",
            messages=[{"role": "user", "content": "Take a note."}],
            output_config={"format": {"type": "json_schema", "schema": HOSTILE[name]}},
            max_tokens=100,
        )
    async with aiohttp.ClientSession(daemon.url) as http, http.get("/livez") as alive:
        assert alive.status == 200

    assert took_s < 1.0
    assert chat.value.param == "response_format.json_schema.schema"
    assert "output_config.format.schema" in str(messages.value)


async def test_a_call_that_is_required_is_made(claude: anthropic.AsyncAnthropic) -> None:
    """`tool_choice: any`, with arguments of the tool's schema."""
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    answer = await claude.messages.create(
        model="pocket",
        messages=[{"role": "user", "content": "Hello."}],
        tools=[{"name": "get_weather", "input_schema": schema}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        max_tokens=400,
    )

    assert answer.stop_reason == "tool_use"
    (call,) = answer.content
    assert call.type == "tool_use"
    assert call.name == "get_weather"
    assert call.input["city"] in ("Paris", "Rome")
    assert type(call.input["days"]) is int

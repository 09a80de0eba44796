"""What the settings of a request of the Responses API mean."""

from typing import Any

import aiohttp
import pytest

from semantic_actors.domain.request import (
    JsonOutput,
    ToolChoice,
)
from tests.api.fakes import FakeDesk
from tests.api.responses_requests import (
    ALLOWED,
    FILE_SPECS,
    FUNCTION,
    HI,
    LOOK_SPEC,
    NAMESPACE,
    PATH,
    SCHEMA,
    asked,
)


@pytest.mark.asyncio
async def test_tools(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Functions are offered, those of namespaces under both names; hosted tools are not."""
    tools = [FUNCTION, NAMESPACE, {"type": "web_search"}, {"type": "made_up", "parameters": {}}]

    assert (await asked(client, desk, tools=tools)).tools == (LOOK_SPEC, *FILE_SPECS)


CHOICES: list[tuple[Any, Any, ToolChoice, int]] = [
    (None, None, ToolChoice(), 3),
    ("auto", True, ToolChoice(), 3),
    ("auto", False, ToolChoice(parallel=False), 3),
    ("none", None, ToolChoice("none"), 3),
    ("required", False, ToolChoice("required", parallel=False), 3),
    ({"type": "function", "name": "look"}, None, ToolChoice("required", "look"), 3),
    ({"type": "function", "name": "read"}, None, ToolChoice("required", "files__read"), 3),
    ({"type": "function", "name": "files__look"}, None, ToolChoice("required", "files__look"), 3),
    (
        ALLOWED | {"tools": [{"type": "function", "name": "look"}]},
        None,
        ToolChoice("required"),
        1,
    ),
    (
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]},
        None,
        ToolChoice(),
        0,
    ),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("what", CHOICES)
async def test_choice(client: aiohttp.ClientSession, desk: FakeDesk, what: Any) -> None:
    """What may and must be called; tools that are not allowed are not offered."""
    choice, parallel, expected, tools = what
    prompt = await asked(
        client,
        desk,
        tools=[FUNCTION, NAMESPACE],
        tool_choice=choice,
        parallel_tool_calls=parallel,
    )

    assert (desk.generation.tool_choice, len(prompt.tools)) == (expected, tools)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonOutput('{"type":"object"}', "text.format")),
        (
            {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            JsonOutput(
                '{"type":"object","properties":{"path":{"type":"string"}}}', "text.format.schema"
            ),
        ),
    ],
)
async def test_format(
    client: aiohttp.ClientSession, desk: FakeDesk, format_: Any, expected: JsonOutput | None
) -> None:
    """A form of the text is a schema of the answer."""
    await asked(client, desk, text={"format": format_, "verbosity": "low"})

    assert desk.generation.output == expected


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reasoning_", "expected"),
    [
        (None, None),
        ({}, None),
        ({"effort": None, "summary": "auto"}, None),
        ({"effort": "none"}, False),
        ({"effort": "low"}, True),
        ({"effort": "xhigh"}, True),
    ],
)
async def test_thinking(
    client: aiohttp.ClientSession, desk: FakeDesk, reasoning_: Any, *, expected: bool | None
) -> None:
    """A model is told whether to think, not how much."""
    assert (await asked(client, desk, reasoning=reasoning_)).thinking is expected


@pytest.mark.asyncio
async def test_sampling(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """How to draw, how much, and whether to say how likely it was."""
    await asked(
        client,
        desk,
        temperature=0.5,
        top_p=0.25,
        top_k=7,
        seed=3,
        max_output_tokens=11,
        top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
    )

    drawn = desk.generation.sampling
    assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.seed) == (0.5, 0.25, 7, 3)
    assert (drawn.logprobs, desk.generation.max_tokens) == (2, 11)


@pytest.mark.asyncio
async def test_defaults(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """What is not said is left to the model; log-probabilities are only made when included."""
    await asked(client, desk, top_logprobs=2)

    drawn = desk.generation.sampling
    assert (drawn.temperature, drawn.top_p, drawn.logprobs) == (1.0, 1.0, None)
    assert desk.generation.max_tokens is None
    assert desk.generation.output is None


TOLERATED: list[dict[str, Any]] = [
    {"client_metadata": {"a": "b"}, "service_tier": "flex", "user": "u", "truncation": "auto"},
    {"stream_options": {"include_obfuscation": False}, "safety_identifier": "s", "x": [{}]},
    {"background": False, "conversation": None, "prompt": None, "context_management": []},
    {"metadata": {"a": "b"}, "max_tool_calls": 3, "prompt_cache_retention": "24h"},
]


@pytest.mark.asyncio
@pytest.mark.parametrize("more", TOLERATED)
async def test_tolerated(
    client: aiohttp.ClientSession, desk: FakeDesk, more: dict[str, Any]
) -> None:
    """What asks for nothing that would change the answer is no reason to refuse one."""
    assert (await asked(client, desk, **more)).messages == (HI,)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "body", "session"),
    [
        ({}, {}, None),
        ({}, {"prompt_cache_key": "k"}, "k"),
        ({"thread-id": "t", "session-id": "s"}, {}, "t"),
        ({"session-id": "s"}, {}, "s"),
        ({"session-id": "s"}, {"prompt_cache_key": "k"}, "k"),
        ({"X-Session-Id": "x", "session-id": "s"}, {"prompt_cache_key": "k"}, "x"),
    ],
)
async def test_identity(
    client: aiohttp.ClientSession,
    desk: FakeDesk,
    headers: dict[str, str],
    body: dict[str, str],
    session: str | None,
) -> None:
    """The session is the one that is named, in the body or as codex names it."""
    async with client.post(PATH, json={"input": "hi"} | body, headers=headers) as answer:
        assert answer.status == 200

    assert desk.identity.session == session


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [PATH, f"{PATH}/input_tokens"])
async def test_models(client: aiohttp.ClientSession, desk: FakeDesk, path: str) -> None:
    """None need be named; one that is must be a name of the served one."""
    desk.aliases = ("gpt-*",)
    for named, status in ((None, 200), ("pocket", 200), ("gpt-9", 200), ("other", 404)):
        async with client.post(path, json={"model": named, "input": "hi"}) as answer:
            assert answer.status == status
            assert (status == 404) == ("model_not_found" in await answer.text())

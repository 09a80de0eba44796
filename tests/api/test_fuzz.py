"""Whatever is sent, the answer is never a fault of ours, and the next one is served."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.fakes import BODIES, HI, FakeDesk, serving

TOLD: list[dict[str, Any]] = [
    {"type": "text", "text": "a"},
    {"type": "tool_reference", "tool_name": "f"},
    {"type": "search_result", "source": "s", "title": "t", "content": []},
]
CLAUDES: list[Any] = [
    HI,
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            {"type": "mcp_tool_use", "id": "m", "name": "f", "input": {"a": 1}},
            {"type": "mcp_tool_result", "tool_use_id": "m", "content": [{"a": 1}]},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": TOLD},
            {"type": "document", "source": {"type": "content", "content": TOLD[:1]}},
        ],
    },
    {
        "role": "system",
        "clear_at": "never",
        "content": [
            {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}},
            {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "f"}},
        ],
    },
]
GPTS: list[Any] = [
    HI,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}],
        "reasoning_content": "r",
    },
    {"role": "tool", "tool_call_id": "t", "content": [{"type": "text", "text": "a"}]},
]
RICH: dict[str, Any] = {
    "system": [{"type": "text", "text": "s"}],
    "messages": CLAUDES,
    "input": [
        {"type": "message", "role": "developer", "content": "d"},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "o"},
        {"type": "local_shell_call", "call_id": "l", "action": {"type": "exec"}},
    ],
    "text": {"format": {"type": "json_schema", "schema": {}}},
    "reasoning": {"effort": "low"},
    "include": ["message.output_text.logprobs"],
    "previous_response_id": None,
    "instructions": "i",
    "tools": [{"name": "f", "input_schema": {}, "type": "function", "function": {"name": "f"}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "parallel_tool_calls": True,
    "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": True},
    "best_of": 1,
    "metadata": {"user_id": "u"},
    "stop": ["a"],
    "stop_sequences": ["a"],
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "logit_bias": {"5": 1},
    "temperature": 1,
    "top_p": 1,
    "top_k": 1,
    "seed": 1,
    "n": 1,
}

WISHES: list[dict[str, Any]] = [
    {},
    {"tool_choice": "required", "logprobs": True, "top_logprobs": 1, "n": 2, "best_of": 2},
    {"tool_choice": {"type": "function", "function": {"name": "f"}}, "echo": True},
    {"prompt": ["a", "b"], "logprobs": 1},
    {"prompt": [[1, 2], [3]]},
]
"""What only some of the APIs understand."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**30, "\x00", "\ud800", "text", "user", ""])
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Walk all paths of a document."""
    yield path
    match value:
        case dict():
            for key, inner in value.items():
                yield from places(inner, (*path, key))
        case list():
            for index, inner in enumerate(value):
                yield from places(inner, (*path, index))


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """Make a good body and put anything in a place or two."""
    body: Any = copy.deepcopy(RICH | draw(st.sampled_from(list(BODIES.values()))))
    body |= copy.deepcopy(draw(st.sampled_from(WISHES)))
    if draw(st.booleans()):
        body["messages"] = copy.deepcopy(draw(st.sampled_from([CLAUDES, GPTS])))
        body["input"] = copy.deepcopy(RICH["input"])
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(places(body))[1:]))
        inner = body
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = draw(anything)
    return body


def as_bytes(document: Any) -> bytes:
    """Write JSON, and what only Python takes for JSON."""
    return json.dumps(document).encode()


@asynccontextmanager
async def opened() -> AsyncIterator[aiohttp.ClientSession]:
    """Serve a desk and open a client."""
    async with (
        serving(FakeDesk()) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        yield client


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[asyncio.Runner, aiohttp.ClientSession]]:
    """Serve all examples with one server, on a loop of its own."""
    with asyncio.Runner() as runner:
        opening = opened()
        yield runner, runner.run(opening.__aenter__())
        runner.run(opening.__aexit__(None, None, None))


async def post(client: aiohttp.ClientSession, path: str, body: bytes) -> tuple[int, bytes]:
    """Send a body."""
    headers = {"Content-Type": "application/json"}
    async with client.post(path, data=body, headers=headers) as answer:
        return answer.status, await answer.read()


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.sampled_from(list(BODIES)),
    spoiled().map(as_bytes) | anything.map(as_bytes) | st.binary(),
)
def test_any_body(
    served: tuple[asyncio.Runner, aiohttp.ClientSession], path: str, body: bytes
) -> None:
    """No body makes a 5xx; a refusal has words; a good body is answered afterwards."""
    runner, client = served

    status, answer = runner.run(post(client, path, body))

    assert status in {200, 400}
    assert status == 200 or json.loads(answer)["error"]["message"]
    assert runner.run(post(client, path, as_bytes(BODIES[path])))[0] == 200

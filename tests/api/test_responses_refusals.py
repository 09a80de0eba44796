"""How requests of the Responses API that cannot be served are refused."""

from typing import Any

import aiohttp
import pytest

from tests.api.fakes import FakeDesk
from tests.api.responses_requests import (
    ALLOWED,
    CALL,
    FUNCTION,
    LOOKED,
    NAMESPACE,
    PATH,
)

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"input": []}, "input", "input: expected an array of at least 1 items, got []"),
    ({"input": [{"type": "compaction"}]}, "input[0].type", "input[0].type: expected one of"),
    ({"input": [{"role": "tool", "content": ""}]}, "input[0].role", "expected one of 'assistant'"),
    ({"input": [{"role": "user"}]}, "input[0].content", "required"),
    ({"input": [{"content": "hi"}]}, "input[0].role", "required"),
    ({"input": [{"role": "user", "content": 5}]}, "input[0].content", "expected a string"),
    (
        {"input": [{"role": "user", "content": [{"type": "video"}]}]},
        "input[0].content[0].type",
        "expected one of 'input_text'",
    ),
    ({"input": [CALL | {"arguments": "no"}]}, "input[0].arguments", "the JSON text of an object"),
    ({"input": [CALL | {"arguments": {}}]}, "input[0].arguments", "expected a string, got {}"),
    ({"input": [CALL | {"call_id": None}]}, "input[0].call_id", "required"),
    ({"input": [CALL | {"name": ""}]}, "input[0].name", "at least 1 characters"),
    ({"input": [LOOKED | {"output": None}]}, "input[0].output", "required"),
    ({"input": [LOOKED | {"output": [{"type": "x"}]}]}, "input[0].output", "an array of parts"),
    (
        {"input": [{"type": "local_shell_call", "call_id": "c", "action": "ls"}]},
        "input[0].action",
        'expected an object, got "ls"',
    ),
    *(
        (
            {"input": [{"role": "user", "content": [{"type": f"input_{kind}", **where}]}]},
            "input[0].content[0]",
            f"expected text, which is all that the model reads, got {kind}",
        )
        for kind, where in (
            ("image", {"image_url": "http://127.0.0.1:9/a.png"}),
            ("image", {"image_url": "file:///etc/passwd"}),
            ("image", {"image_url": "data:image/png;base64,AAAA"}),
            ("file", {"file_url": "http://[::1]/a", "file_id": "../../x"}),
            ("audio", {"input_audio": {"data": "AA", "format": "wav"}}),
        )
    ),
    (
        {"input": [LOOKED | {"output": [{"type": "input_image", "image_url": "http://x"}]}]},
        "input[0].output[0]",
        "got image",
    ),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "required"),
    ({"tools": [{"type": "function", "name": ""}]}, "tools[0].name", "at least 1 characters"),
    ({"tools": [{"type": "namespace"}]}, "tools[0].name", "required"),
    ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name", "a name that no other tool has, got look"),
    (
        {"tools": [NAMESPACE, NAMESPACE]},
        "tools[1].tools[0].name",
        "a name that no other tool has, got files__read",
    ),
    ({"tool_choice": "required"}, "tool_choice", "functions in tools to choose from"),
    ({"tool_choice": ALLOWED, "tools": [FUNCTION]}, "tool_choice", "functions in tools"),
    (
        {"tool_choice": {"type": "function", "name": "x"}, "tools": [FUNCTION]},
        "tool_choice.name",
        "one of the functions in tools, got 'x'",
    ),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice.type", "or a choice of functions"),
    ({"background": True}, "background", "true is not supported, only false or null"),
    ({"conversation": "conv_1"}, "conversation", "only previous_response_id"),
    ({"prompt": {"id": "p"}}, "prompt", "is not supported"),
    ({"max_output_tokens": 0}, "max_output_tokens", "an integer >= 1"),
    ({"max_output_tokens": 2**31}, "max_output_tokens", "<= 2147483647"),
    ({"temperature": 2.1}, "temperature", "a number >= 0 and <= 2"),
    ({"temperature": "1"}, "temperature", "a number"),
    ({"top_p": 0}, "top_p", "a number > 0"),
    ({"top_logprobs": 21}, "top_logprobs", "<= 20"),
    ({"top_logprobs": -1}, "top_logprobs", ">= 0"),
    ({"top_logprobs": True}, "top_logprobs", "an integer"),
    ({"truncation": "middle"}, "truncation", "one of 'auto', 'disabled'"),
    ({"metadata": {"k" * 65: "v"}}, "metadata", "of at most 64 characters"),
    ({"metadata": {"k": "v" * 513}}, "metadata", "of at most 512 characters"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "of at most 16 members"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type", "one of 'text', 'json_object'"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", "required"),
    ({"reasoning": {"effort": 5}}, "reasoning.effort", "a string"),
    ({"prompt_cache_key": "k" * 513}, "prompt_cache_key", "at most 512 characters"),
    ({"store": "yes"}, "store", "true or false"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("body", "field", "words"), REFUSED, ids=str)
async def test_refused(
    client: aiohttp.ClientSession, desk: FakeDesk, body: dict[str, Any], field: str, words: str
) -> None:
    """A clear sentence with the field, the value and the bound; nothing was asked of the desk."""
    async with client.post(PATH, json={"model": "any", "input": "hi"} | body) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", field)
    assert words in error["message"]
    assert not desk.asked


def nested(depth: int) -> dict[str, Any]:
    """Make a schema so deep."""
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tools": [FUNCTION | {"parameters": nested(250)}]}, "tools[0].parameters"),
        (
            {"tools": [NAMESPACE | {"tools": [FUNCTION | {"parameters": nested(250)}]}]},
            "tools[0].tools[0].parameters",
        ),
        (
            {"text": {"format": {"type": "json_schema", "schema": nested(250)}}},
            "text.format.schema",
        ),
        (
            {"input": [{"type": "local_shell_call", "id": "l", "action": nested(250)}]},
            "input[0].action",
        ),
    ],
)
async def test_depth(client: aiohttp.ClientSession, body: dict[str, Any], field: str) -> None:
    """What templates or compilers walk is not bottomless."""
    async with client.post(PATH, json={"input": "hi"} | body) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["param"]) == (400, field)
    assert "at most 200 levels of nesting" in error["message"]


@pytest.mark.asyncio
async def test_counts_are_bounded(client: aiohttp.ClientSession) -> None:
    """So many items, so many functions, however they are grouped."""
    item = {"role": "user", "content": ""}
    functions = [[{"type": "function", "name": f"{g}-{n}"} for n in range(501)] for g in range(2)]
    groups = [{"type": "namespace", "name": "n", "tools": inner} for inner in functions]
    for body, field in (({"input": [item] * 10_001}, "input"), ({"tools": groups}, "tools")):
        async with client.post(PATH, json={"input": "hi"} | body) as answer:
            assert (answer.status, (await answer.json())["error"]["param"]) == (400, field)

"""Bad input, endpoint by endpoint: a 4xx that names the field, its value and its bound."""

import json
from typing import Any

import aiohttp
import pytest

from semantic_actors.domain import limits
from tests.api.fakes import BODIES, FakeDesk

pytestmark = pytest.mark.asyncio

CLAUDE, COUNT, CHAT, TEXT = BODIES
Row = tuple[str, Any, str]


def user(content: Any) -> list[dict[str, Any]]:
    """Make a conversation of one message."""
    return [{"role": "user", "content": content}]


def assistant(content: Any, **more: Any) -> list[dict[str, Any]]:
    """Make a conversation of one answer."""
    return [{"role": "assistant", "content": content, **more}]


def call(arguments: Any) -> list[dict[str, Any]]:
    """Make a chat with one tool call."""
    function = {"name": "f", "arguments": arguments}
    return assistant(None, tool_calls=[{"id": "t", "type": "function", "function": function}])


def nested(depth: int) -> Any:
    """Make deep JSON."""
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


DEEP = nested(limits.MAX_JSON_DEPTH)
DEEP_WORDS = f"at most {limits.MAX_JSON_DEPTH} levels of nesting, got more"
NUL = {"type": "text", "text": "\\\0"}
IMAGE = [{"type": "text", "text": "a"}, {"type": "image", "source": {"url": "http://x/"}}]

MAX_TOKENS: list[Row] = [
    ("max_tokens", 0, "an integer >= 1 and <= 2147483647{or_null}, got 0"),
    ("max_tokens", -1, "an integer >= 1 and <= 2147483647{or_null}, got -1"),
    ("max_tokens", 2**31, "an integer >= 1 and <= 2147483647{or_null}, got 2147483648"),
    ("max_tokens", 10**40, "an integer >= 1 and <= 2147483647{or_null}, got 1000"),
    ("max_tokens", 1.5, "an integer >= 1 and <= 2147483647{or_null}, got 1.5"),
    ("max_tokens", True, "an integer >= 1 and <= 2147483647{or_null}, got true"),
    ("max_tokens", "9", 'an integer >= 1 and <= 2147483647{or_null}, got "9"'),
]
SAMPLING: list[Row] = [
    ("model", "", 'a string of at least 1 characters, got ""'),
    ("model", None, "a string of at least 1 characters, got null"),
    ("temperature", -0.1, "a number >= 0 and <= 2 or null, got -0.1"),
    ("temperature", 2.1, "a number >= 0 and <= 2 or null, got 2.1"),
    ("temperature", "hot", 'a number >= 0 and <= 2 or null, got "hot"'),
    ("top_p", 0, "a number > 0 and <= 1 or null, got 0"),
    ("top_p", 1.01, "a number > 0 and <= 1 or null, got 1.01"),
    ("top_k", -1, "an integer >= 0 and <= 1000000 or null, got -1"),
    ("top_k", 10**6 + 1, "an integer >= 0 and <= 1000000 or null, got 1000001"),
    ("stream", "yes", 'true or false or null, got "yes"'),
]
BIASES = "at most 1024 members, each from an integer >= 0 to a number >= -100 and <= 100"
OPENAI: list[Row] = [
    ("seed", 2**63, f"an integer >= -{2**63 - 1} and <= {2**63 - 1} or null, got {2**63}"),
    ("seed", -(2**63), f"an integer >= -{2**63 - 1} and <= {2**63 - 1} or null, got -{2**63}"),
    ("seed", 10**30, f"an integer >= -{2**63 - 1} and <= {2**63 - 1} or null, got 1000"),
    ("min_p", 2, "a number >= 0 and <= 1 or null, got 2"),
    ("stop", 5, "a string of 1 to 256 characters or an array of at most 16 items or null, got 5"),
    ("stop", "", 'a string of 1 to 256 characters or an array of at most 16 items or null, got ""'),
    ("stop", ["a"] * 17, "an array of at most 16 items or null, got ["),
    ("stop[1]", ["a", "b" * 257], 'a string of 1 to 256 characters, got "bbb'),
    ("n", 2, "n: 2 is not supported, only 1 or null"),
    ("n", -1, "an integer >= 0 and <= 2147483647 or null, got -1"),
    ("n", 10**12, "an integer >= 0 and <= 2147483647 or null, got 1000000000000"),
    ("presence_penalty", -2.5, "a number >= -2 and <= 2 or null, got -2.5"),
    ("frequency_penalty", 3, "a number >= -2 and <= 2 or null, got 3"),
    ("repetition_penalty", 0, "a number >= 0.01 and <= 10 or null, got 0"),
    ("repetition_penalty", 10.5, "a number >= 0.01 and <= 10 or null, got 10.5"),
    ("logit_bias", {"5": 101}, f'{BIASES}, got {{"5": 101}}'),
    ("logit_bias", {"5": -100.5}, f'{BIASES}, got {{"5": -100.5}}'),
    ("logit_bias", {"5": None}, f'{BIASES}, got {{"5": null}}'),
    ("logit_bias", {"five": 1}, f'{BIASES} or null, got {{"five": 1}}'),
    ("logit_bias", {"-5": 1}, f'{BIASES} or null, got {{"-5": 1}}'),
    ("logit_bias", [5], f"{BIASES} or null, got [5]"),
    ("logit_bias", dict.fromkeys(map(str, range(1025)), 1), f'{BIASES} or null, got {{"0": 1,'),
    ("stream_options", 1, "an object or null, got 1"),
    ("prompt_cache_key", "k" * 513, "at most 512 characters, got 513"),
]
CONVERSATION: list[Row] = [
    ("messages", [], "an array of 1 to 10000 items, got []"),
    ("messages", "hi", 'an array of 1 to 10000 items, got "hi"'),
    ("messages", user("a") * 10_001, "an array of 1 to 10000 items, got [{"),
    ("messages[0]", ["hi"], 'an object, got "hi"'),
    ("messages[0].role", [{"content": "a"}], "messages[0].role: required, but missing"),
    ("messages[0].content", [{"role": "user"}], "messages[0].content: required, but missing"),
    ("messages[0].content", user(5), "a string or an array, got 5"),
    ("messages[0].content", user(None), "a string or an array, got null"),
    ("messages[0].content[0].text", user([{"type": "text"}]), "required, but missing"),
    ("messages[0].content[0].text", user([{"type": "text", "text": 1}]), "a string, got 1"),
    ("messages[0].content", user("a\x00b"), "text without NUL, got \\u0000"),
    ("messages[1].content[0].text", [*user("a"), *user([NUL])], "without NUL, got \\u0000"),
    ("tools[0]", [{"type": "x", "\0": 1}], "text without NUL, got \\u0000"),
    ("tools", [{"type": "x"}] * 1_001, "an array of at most 1000 items or null, got [{"),
]
ANTHROPIC: list[Row] = [
    *CONVERSATION,
    ("messages[0].role", [{"role": "tool", "content": ""}], "'system', got \"tool\""),
    ("messages[0].content[1].type", user(IMAGE), "one of 'text', 'tool_result', got \"image\""),
    (
        "messages[0].content[0].type",
        user([{"type": "document"}]),
        "one of 'text', 'tool_result', got \"document\"",
    ),
    (
        "messages[0].content[0].content[1].type",
        user([{"type": "tool_result", "tool_use_id": "t", "content": IMAGE}]),
        "one of 'text', 'tool_reference', got \"image\"",
    ),
    (
        "messages[0].content[0].input",
        assistant([{"type": "tool_use", "id": "t", "name": "f", "input": []}]),
        "an object, got []",
    ),
    (
        "messages[0].content[0].input",
        assistant([{"type": "tool_use", "id": "t", "name": "f", "input": DEEP}]),
        DEEP_WORDS,
    ),
    ("system", 5, "a string or an array or null, got 5"),
    ("system[0].type", [{"type": "image"}], "one of 'text', got \"image\""),
    ("tools[0].name", [{"input_schema": {}}], "tools[0].name: required, but missing"),
    ("tools[0].input_schema", [{"name": "f"}], "tools[0].input_schema: required, but missing"),
    ("tools[0].input_schema", [{"name": "f", "input_schema": DEEP}], DEEP_WORDS),
    ("tool_choice.type", {"type": "all"}, "one of 'any', 'auto', 'none', 'tool', got \"all\""),
]
STOPS: list[Row] = [
    ("stop_sequences", "a", 'an array of at most 16 items or null, got "a"'),
    ("stop_sequences[0]", [""], 'a string of 1 to 256 characters, got ""'),
    ("metadata.user_id", {"user_id": "u" * 513}, "at most 512 characters, got 513"),
]
TABLE: dict[str, list[Row]] = {
    CLAUDE: [
        *[(name, value, words.format(or_null="")) for name, value, words in MAX_TOKENS],
        *SAMPLING,
        *ANTHROPIC,
        *STOPS,
    ],
    COUNT: ANTHROPIC,
    CHAT: [
        *[(name, value, words.format(or_null=" or null")) for name, value, words in MAX_TOKENS],
        *SAMPLING,
        *OPENAI,
        *CONVERSATION,
        ("max_completion_tokens", 0, "an integer >= 1 and <= 2147483647 or null, got 0"),
        ("messages[0].role", [{"role": "robot", "content": ""}], "'tool', got \"robot\""),
        ("messages[0].content[1].type", user(IMAGE), "one of 'text', got \"image\""),
        (
            "messages[0].content[0].type",
            user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]),
            "one of 'text', got \"image_url\"",
        ),
        (
            "messages[0].tool_call_id",
            [{"role": "tool", "content": "a"}],
            "messages[0].tool_call_id: required, but missing",
        ),
        ("messages[0].tool_calls[0].function.arguments", call({}), "a string, got {}"),
        (
            "messages[0].tool_calls[0].function.arguments",
            call("[1]"),
            "the JSON text of an object, got [1]",
        ),
        (
            "messages[0].tool_calls[0].function.arguments",
            call('{"a":'),
            'the JSON text of an object, got {"a":',
        ),
        ("messages[0].tool_calls[0].function.arguments", call(json.dumps(DEEP)), DEEP_WORDS),
        (
            "tools[0].function.parameters",
            [{"type": "function", "function": {"name": "f", "parameters": DEEP}}],
            DEEP_WORDS,
        ),
        (
            "tools[0].function.name",
            [{"type": "function", "function": {"name": ""}}],
            'a string of at least 1 characters, got ""',
        ),
        ("tool_choice", "always", "one of 'auto', 'none', 'required' or an object or null, got"),
        ("logprobs", True, "logprobs: true is not supported, only false or null"),
        ("top_logprobs", 3, "top_logprobs: 3 is not supported, only 0 or null"),
        ("functions", [{}], "functions: [{}] is not supported, only [] or null"),
        ("response_format.type", {"type": "json_object"}, "one of 'text', got \"json_object\""),
    ],
    TEXT: [
        *[(name, value, words.format(or_null=" or null")) for name, value, words in MAX_TOKENS],
        *SAMPLING,
        *OPENAI,
        ("prompt", "", "a string of at least 1 characters or an array of 1 to 1 items, got"),
        ("prompt", [], "a string of at least 1 characters or an array of 1 to 1 items, got []"),
        ("prompt", ["a", "b"], 'an array of 1 to 1 items, got ["a", "b"]'),
        ("prompt[0]", [5], "a string of at least 1 characters, got 5"),
        ("echo", True, "echo: true is not supported, only false or null"),
        ("suffix", "x", 'suffix: "x" is not supported, only "" or null'),
        ("best_of", 2, "best_of: 2 is not supported, only 1 or null"),
        ("logprobs", 1, "logprobs: 1 is not supported, only false or null"),
    ],
}


ROWS = [
    pytest.param(path, row, id=f"{path} {row[0]} {row[1]!r:.30}")
    for path, table in TABLE.items()
    for row in table
]


@pytest.mark.parametrize(("path", "row"), ROWS)
async def test_field(client: aiohttp.ClientSession, desk: FakeDesk, path: str, row: Row) -> None:
    """A field out of bounds is refused by name, with what it holds and what it may hold."""
    field, value, words = row
    top = field.partition("[")[0].partition(".")[0]

    async with client.post(path, json=BODIES[path] | {top: value}) as answer:
        error = (await answer.json())["error"]

    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(f"{field}: ")
    assert words in error["message"]
    assert len(error["message"]) < 300
    assert path in {CLAUDE, COUNT} or error["param"] == field
    assert desk.asked == []


async def test_as_deep_as_allowed(client: aiohttp.ClientSession) -> None:
    """The deepest schema allowed is one level shallower than the one refused."""
    tools = [{"name": "f", "input_schema": nested(limits.MAX_JSON_DEPTH - 1)}]
    async with client.post(CLAUDE, json=BODIES[CLAUDE] | {"tools": tools}) as answer:
        assert answer.status == 200

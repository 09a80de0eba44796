"""Bad input, endpoint by endpoint: a 4xx that names the field, its value and its bound."""

import aiohttp
import pytest

from semantic_actors.domain import limits
from tests.api import bad_messages
from tests.api.fakes import BODIES, FakeDesk
from tests.api.openai_refusals import (
    CHAT_ROWS,
    DEEP,
    DEEP_WORDS,
    OPENAI_ROWS,
    TEXT_ROWS,
    Row,
    assistant,
    nested,
    user,
)

pytestmark = pytest.mark.asyncio

CLAUDE, COUNT, CHAT, TEXT, *_ = BODIES
NUL = {"type": "text", "text": "\\\0"}

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
    *bad_messages.BLOCKS,
    *bad_messages.ASKED,
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
        *bad_messages.OUTPUT,
    ],
    COUNT: ANTHROPIC,
    CHAT: [
        *[(name, value, words.format(or_null=" or null")) for name, value, words in MAX_TOKENS],
        *SAMPLING,
        *OPENAI_ROWS,
        *CONVERSATION,
        *CHAT_ROWS,
    ],
    TEXT: [
        *[(name, value, words.format(or_null=" or null")) for name, value, words in MAX_TOKENS],
        *SAMPLING,
        *OPENAI_ROWS,
        *TEXT_ROWS,
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
    assert len(error["message"]) < 600
    assert path in {CLAUDE, COUNT} or error["param"] == field
    assert desk.asked == []


async def test_as_deep_as_allowed(client: aiohttp.ClientSession) -> None:
    """The deepest schema allowed is one level shallower than the one refused."""
    tools = [{"name": "f", "input_schema": nested(limits.MAX_JSON_DEPTH - 1)}]
    async with client.post(CLAUDE, json=BODIES[CLAUDE] | {"tools": tools}) as answer:
        assert answer.status == 200

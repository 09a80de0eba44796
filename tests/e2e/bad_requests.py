"""Bad requests by the table: what is sent where, and what the refusal must say."""

import re
from typing import Any, NamedTuple

USER = {"role": "user", "content": "Count to 20."}
FORMAT = {"type": "json_schema"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "any", "max_tokens": 8, "messages": [USER]},
    "/v1/messages/count_tokens": {"model": "any", "messages": [USER]},
    "/v1/chat/completions": {"model": "any", "max_tokens": 8, "messages": [USER]},
    "/v1/completions": {"model": "any", "max_tokens": 8, "prompt": "1 2 3"},
    "/v1/responses": {"max_output_tokens": 8, "input": [USER]},
    "/v1/responses/input_tokens": {"input": [USER]},
}
"""A good body for every POST endpoint."""

MESSAGES, COUNT_TOKENS, CHAT, TEXT, RESPONSES, INPUT_TOKENS = BODIES
GENERATING = (MESSAGES, CHAT, TEXT)
OPENAI = (CHAT, TEXT)
SPOKEN = (MESSAGES, COUNT_TOKENS, CHAT)
ITEMISED = (RESPONSES, INPUT_TOKENS)


class Bad(NamedTuple):
    """A field that `paths` refuse for its value; `place` is where exactly, `bound` what may be."""

    paths: tuple[str, ...]
    field: str
    bound: str
    value: Any
    place: str


def _bad(paths: tuple[str, ...], field: str, bound: str, *values: Any) -> tuple[Bad, ...]:
    return tuple(Bad(paths, field, bound, value, field) for value in values)


def _inside(paths: tuple[str, ...], place: str, bound: str, value: Any) -> tuple[Bad, ...]:
    return (Bad(paths, re.split(r"[.\[]", place)[0], bound, value, place),)


def _nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"properties": value}
    return value


MAX_TOKENS = _bad(
    GENERATING,
    "max_tokens",
    "an integer >= 1 and <= 2147483647",
    *(0, -1, 2**31, 2**63, 2**64, 10**400, 1.5, "8", True, [8], {}),
)
NUMBERS = (
    *_bad(GENERATING, "temperature", ">= 0 and <= 2", *(-0.1, 2.1, 1e308, 10**400, "hot", True)),
    *_bad(GENERATING, "top_p", "> 0 and <= 1", 0, 1.01, -1, "all"),
    *_bad(GENERATING, "top_k", ">= 0 and <= 1000000", -1, 10**6 + 1, 2**63, 0.5),
    *_bad(OPENAI, "min_p", ">= 0 and <= 1", -0.1, 1.1),
    *_bad(OPENAI, "seed", f"<= {2**63 - 1}", 2**63, -(2**63), 2**64, 0.5, "x"),
    *_bad(OPENAI, "presence_penalty", ">= -2 and <= 2", -2.1, 2.1, "x"),
    *_bad(OPENAI, "frequency_penalty", ">= -2 and <= 2", -2.1, 2.1, "x"),
    *_bad(OPENAI, "repetition_penalty", ">= 0.01 and <= 10", 0, -1, 10.1, "x"),
    *_bad(OPENAI, "n", "an integer >= 1 and <= 16", *(0, -1, 17, 1.5, 2**31, 2**63, True, "2")),
    *_bad((CHAT,), "top_logprobs", ">= 0 and <= 20", *(-1, 21, 2**31, 2**63, 0.5, True)),
    *_bad((TEXT,), "logprobs", ">= 0 and <= 20", *(-1, 21, 2**31, 2**63, 0.5, True)),
    *_bad((TEXT,), "best_of", ">= 1 and <= 16", *(0, 17, 2**63, 0.5, True)),
)
LIMITS = (
    *_bad(GENERATING, "stream", "true or false", "yes", 1, []),
    *_bad(tuple(BODIES), "model", "a string of at least 1", 7, ""),
    *_bad((*GENERATING, COUNT_TOKENS), "model", "a string of at least 1", None),
    *_bad(OPENAI, "stop", "of 1 to 256 characters", 7, "", "x" * 257),
    *_bad(OPENAI, "stop", "at most 16 items", ["x"] * 17),
    *_bad((MESSAGES,), "stop_sequences", "at most 16 items", ["x"] * 17),
    *_inside((MESSAGES, COUNT_TOKENS), "thinking.type", "'adaptive'", {"type": "hard"}),
    *_inside(
        (MESSAGES, COUNT_TOKENS), "tool_choice.name", "offered", {"type": "tool", "name": "x"}
    ),
    *_inside((MESSAGES, COUNT_TOKENS), "tool_choice.type", "offered", {"type": "any"}),
    *_inside((MESSAGES,), "output_config.format.schema", "required", {"format": FORMAT}),
    *_inside((MESSAGES,), "stop_sequences[0]", "of 1 to 256", [""]),
    *_bad(OPENAI, "logit_bias", ">= -100 and <= 100", {"1": 100.1}, {"x": 1}, {"-1": 1}, "x"),
    *_bad((CHAT,), "top_logprobs", "without logprobs", 5),
    *_bad((TEXT,), "best_of", "only 1", 2),
    *_bad((MESSAGES,), "tools", "at most 1000 items", [{"name": "x", "input_schema": {}}] * 1001),
    *_bad((CHAT,), "tools", "at most 1000 items", [{"type": "function"}] * 1001),
    *_bad((TEXT,), "prompt", "a string of at least 1", 7, "", [], {}, None),
    *_bad((TEXT,), "prompt", "at most 16 prompts", ["a"] * 17, [[1]] * 17),
    *_bad((TEXT,), "prompt", "only token ids", ["a", 1], [1, [1]]),
    *_inside((TEXT,), "prompt[0]", "an integer >= 0", [-1]),
    *_inside((TEXT,), "prompt[0][1]", "an integer >= 0 and <= 2147483647", [[1, 2**31]]),
    *_bad((TEXT,), "suffix", "is not supported", "x"),
)
WISHES = (
    *_bad((CHAT,), "functions", "tools took its place", [{"name": "f"}]),
    *_bad((CHAT,), "function_call", "tool_choice took its place", "auto"),
    *_inside((CHAT,), "tools[0].type", "function", [{"type": "custom", "custom": {"name": "x"}}]),
    *_inside((CHAT,), "tools[0].function", "required", [{"type": "function"}]),
    *_bad((CHAT,), "tool_choice", "without tools", "required"),
    *_inside(
        (CHAT,),
        "tool_choice.function.name",
        "the name of a tool",
        {"type": "function", "function": {"name": "rm"}},
    ),
    *_inside((CHAT,), "response_format.type", "'json_schema'", {"type": "regex"}),
    *_inside((CHAT,), "response_format.json_schema", "required", {"type": "json_schema"}),
    *_inside(
        (CHAT,),
        "response_format.json_schema.schema",
        "levels of nesting",
        {"type": "json_schema", "json_schema": {"name": "n", "schema": _nested(300)}},
    ),
    *_bad((CHAT,), "web_search_options", "is not supported", {}),
    *_inside((CHAT,), "modalities[0]", "'text'", ["audio"]),
    *_bad((CHAT,), "reasoning_effort", "'none'", "utmost", 7),
    *(
        bad
        for url in ("http://127.0.0.1:1/a.png", "file:///etc/passwd", "https://[::1]/", "\\\\h\\s")
        for bad in _inside(
            (CHAT,),
            "messages[0].content[0]",
            "all that the model reads",
            [USER | {"content": [{"type": "image_url", "image_url": {"url": url}}]}],
        )
    ),
)
PLACES = (
    "http://127.0.0.1:1/x.png",
    "https://[::1]/",
    "file:///etc/passwd",
    "\\\\host\\share",
    "ftp://evil.test/",
)
"""Where a picture could be fetched; nobody does."""

CONVERSATIONS = (
    *_bad(SPOKEN, "messages", "an array of 1 to 10000 items", [], "hi", 7, [USER] * 10_001),
    *_inside(SPOKEN, "messages[0].role", "'user'", [{"role": "wizard", "content": "x"}]),
    *_inside(SPOKEN, "messages[1].role", "'user'", [USER, {"role": 7, "content": "x"}]),
    *_inside(SPOKEN, "messages[1]", "an object", [USER, 7]),
    *_inside(SPOKEN, "messages[0].content", "required", [{"role": "user"}]),
    *_inside(SPOKEN, "messages[0].role", "required", [{"content": "x"}]),
    *_inside(SPOKEN, "messages[0].content", "a string", [USER | {"content": 7}]),
    *_inside(SPOKEN, "messages[0].content", "text", [USER | {"content": "a\0b"}]),
    *_inside(
        SPOKEN,
        "messages[0].content[0].type",
        "'text'",
        [USER | {"content": [{"type": "hologram"}]}],
    ),
    *(
        bad
        for place in PLACES
        for bad in _inside(
            (MESSAGES, COUNT_TOKENS),
            "messages[0].content[0]",
            "text, which is all that the model reads",
            [USER | {"content": [{"type": "image", "source": {"type": "url", "url": place}}]}],
        )
    ),
)
ITEMS = (
    *_bad(ITEMISED, "input", "a string or an array", *(7, {}, True)),
    *_bad(ITEMISED, "input", "at most 10000 items", [USER] * 10_001),
    *_bad(ITEMISED, "input", "at least 1 items", []),
    *_inside(ITEMISED, "input[1]", "an object", [USER, 7]),
    *_inside(ITEMISED, "input[0].role", "'user'", [{"role": "wizard", "content": "x"}]),
    *_inside(ITEMISED, "input[0].content", "text", [USER | {"content": "a\0b"}]),
    *_inside(ITEMISED, "input[0].type", "'message'", [{"type": "hologram"}]),
    *(
        bad
        for url in ("http://127.0.0.1:1/", "file:///etc/passwd", "\\\\host\\x", "http://[::1]/")
        for bad in _inside(
            ITEMISED,
            "input[0].content[0]",
            "text",
            [USER | {"content": [{"type": "input_image", "image_url": url}]}],
        )
    ),
    *_bad(ITEMISED, "previous_response_id", "a string", 7, ["resp_"]),
    *_bad(
        (RESPONSES,), "max_output_tokens", "an integer >= 1", *(0, -1, 2**31, 2**63, 1.5, "8", True)
    ),
    *_bad((RESPONSES,), "temperature", ">= 0 and <= 2", -0.1, 2.1, "hot"),
    *_bad((RESPONSES,), "top_logprobs", ">= 0 and <= 20", -1, 21, 2**63, 0.5),
    *_bad((RESPONSES,), "background", "only false", *(True,)),
    *_bad(ITEMISED, "tools", "at most 1000 items", [{"type": "function", "name": "x"}] * 1_001),
    *_bad(ITEMISED, "instructions", "a string", 7, []),
)
BROKEN: tuple[tuple[int, bytes], ...] = (
    (400, b""),
    (400, b"hello"),
    (400, b'{"model": "any", "messages": [{"role": "us'),
    (400, b'{"model": "\xff\xfe"}'),
    (400, b'{"model": "\\ud800"}'),
    (400, b"[1, 2, 3]"),
    (400, b'{"model": "any", "messages": ' + b"[" * 100_000),
    (400, b'{"model": "any", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    (400, b'{"messages":' * 100_000 + b"1" + b"}" * 100_000),
    (400, b'{"model": ' + b"9" * 5_000 + b"}"),
    (400, b'{"x": [' + b"[]," * 2_500_000 + b"1]}"),
    (400, b'{"x": [' + b"1," * 4_000_000 + b"1]}"),
    (400, b'{"model": 7, "model": "any", "x": "\\u0000"}'),
    (413, b'{"model": "' + b"x" * 10 * 2**20 + b'"}'),
)
"""Bodies that are no document, and their statuses; nesting also in a field that nobody reads."""

IDS = (
    "resp_",
    "resp_" + "0" * 24,
    "resp_" + "0" * 7_000,
    "resp_..%2F..%2Fetc",
    "resp_%2E%2E",
    "resp_%00",
    "resp_%FF%FE",
    "resp_%D0%B0" + "0" * 23,
    "..%2F..%2Fsecret",
    "%2Fetc%2Fpasswd",
)
"""Responses that are not there, as they stand in a path."""

HEADS: tuple[tuple[int, str, str], ...] = (
    (415, "Content-Type", "text/plain"),
    (415, "Content-Type", "application/x-www-form-urlencoded"),
    (415, "Content-Encoding", "gzip"),
    (403, "Host", "evil.test"),
    (403, "Host", "127.0.0.1.evil.test"),
    (403, "Host", "127.0.0.1:1"),
    (403, "Origin", "https://evil.test"),
    (403, "Origin", "null"),
    (400, "X-Session-Id", "x" * 513),
)
"""Headers, and the statuses of their refusals."""

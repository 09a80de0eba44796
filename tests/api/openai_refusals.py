"""What OpenAI's endpoints refuse: a field, its value, and words that the refusal has."""

import json
from typing import Any

from semantic_actors.domain import limits

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

ATTACHMENTS: dict[str, list[dict[str, Any]]] = {
    "image": [
        {"type": "image_url", "image_url": {"url": url}}
        for url in (
            "http://127.0.0.1:1/x.png",
            "file:///etc/passwd",
            "\\\\host\\share",
            "https://[::1]/",
            "data:image/png;base64,AA==",
        )
    ],
    "audio": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}],
    "file": [{"type": "file", "file": {"file_id": "../../etc/passwd"}}],
}
PROMPTS = "an array of 1 to 524288 items"


def schema(**fields: Any) -> dict[str, Any]:
    """Ask for JSON by a schema."""
    return {"type": "json_schema", "json_schema": fields}


BIASES = "at most 1024 members, each from an integer >= 0 to a number >= -100 and <= 100"
OPENAI_ROWS: list[Row] = [
    ("seed", 2**63, f"an integer >= -{2**63 - 1} and <= {2**63 - 1} or null, got {2**63}"),
    ("seed", -(2**63), f"an integer >= -{2**63 - 1} and <= {2**63 - 1} or null, got -{2**63}"),
    ("seed", 10**30, f"an integer >= -{2**63 - 1} and <= {2**63 - 1} or null, got 1000"),
    ("min_p", 2, "a number >= 0 and <= 1 or null, got 2"),
    ("stop", 5, "a string of 1 to 256 characters or an array of at most 16 items or null, got 5"),
    ("stop", "", 'a string of 1 to 256 characters or an array of at most 16 items or null, got ""'),
    ("stop", ["a"] * 17, "an array of at most 16 items or null, got ["),
    ("stop[1]", ["a", "b" * 257], 'a string of 1 to 256 characters, got "bbb'),
    ("n", 0, "an integer >= 1 and <= 16 or null, got 0"),
    ("n", -1, "an integer >= 1 and <= 16 or null, got -1"),
    ("n", 17, "an integer >= 1 and <= 16 or null, got 17"),
    ("n", 2**63, "an integer >= 1 and <= 16 or null, got 9223372036854775808"),
    ("n", 1.5, "an integer >= 1 and <= 16 or null, got 1.5"),
    ("n", True, "an integer >= 1 and <= 16 or null, got true"),
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
CHAT_ROWS: list[Row] = [
    ("max_completion_tokens", 0, "an integer >= 1 and <= 2147483647 or null, got 0"),
    ("messages[0].role", [{"role": "robot", "content": ""}], "'tool', got \"robot\""),
    (
        "messages[0].content[1].type",
        user(IMAGE),
        "one of 'text', 'refusal', 'image_url', 'input_audio', 'file', got \"image\"",
    ),
    *[
        ("messages[0].content[0]", user([part]), f"all that the model reads, got {kind}")
        for kind, parts in ATTACHMENTS.items()
        for part in parts
    ],
    ("messages[0].role", [{"role": "function", "name": "f", "content": ""}], 'got "function"'),
    (
        "messages[0].function_call",
        assistant(None, function_call={"name": "f", "arguments": "{}"}),
        "is not supported, tool_calls took its place",
    ),
    ("messages[0].reasoning_content", assistant("", reasoning_content=5), "a string or null"),
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
    (
        "tools[0].function.name",
        [{"type": "function", "function": {}}],
        "tools[0].function.name: required, but missing",
    ),
    ("tools[0].function", [{"type": "function"}], "tools[0].function: required, but missing"),
    ("tools[0].type", [{"type": "custom", "custom": {"name": "x"}}], 'function, got "custom"'),
    ("tool_choice", "always", "one of 'auto', 'none', 'required' or an object or null, got"),
    ("tool_choice", "required", 'expected none or auto without tools, got "required"'),
    (
        "tool_choice.type",
        {"type": "custom", "custom": {"name": "x"}},
        "one of 'function', 'allowed_tools', got \"custom\"",
    ),
    ("tool_choice.function", {"type": "function"}, "required, but missing"),
    (
        "tool_choice.function.name",
        {"type": "function", "function": {"name": "rm"}},
        'the name of a tool in tools, got "rm"',
    ),
    ("parallel_tool_calls", 1, "true or false or null, got 1"),
    ("logprobs", 1, "true or false or null, got 1"),
    ("top_logprobs", 21, "an integer >= 0 and <= 20 or null, got 21"),
    ("top_logprobs", -1, "an integer >= 0 and <= 20 or null, got -1"),
    ("top_logprobs", 3, "0 or null without logprobs, got 3"),
    ("functions", [{}], "functions: [{}] is not supported, tools took its place"),
    ("function_call", "auto", 'function_call: "auto" is not supported, tool_choice took its place'),
    (
        "response_format.type",
        {"type": "regex"},
        "one of 'text', 'json_object', 'json_schema', got \"regex\"",
    ),
    ("response_format.json_schema", {"type": "json_schema"}, "required, but missing"),
    ("response_format.json_schema.name", schema(schema={}), "required, but missing"),
    ("response_format.json_schema.name", schema(name=""), "a string of at least 1 characters"),
    ("response_format.json_schema.schema", schema(name="a", schema=[]), "an object or null"),
    ("response_format.json_schema.schema", schema(name="a", schema=DEEP), DEEP_WORDS),
    ("reasoning_effort", "utmost", "'none', 'xhigh' or null, got \"utmost\""),
    (
        "chat_template_kwargs.enable_thinking",
        {"enable_thinking": "no"},
        "true or false or null",
    ),
    ("modalities[1]", ["text", "audio"], "one of 'text', got \"audio\""),
    ("modalities", [], "an array of at least 1 items or null, got []"),
    ("audio", {"voice": "a"}, 'audio: {"voice":"a"} is not supported, only null'),
    ("web_search_options", {}, "web_search_options: {} is not supported, only null"),
]
"""What chat completions refuse beside what all OpenAI endpoints do."""

TEXT_ROWS: list[Row] = [
    ("prompt", "", f"a string of at least 1 characters or {PROMPTS}, got"),
    ("prompt", [], f"a string of at least 1 characters or {PROMPTS}, got []"),
    ("prompt", 5, f"a string of at least 1 characters or {PROMPTS}, got 5"),
    ("prompt", ["a"] * 17, "at most 16 prompts with n 1, for 16 answers, got ["),
    ("prompt", [[1]] * 17, "at most 16 prompts with n 1, for 16 answers, got ["),
    ("prompt", ["a", 1], "only arrays of token ids, got ["),
    ("prompt", [1, [1]], "only arrays of token ids, got ["),
    ("prompt[0]", [-1], "an integer >= 0 and <= 2147483647 or an array of 1 to"),
    ("prompt[0]", [2**31], "an integer >= 0 and <= 2147483647 or an array of 1 to"),
    ("prompt[0]", [1.5], "or an array of 1 to 524288 items, got 1.5"),
    ("prompt[1]", ["a", ""], "a string of at least 1 characters or an integer"),
    ("prompt[0][1]", [[1, "a"]], 'an integer >= 0 and <= 2147483647, got "a"'),
    ("prompt[1]", [[1], []], "or an array of 1 to 524288 items, got []"),
    ("suffix", "x", 'suffix: "x" is not supported, only "" or null'),
    ("best_of", 2, "best_of: 2 is not supported, only 1 or null"),
    ("best_of", 17, "an integer >= 1 and <= 16 or null, got 17"),
    ("logprobs", 21, "an integer >= 0 and <= 20 or null, got 21"),
    ("logprobs", True, "an integer >= 0 and <= 20 or null, got true"),
]
"""What text completions refuse beside it."""

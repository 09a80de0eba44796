"""Fields of Messages requests that are refused: the field, what it holds, what the refusal says."""

from tests.api.asked import assistant, result, system, text, user
from tests.api.openai_refusals import DEEP, DEEP_WORDS, Row

HOLOGRAM = {"type": "hologram"}
IMAGE = {"type": "image", "source": {"type": "url", "url": "http://x/"}}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
UNREADABLE = "expected text, which is all that the model reads, got image"
INLINE = {"type": "tool_definition", "definition": {"name": "f"}}
SCHEMA = {"type": "json_schema", "schema": {}}

BLOCKS: list[Row] = [
    ("messages[0].content[0].type", [user(HOLOGRAM)], "'tool_result', got \"hologram\""),
    ("messages[0].content[0].type", [system(HOLOGRAM)], "'tool_removal', got \"hologram\""),
    ("messages[0].content[0].type", [assistant(HOLOGRAM)], "'fallback', got \"hologram\""),
    ("messages[0].content[0].type", [user(USE)], "'tool_result', got \"tool_use\""),
    ("messages[0].content[0].type", [system(IMAGE)], "'tool_removal', got \"image\""),
    ("messages[0].content[0].type", [assistant(result("t"))], "'fallback', got \"tool_result\""),
    ("messages[0].content[0].type", [user({"text": "a"})], "required, but missing"),
    ("messages[0].content[1]", [user(text("a"), IMAGE)], UNREADABLE),
    ("messages[0].content[0].content[1]", [user(result("t", [text("a"), IMAGE]))], UNREADABLE),
    ("messages[0].content[0].source", [user({"type": "document"})], "required, but missing"),
    (
        "messages[0].content[0].source.type",
        [user({"type": "document", "source": {"type": "tape"}})],
        "one of 'text', 'content', 'base64', 'url', 'file', got \"tape\"",
    ),
    (
        "messages[0].content[0].content[0].type",
        [user(result("t", [HOLOGRAM]))],
        "'tool_reference', 'browser_state', got \"hologram\"",
    ),
    ("messages[0].content[0].content", [user(result("t", 7))], "a string or an array or null, got"),
    ("messages[0].content[0].is_error", [user(result("t", is_error=1))], "true or false or null"),
    ("messages[0].content[0].tool_use_id", [user({"type": "tool_result"})], "but missing"),
    (
        "messages[0].content[0].content",
        [assistant({"type": "mcp_tool_result", "tool_use_id": "t", "content": DEEP})],
        DEEP_WORDS,
    ),
    (
        "messages[0].content[0].input",
        [assistant(USE | {"type": "server_tool_use", "input": DEEP})],
        DEEP_WORDS,
    ),
    (
        "messages[0].content[0].content[0].tabs",
        [user(result("t", [{"type": "browser_state", "tabs": [DEEP]}]))],
        DEEP_WORDS,
    ),
    (
        "messages[0].clear_at",
        [system(clear_at="noon")],
        "'next_user_message' or null, got \"noon\"",
    ),
    (
        "messages[0].content[0].tool.definition.input_schema",
        [system({"type": "tool_addition", "tool": INLINE})],
        "required, but missing",
    ),
]
ASKED: list[Row] = [
    ("tools[1].name", [{"name": "f", "input_schema": {}}] * 2, "that no other tool has, got f"),
    ("tool_choice.type", {"type": "all"}, "'tool', 'none', got \"all\""),
    ("tool_choice.type", {"type": "any"}, "an offered tool, got 'any'"),
    ("tool_choice.name", {"type": "tool", "name": "f"}, "an offered tool, got 'f'"),
    ("tool_choice.name", {"type": "tool"}, "tool_choice.name: required, but missing"),
    ("thinking.type", {"type": "hard"}, "'disabled', 'enabled', got \"hard\""),
    ("thinking.type", {}, "thinking.type: required, but missing"),
    ("thread", {"type": "continue"}, "send the whole conversation in messages"),
]
OUTPUT: list[Row] = [
    ("output_config.format.type", {"format": {"type": "xml", "schema": {}}}, "'json_schema', got"),
    ("output_config.format.schema", {"format": {"type": "json_schema"}}, "required, but missing"),
    ("output_config.format.schema", {"format": SCHEMA | {"schema": DEEP}}, DEEP_WORDS),
    ("output_format.schema", SCHEMA | {"schema": True}, "an object, got true"),
]

"""Tools to be called, and what answers to them are made of."""

import json
from typing import Any

from semantic_actors.domain.request import Generation, ToolCall, ToolChoice, ToolSpec
from semantic_actors.domain.stream import TextDelta, ToolCalled
from semantic_actors.text import Codec
from semantic_actors.text.output import Piece
from tests.text import schemas

FLAG = json.dumps(
    {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
)
LOOK = ToolSpec(
    "look",
    None,
    {
        "type": "object",
        "properties": {"at": {"type": "string", "maxLength": 9}, "n": {"enum": [1, 2]}},
        "required": ["at"],
        "additionalProperties": False,
    },
)
LOOKS = ToolSpec(
    "look_around",
    None,
    {"properties": {"far": {"type": "boolean"}}, "additionalProperties": False},
)
ODD = ToolSpec(
    "odd",
    None,
    {
        "type": "object",
        "properties": {"x": {"not": {"type": "null"}}, "y": {"type": "boolean"}},
        "required": ["y"],
        "additionalProperties": False,
    },
)
TOOLS = (LOOK, LOOKS)
ONE = ToolChoice("required", parallel=False)

MISTRAL = """\
{%- for message in messages %}{{- '[INST] ' + message.content + '[/INST]' }}
{%- for tool_call in message.tool_calls or [] %}{%- set f = tool_call.function %}
{{- '[TOOL_CALLS]' + f.name + '[ARGS]' + (f.arguments | tojson) }}{%- endfor %}{%- endfor %}"""
CODER = """\
{%- for message in messages %}{{- message.content }}
{%- for tool_call in message.tool_calls or [] %}{%- set f = tool_call.function %}
{{- '<tool_call>\\n<function=' + f.name + '>\\n' }}
{%- for key, value in f.arguments | items %}
{{- '<parameter=' + key + '>\\n' + value | string + '\\n</parameter>\\n' }}{%- endfor %}
{{- '</function>\\n</tool_call>' }}{%- endfor %}{%- endfor %}"""


def pieces(codec: Codec, asked: Generation, answer: list[int], *, thinking: bool = False) -> Any:
    """Decode an answer as its session would; return its thoughts, text, calls and fragments."""
    decoder = codec.decoder(asked, thinking=thinking, guided=True)
    found: list[Piece] = [piece for token in answer for piece in decoder.push(token)]
    found += decoder.close()
    return found


def said(found: list[Piece]) -> str:
    """Join the text."""
    return "".join(piece.text for piece in found if isinstance(piece, TextDelta))


def called(found: list[Piece]) -> list[ToolCall]:
    """Pick the calls."""
    return [piece.call for piece in found if isinstance(piece, ToolCalled)]


def check(call: ToolCall) -> None:
    """Hold a call to the schema of its tool."""
    schema = {"required": [], **next(t for t in TOOLS if t.name == call.name).parameters}
    assert schemas.holds(json.loads(call.arguments), {"type": "object", **schema})


def control(codec: Codec, spelled: str) -> int:
    """Return the control token that is spelled like this."""
    return next(id_ for id_, text in codec._vocabulary.controls.items() if text == spelled)

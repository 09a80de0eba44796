"""Tools for models whose template knows of none, or whose way to call them is not known.

Models of many families were taught to write a call as JSON between `<tool_call>` tags. Where the
template shows no tools, the system message tells of them and of that notation, and calls and their
results are told in it, so that an agent works with any model. The tools are told at the beginning,
where they would stand in a template: what comes later never moves.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import msgspec

from semantic_actors.domain.request import ChatMessage
from semantic_actors.text.dialects import Line, Lines
from semantic_actors.text.tool_calls import Notation, Spelling, arguments_of

HERMES = Notation(
    "<tool_call>",
    "</tool_call>",
    lambda body, _: json.loads(body),
    Spelling('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", "\n"),
    bare=True,
)

_TOLD = """\
You can use tools. Each line is one, with a JSON schema of its arguments:
<tools>
{tools}
</tools>

To use one, write its name and its arguments as JSON between tags, and nothing behind them:
<tool_call>
{{"name": "the name", "arguments": {{"an argument": "its value"}}}}
</tool_call>

Several can be used at once, each between tags of its own. Their results come to you between
<tool_response> and </tool_response>."""


def tools_told(lines: Lines, tools: list[dict[str, Any]]) -> Lines:
    """Have the system tell of the tools at the beginning."""
    listed = "\n".join(map(_json, tools))
    words = _TOLD.format(tools=listed)
    if lines and lines[0].message.role == "system":
        words, lines = f"{lines[0].message.content}\n\n{words}", lines[1:]
    return (Line(ChatMessage("system", words)), *lines)


def calls_told(lines: Lines) -> Lines:
    """Say calls and their results in text."""
    return tuple(_in_text(lines))


def _in_text(lines: Lines) -> Iterator[Line]:
    for is_result, run in groupby(lines, lambda line: line.message.role == "tool"):
        if is_result:
            results = (f"<tool_response>\n{one.message.content}\n</tool_response>" for one in run)
            yield Line(ChatMessage("user", "\n".join(results)))
        else:
            yield from map(_called, run)


def _called(line: Line) -> Line:
    message = line.message
    if not message.tool_calls:
        return line
    calls = (
        f"<tool_call>\n{_json({'name': call.name, 'arguments': arguments_of(call)})}\n</tool_call>"
        for call in message.tool_calls
    )
    said = (message.content,) if message.content.strip() else ()
    content = "\n".join((*said, *calls))
    return Line(msgspec.structs.replace(message, content=content, tool_calls=()), line.slot)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)

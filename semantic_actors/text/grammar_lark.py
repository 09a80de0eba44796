"""Grammars as their compiler reads them: Lark, with schemas and ids of tokens in it."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from semantic_actors.text.grammar_schema import JsonObject
from semantic_actors.text.tool_calls import Spelling

# Without `no_forcing` text that leaves no choice would have to be one run of tokens, which the
# compiler cuts by asking the tokenizer: it would find control tokens in it.
_HEAD: Final = '%llguidance {"no_forcing": true}\n'

Literal = Callable[[str], str]
"""Writes text down, control tokens as tokens and all else as text."""


class Tool(msgspec.Struct, frozen=True):
    """A tool that may be called: its name, and the admitted schema of its arguments."""

    name: str
    schema: JsonObject


class Calls(msgspec.Struct, frozen=True):
    """Calls of tools in the model's notation: one, or any number from one on."""

    spelling: Spelling
    tools: Sequence[Tool]
    several: bool


def answer(
    literal: Literal, *, schema: JsonObject | None, calls: Calls | None, marks: Iterable[str]
) -> str:
    """Return the grammar of a whole answer: a JSON value, calls, or one of the marks."""
    ways = [f"( {literal(mark)} )" for mark in marks]
    lines = []
    if schema is not None:
        ways.append("value")
        lines.append(f"value: %json {json.dumps(schema)}")
    if calls is not None:
        ways.append("calls")
        lines += _calls(literal, calls, calls.spelling.opening)
    return _HEAD + f"start: {' | '.join(ways)}\n" + "\n".join(lines) + "\n"


def after_start(literal: Literal, calls: Calls, start: str) -> str:
    """Return the grammar of calls of which the notation's start has been written already."""
    lines = _calls(literal, calls, calls.spelling.opening.removeprefix(start))
    return _HEAD + "start: calls\n" + "\n".join(lines) + "\n"


def arguments(tool: Tool) -> str:
    """Return the grammar of the arguments of one tool alone, to try it."""
    return f"{_HEAD}start: %json {json.dumps(tool.schema)}\n"


def quoted(text: str) -> str:
    """Write text down; no text is nothing."""
    return json.dumps(text) if text else ""


def _calls(literal: Literal, calls: Calls, opening: str) -> list[str]:
    """Return the rules of calls, the first of which is opened by `opening`."""
    spelling = calls.spelling
    more = f" ( {literal(spelling.separator + spelling.opening)} body )*" if calls.several else ""
    lines = [f"calls: {literal(opening)} body{more}"]
    bodies = [f"tool{index}" for index in range(len(calls.tools))]
    lines.append(f"body: ( {' | '.join(bodies)} ) {literal(spelling.closing)}")
    for body, tool in zip(bodies, calls.tools, strict=True):
        name = _named(spelling, tool.name)
        between = literal(spelling.between)
        lines.append(f"{body}: {name} {between} %json {json.dumps(tool.schema)}")
    return lines


def _named(spelling: Spelling, name: str) -> str:
    """Write a name as it stands in a call, as text: it is the client's, whatever it spells.

    It is escaped where it stands in a JSON string.
    """
    quoted = json.dumps(name, ensure_ascii=False)
    return json.dumps(quoted[1:-1] if spelling.opening.endswith('"') else name)

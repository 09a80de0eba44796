"""How a model's own template writes calls, learned from what it makes of invented ones.

Nothing is known of any template here: names and arguments that occur nowhere else are rendered,
found again, and what stands around them is how a call is spelled. A spelling is kept only if calls
that are written in it are read back as what they are.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from semantic_actors.domain.errors import Rejected
from semantic_actors.domain.request import ChatMessage, ChatPrompt, ToolCall, ToolSpec
from semantic_actors.domain.stream import TextDelta, ToolCalled
from semantic_actors.text.openings import common_prefix
from semantic_actors.text.splitter import Splitter
from semantic_actors.text.template import as_it_is, tool_dicts
from semantic_actors.text.tool_calls import CallReader, Notation, Spelling

_NAMES = ("qvuzkay", "wojfixe")
_KEY, _VALUE = "zubkiv", "hyqoxam"
_ARGUMENTS = json.dumps({_KEY: _VALUE})
_OBJECT = re.compile(rf'\{{\s*"{_KEY}"\s*:\s*"{_VALUE}"\s*\}}')
_IDS = ("ykjquwzx1", "xzwuqjky2")

_OTHERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("look", {}),
    ("get_weather-2", {"city": 'S\u00e3o "Paulo"\n', "days": [1, 2.5, None], "in": {"a": [{}]}}),
)
"""Calls to try a spelling on, of other names and other arguments than it was learned from."""


def learn_spelling(notation: Notation, render: Callable[[ChatPrompt], str]) -> Spelling | None:
    """Return how calls are spelled where `render` shows them; None if that cannot be told.

    It cannot where arguments are not JSON, or where the id of a call is a part of it.
    """
    try:
        one, two = (render(_conversation(calls)) for calls in (1, 2))
    except Rejected:
        return None
    spelling = _told(notation, one, two)
    return spelling if spelling is not None and _readable(notation, spelling) else None


def _conversation(calls: int) -> ChatPrompt:
    """Return a conversation in which the assistant makes so many calls at once."""
    made = zip(_IDS[:calls], _NAMES, strict=False)
    called = tuple(ToolCall(id_, name, _ARGUMENTS) for id_, name in made)
    results = tuple(ChatMessage("tool", "1", tool_call_id=call.id) for call in called)
    messages = (ChatMessage("user", "a"), ChatMessage("assistant", "", called), *results)
    return ChatPrompt(messages, tuple(map(ToolSpec, _NAMES)))


def _told(notation: Notation, one: str, two: str) -> Spelling | None:
    """Read the spelling off renderings of one call and of two."""
    found = [*_OBJECT.finditer(one), *_OBJECT.finditer(two)]
    if len(found) != 1 + len(_NAMES):
        return None
    call, first, second = found
    named = one.rfind(_NAMES[0], 0, call.start())
    again = two.rfind(_NAMES[1], first.end(), second.start())
    start = one.rfind(notation.start, 0, max(named, 0))
    if min(named, again, start) < 0:
        return None
    opening, between = one[start:named], one[named + len(_NAMES[0]) : call.start()]
    behind, amid = one[call.end() :], two[first.end() : again]
    closing = _closing(notation, behind, amid.removesuffix(opening))
    gap = amid.removeprefix(closing)
    separator = gap.removesuffix(opening) if gap.endswith(opening) else ""
    return Spelling(opening, between, closing, separator)


def _closing(notation: Notation, behind: str, amid: str) -> str:
    """Return what ends a call: all that follows the last one and the one before it alike.

    Up to the end that the notation has, if it has one.
    """
    if notation.end:
        closed, end, _ = behind.partition(notation.end)
        return closed + end
    return common_prefix((behind, amid))


def _readable(notation: Notation, spelling: Spelling) -> bool:
    """Whether one call in this spelling, and two, are read as what they are and nothing else."""
    if any(id_ in part for id_ in _IDS for part in msgspec.structs.astuple(spelling)):
        return False
    tools = tool_dicts(tuple(ToolSpec(name) for name, _ in _OTHERS), as_it_is)
    written = [_written(spelling, name, arguments) for name, arguments in _OTHERS]
    return all(
        _read(notation, tools, spelling.separator.join(written[:calls])) == [*_OTHERS[:calls]]
        for calls in (1, 2)
    )


def _written(spelling: Spelling, name: str, arguments: dict[str, Any]) -> str:
    text = json.dumps(arguments, ensure_ascii=False)
    return f"{spelling.opening}{name}{spelling.between}{text}{spelling.closing}"


def _read(notation: Notation, tools: list[dict[str, Any]], text: str) -> list[object]:
    """Return the calls in a text, and what else is in it."""
    splitter = Splitter(calls=CallReader(notation, tools))
    return [
        (part.call.name, json.loads(part.call.arguments)) if isinstance(part, ToolCalled) else part
        for part in (*splitter.push(text), *splitter.close())
        if isinstance(part, ToolCalled | TextDelta)
    ]

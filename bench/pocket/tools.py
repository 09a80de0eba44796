"""Tool definitions, asks and results: a closed list used by the evaluation, and a wide variety."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import words
from chance import happens, one_of
from words import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

VERBS = listed(
    "get set find list read send make open search check create delete update lookup fetch add "
    "run start stop show write play book roll"
)
OBJECTS = listed(
    "weather time file files mail note notes user price stock news event task song map route "
    "code page item order ticket room light alarm door photo table dice timer"
)
ARGUMENTS = listed(
    "city name path query user date unit id text title count limit color code key room place "
    "day lang file url topic item minutes sides guests amount to degrees"
)
TOOL_WORDS = listed(
    "sunny cloudy rainy windy warm cold open closed done failed found missing ready empty "
    "full fast slow high low hello world music report status invoice letter main notes readme "
    "config data json txt md py meters miles celsius kitchen bedroom garage office temp "
    "result value error ok monday tuesday wednesday thursday friday saturday sunday"
)

PATHS = ["notes.txt", "readme.md", "main.py", "config.json", "data.txt", "report.md", "status.json"]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
ROOMS = ["kitchen", "bedroom", "garage", "office", "garden", "hotel"]
THINGS = ["apple", "banana", "coffee", "tea", "bread", "pizza", "piano", "guitar", "lemon", "milk"]
TOPICS = ["music", "chess", "report", "status", "invoice", "letter", "weather", "news"]

Arguments = dict[str, str | int]


@dataclass(frozen=True)
class ClosedTool:
    """A tool of the closed list: its arguments with the values the evaluation uses."""

    name: str
    description: str
    arguments: dict[str, Sequence[str | int]]
    natural: str = ""  # a question that needs the tool without naming it


CLOSED = (
    ClosedTool(
        "get_weather",
        "Weather of a city.",
        {"city": words.CITIES},
        "What is the weather in {city}?",
    ),
    ClosedTool(
        "get_time",
        "The local time in a city.",
        {"city": words.CITIES},
        "What time is it in {city}?",
    ),
    ClosedTool("read_file", "Read a file.", {"path": PATHS}),
    ClosedTool("search_notes", "Search the notes.", {"query": TOPICS}),
    ClosedTool("send_mail", "Send a mail to a user.", {"to": words.FIRST_NAMES, "title": TOPICS}),
    ClosedTool("set_timer", "Start a timer.", {"minutes": range(1, 100)}),
    ClosedTool("roll_dice", "Roll dice.", {"count": range(1, 10), "sides": range(2, 100)}),
    ClosedTool(
        "get_price",
        "Price of an item.",
        {"item": THINGS},
        "What is the price of {item}?",
    ),
    ClosedTool("open_door", "Open the door of a room.", {"room": ROOMS}),
    ClosedTool("book_table", "Book a table.", {"day": DAYS, "guests": range(1, 20)}),
    ClosedTool("lookup", "Look up a key.", {"key": words.NATO}),
    ClosedTool("add", "Add two numbers.", {"a": range(100), "b": range(100)}),
    ClosedTool(
        "set_light", "Set the color of a light.", {"room": ROOMS, "color": ["red", "blue", "green"]}
    ),
    ClosedTool("list_files", "List all files.", {}),
)


@dataclass(frozen=True)
class Tool:
    """A tool offered in one dialogue: its JSON definition and how to invent arguments for it."""

    name: str
    definition: dict[str, Any]
    closed: ClosedTool | None
    types: dict[str, str]


@cache
def closed_words() -> list[str]:
    """Every word of the closed list: each needs one token with and one without a leading space."""
    found = set(VERBS + OBJECTS + ARGUMENTS + TOOL_WORDS)
    for tool in CLOSED:
        found.update(tool.name.split("_"))
        for values in tool.arguments.values():
            found.update(
                part for value in values if isinstance(value, str) for part in value.split(".")
            )
    return sorted(found)


def _description(rng: Random, usual: str) -> str:
    return one_of(
        rng,
        (60, lambda: usual),
        (20, lambda: words.some_words(rng, rng.randint(2, 8)).capitalize() + "."),
        (20, lambda: words.prose(rng, rng.randint(3, 20))),
    )


def _definition(rng: Random, name: str, description: str, types: dict[str, str]) -> dict[str, Any]:
    """An OpenAI-style definition, with the optional parts that clients do or do not send."""
    properties: dict[str, Any] = {}
    for argument, kind in types.items():
        properties[argument] = {"type": kind}
        if happens(rng, 0.15):
            properties[argument]["description"] = _description(rng, f"The {argument}.")
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if happens(rng, 0.6):
        parameters["required"] = list(types)
    if happens(rng, 0.1):
        parameters["additionalProperties"] = False
    function: dict[str, Any] = {"name": name}
    if happens(rng, 0.75):
        function["description"] = _description(rng, description)
    function["parameters"] = parameters
    definition: dict[str, Any] = {"type": "function", "function": function}
    if happens(rng, 0.25):  # a server may render definitions canonically, keys sorted
        definition = json.loads(json.dumps(definition, sort_keys=True))
    return definition


def closed_tool(rng: Random, tool: ClosedTool | None = None) -> Tool:
    """A tool of the closed list."""
    tool = tool or rng.choice(CLOSED)
    types = {
        argument: "integer" if isinstance(values, range) else "string"
        for argument, values in tool.arguments.items()
    }
    return Tool(tool.name, _definition(rng, tool.name, tool.description, types), tool, types)


def any_tool(rng: Random) -> Tool:
    """A tool with an arbitrary name, description and arguments."""
    name = one_of(
        rng,
        (75, lambda: f"{rng.choice(VERBS)}_{rng.choice(OBJECTS)}"),
        (5, lambda: rng.choice(VERBS)),
        (10, lambda: words.any_word(rng).title()),
        (10, f"{words.any_word(rng)}_{words.any_word(rng)}".lower),
    )
    count = rng.choice((0, 1, 1, 1, 2, 2, 3))
    known = happens(rng, 0.75)
    arguments = rng.sample(ARGUMENTS if known else words.documentation_words(), count)
    types = {argument: rng.choice(["string", "string", "integer"]) for argument in arguments}
    return Tool(name, _definition(rng, name, "A tool.", types), None, types)


def offer(rng: Random, count: int, closed_share: float = 0.6) -> list[Tool]:
    """That many tools with different names."""
    tools: dict[str, Tool] = {}
    while len(tools) < count:
        tool = closed_tool(rng) if happens(rng, closed_share) else any_tool(rng)
        tools.setdefault(tool.name, tool)
    return list(tools.values())


def _any_argument(rng: Random, kind: str) -> str | int:
    if kind == "integer":
        return rng.randint(0, rng.choice((9, 99, 999, 9999)))
    return one_of(
        rng,
        (40, lambda: rng.choice(words.NAMES)),
        (25, lambda: rng.choice(closed_words())),
        (15, lambda: words.any_word(rng)),
        (10, lambda: words.some_words(rng, rng.randint(2, 4))),
        (6, lambda: rng.choice(PATHS)),
        (4, lambda: words.identifier(rng)),
    )


def invent_arguments(rng: Random, tool: Tool) -> Arguments:
    """Values for all arguments of the tool."""
    if tool.closed:
        return {name: rng.choice(values) for name, values in tool.closed.arguments.items()}
    return {name: _any_argument(rng, kind) for name, kind in tool.types.items()}


def request(rng: Random, tool: Tool, arguments: Arguments, natural: float = 0.2) -> str:
    """A user's sentence that asks for this call.

    `natural` is the share of questions that need the tool without naming it, where it has one.
    """
    if tool.closed and tool.closed.natural and happens(rng, natural):
        return tool.closed.natural.format(**arguments)
    plain = tool.closed is not None and happens(rng, 0.5)
    pieces = []
    for name, value in arguments.items():
        bare = isinstance(value, int) or plain or (" " not in value and happens(rng, 0.15))
        pieces.append(f"{name} {value}" if bare else f'{name} "{value}"')
    start = rng.choice(
        [
            "Use the tool ",
            "Use the tool ",
            "use the tool ",
            "Call the tool ",
            "Please use the tool ",
            "Call ",
        ]
    )
    wish = start + tool.name + (" with " + " and ".join(pieces) if pieces else "")
    return wish + rng.choice([".", ".", ""])


def call_text(name: str, arguments: Arguments) -> str:
    """The call as the model writes it and as the chat template renders it."""
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>{written}</tool_call>"


def _result_object(rng: Random) -> str:
    names = ARGUMENTS + OBJECTS + ["temp", "result", "value", "status"]
    makers: tuple[tuple[float, Callable[[], str | int | bool]], ...] = (
        (45, lambda: rng.randint(0, 999)),
        (10, lambda: happens(rng, 0.5)),
        (20, lambda: rng.choice(TOOL_WORDS)),
        (25, lambda: words.any_word(rng)),
    )
    return json.dumps({name: one_of(rng, *makers) for name in rng.sample(names, rng.randint(1, 3))})


def _result_words(rng: Random) -> str:
    pieces = [
        one_of(
            rng,
            (35, lambda: rng.choice(TOOL_WORDS)),
            (52, lambda: words.any_word(rng)),
            (13, lambda: words.digits(rng, 2)),
        )
        for _ in range(rng.randint(1, 10))
    ]
    text = " ".join(pieces) + rng.choice(["", "", "."])
    return text.capitalize() if happens(rng, 0.25) else text


def result(rng: Random) -> str:
    """What a tool returns: a JSON object, a number or a few words."""
    return one_of(
        rng,
        (45, lambda: _result_object(rng)),
        (10, lambda: words.digits(rng, rng.randint(1, 5))),
        (45, lambda: _result_words(rng)),
    )

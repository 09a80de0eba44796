"""What a chat offers to be called, and what it asks to be."""

from typing import Any

import msgspec
import pytest

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.request import (
    ChatPrompt,
    ToolChoice,
    ToolSpec,
)
from tests.api.openai_requests import chat, prompt

PATHS = {"type": "object", "properties": {"z": {}, "a": {}}}
READ = {"type": "function", "function": {"name": "read", "description": "d", "parameters": PATHS}}
LIST = {"type": "function", "function": {"name": "list", "strict": True}}
OFFERED = (ToolSpec("read", "d", PATHS), ToolSpec("list"))


def test_tools() -> None:
    """Functions are offered as they are; what other servers would run is passed over."""
    assert prompt(tools=[READ, LIST, {"type": "web_search"}]).tools == OFFERED
    assert prompt().tools == prompt(tools=None).tools == prompt(tools=[]).tools == ()


def allowed(mode: str, *names: str) -> dict[str, Any]:
    """Allow only some tools."""
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


@pytest.mark.parametrize(
    ("choice", "expected", "shown"),
    [
        (None, ToolChoice(), OFFERED),
        ("auto", ToolChoice(), OFFERED),
        ("none", ToolChoice("none"), OFFERED),
        ("required", ToolChoice("required"), OFFERED),
        (
            {"type": "function", "function": {"name": "list"}},
            ToolChoice("required", "list"),
            OFFERED,
        ),
        (allowed("auto", "list", "read"), ToolChoice("auto"), OFFERED),
        (allowed("auto", "list"), ToolChoice("auto"), OFFERED[1:]),
        (allowed("required", "list"), ToolChoice("required", "list"), OFFERED),
        (allowed("required", "read", "list"), ToolChoice("required"), OFFERED),
    ],
)
def test_tool_choice(choice: Any, expected: ToolChoice, shown: tuple[ToolSpec, ...]) -> None:
    """Every choice is passed on; the tools stay in the prompt unless only some are allowed."""
    asked = chat(tools=[READ, LIST], tool_choice=choice)
    assert isinstance(asked.prompt, ChatPrompt)
    assert (asked.tool_choice, asked.prompt.tools) == (expected, shown)

    alone = chat(tools=[READ, LIST], tool_choice=choice, parallel_tool_calls=False)
    assert alone.tool_choice == msgspec.structs.replace(expected, parallel=False)


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        ({"type": "function", "function": {"name": "rm"}}, "tool_choice.function.name"),
        (
            allowed("auto", "read", "rm"),
            "tool_choice.allowed_tools.tools[1].function.name",
        ),
    ],
)
def test_tools_that_are_not_offered(choice: Any, field: str) -> None:
    """Who chooses a tool has to offer it."""
    with pytest.raises(InvalidRequest, match='the name of a tool in tools, got "rm"') as raised:
        chat(tools=[READ, LIST], tool_choice=choice)

    assert raised.value.field == field

"""The tools of a Messages request: where they are shown, and what is to be called."""

from typing import Any

import pytest

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.request import ChatMessage, ToolChoice, ToolSpec
from tests.api.asked import HI, assistant, call, generation, prompt, result, system, tool, user

SCHEMA = {"type": "object"}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
BUILT_IN: list[dict[str, Any]] = [
    SEARCH,
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    {
        "type": "computer_20250124",
        "name": "computer",
        "display_width_px": 1,
        "display_height_px": 1,
    },
    {"type": "memory_20250818", "name": "memory"},
    {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
    {"type": "mcp_toolset", "mcp_server_name": "m"},
]
FOUND = [{"type": "tool_reference", "tool_name": name} for name in ("late", "gone")]
LATE = ToolSpec("late", "d", SCHEMA)
SHOWN = '{"name": "late", "description": "d", "parameters": {"type": "object"}}'


def named(name: str) -> dict[str, str]:
    """Make a reference to a tool in a system message."""
    return {"type": "tool_reference", "name": name}


def added(reference: dict[str, Any]) -> dict[str, Any]:
    """Make a system message that adds a tool."""
    return system({"type": "tool_addition", "tool": reference})


def removed(reference: dict[str, Any]) -> dict[str, Any]:
    """Make a system message that takes a tool away."""
    return system({"type": "tool_removal", "tool": reference})


@pytest.mark.parametrize("more", [{}, {"type": "custom"}, {"type": None}])
def test_tools_of_the_client(more: dict[str, Any]) -> None:
    """A tool is offered with or without its type; what steers other servers is ignored."""
    steered = tool(
        "read",
        description="d",
        strict=True,
        defer_loading=False,
        eager_input_streaming=True,
        cache_control={"type": "ephemeral"},
        input_examples=[{"path": "a"}],
        allowed_callers=["direct"],
        **more,
    )

    assert prompt(tools=[steered]).tools == (ToolSpec("read", "d", SCHEMA),)


@pytest.mark.parametrize("built_in", BUILT_IN, ids=lambda one: one["type"])
def test_tools_of_other_servers_are_passed_over(built_in: dict[str, Any]) -> None:
    """A tool that only others could run, or whose schema only theirs know, is not offered."""
    assert prompt(tools=[built_in, tool("read")]).tools == (ToolSpec("read", None, SCHEMA),)


def test_names_are_unique() -> None:
    """Two tools of one name are refused: nobody could tell which one is called."""
    with pytest.raises(InvalidRequest, match=r"^tools\[1\]\.name: expected a name that no other"):
        prompt(tools=[tool("read"), tool("read", defer_loading=True)])


def test_names_are_unique_on_the_way() -> None:
    """A definition on the way may not take the name of a tool that was there at first."""
    again = added({"type": "tool_definition", "definition": tool("read")})
    place = r"^messages\[1\]\.content\[0\]\.tool\.definition\.name: expected a name"

    with pytest.raises(InvalidRequest, match=place):
        prompt(tools=[tool("read")], messages=[HI, again])
    assert len(prompt(messages=[HI, again, again]).callable) == 1


def test_deferred_tool_is_shown_where_it_was_found() -> None:
    """A deferred tool is not in the prefix; a reference shows it in place, and it can be called."""
    tools = [tool("find"), tool("late", description="d", defer_loading=True)]
    asked = [HI, assistant(call("t1", "find"))]

    before = prompt(tools=tools, messages=asked)
    after = prompt(tools=tools, messages=[*asked, user(result("t1", FOUND))])

    assert before.tools == after.tools == (ToolSpec("find", None, SCHEMA),)
    assert before.callable == before.tools
    assert after.callable == (*after.tools, LATE)
    assert after.messages[-1] == ChatMessage("tool", f"{SHOWN}\ngone", tool_call_id="t1")


@pytest.mark.parametrize("placeholder", [False, True])
def test_tools_that_grow(placeholder: bool) -> None:  # noqa: FBT001 - a row of the table
    """A list of tools that grows in the middle by deferred ones leaves the prefix as it was."""
    late = tool("late", defer_loading=True)
    hidden = [tool("hidden", defer_loading=True)] if placeholder else []

    assert prompt(tools=[tool("a"), *hidden, tool("b")]).tools == (
        prompt(tools=[tool("a"), late, *hidden, tool("b")]).tools
    )


@pytest.mark.parametrize(
    "reference",
    [
        named("late"),
        {"type": "tool_definition", "definition": tool("late", description="d")},
    ],
    ids=["by name", "by value"],
)
def test_added_tool(reference: dict[str, Any]) -> None:
    """A tool that a system message adds is shown there, and the tools at the beginning stay."""
    tools = [tool("find")]
    if reference["type"] == "tool_reference":
        tools.append(tool("late", description="d"))
    found = prompt(tools=tools, messages=[HI, added(reference)])

    assert found.tools == (ToolSpec("find", None, SCHEMA),)
    assert found.shown == (LATE,)
    said = f"From here on this tool can be called: {SHOWN}"
    assert found.messages[1] == ChatMessage("system", said)


def test_removed_tool() -> None:
    """A tool that is taken away stays at the beginning; that it is gone is said."""
    tools = [tool("find"), tool("read")]
    found = prompt(tools=tools, messages=[HI, removed(named("read"))])

    assert found.tools == prompt(tools=tools).tools
    said = "From here on this tool can no longer be called: read"
    assert found.messages[1] == ChatMessage("system", said)
    back = prompt(tools=tools, messages=[HI, removed(named("read")), added(named("read"))])
    assert back.tools == found.tools
    assert back.messages[:2] == found.messages


def test_added_and_removed() -> None:
    """A tool that came and went cannot be called; a text that cleared itself leaves changes."""
    tools = [tool("late", description="d")]
    once = added(named("late")) | {"clear_at": "next_user_message"}
    once["content"].append({"type": "text", "text": "hurry"})
    messages = [HI, once, HI]

    assert prompt(tools=tools, messages=messages).shown == (LATE,)
    assert "hurry" not in prompt(tools=tools, messages=messages).messages[1].content
    assert prompt(tools=tools, messages=[*messages, removed(named("late"))]).callable == ()


@pytest.mark.parametrize(
    "reference",
    [
        {"type": "mcp_tool_reference", "server_name": "m", "name": "x"},
        {"type": "mcp_toolset_reference", "server_name": "m"},
        {"type": "tool_definition", "definition": SEARCH},
    ],
    ids=lambda one: one["type"],
)
def test_changes_that_nobody_here_can_make(reference: dict[str, Any]) -> None:
    """Tools of other servers come and go without a word."""
    changes = [added(reference)]
    if reference["type"] != "tool_definition":
        changes.append(removed(reference))

    assert prompt(messages=[HI, *changes]).messages == (ChatMessage("user", "hi"),)


CHOICES: list[tuple[dict[str, Any] | None, ToolChoice]] = [
    (None, ToolChoice()),
    ({"type": "auto"}, ToolChoice("auto")),
    ({"type": "any"}, ToolChoice("required")),
    ({"type": "tool", "name": "read"}, ToolChoice("required", "read")),
    ({"type": "none"}, ToolChoice("none")),
    ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto", parallel=False)),
    ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required", parallel=False)),
    ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice("required")),
    (
        {"type": "tool", "name": "read", "disable_parallel_tool_use": True},
        ToolChoice("required", "read", parallel=False),
    ),
    ({"type": "tool", "name": "web_search"}, ToolChoice("auto")),
]


@pytest.mark.parametrize(("asked", "choice"), CHOICES)
def test_choice(asked: dict[str, Any] | None, choice: ToolChoice) -> None:
    """What is to be called is passed on; the tools stay in the prompt whatever it is.

    Nobody can insist on a tool that was passed over: its client takes a plain answer as well.
    """
    found = generation(tools=[tool("read"), SEARCH], tool_choice=asked)

    assert found.tool_choice == choice
    assert found.prompt == prompt(tools=[tool("read"), SEARCH])


@pytest.mark.parametrize(
    ("tools", "asked", "field"),
    [
        ([], {"type": "any"}, "tool_choice.type"),
        ([tool("late", defer_loading=True)], {"type": "any"}, "tool_choice.type"),
        ([tool("read")], {"type": "tool", "name": "write"}, "tool_choice.name"),
        ([SEARCH], {"type": "tool", "name": "write"}, "tool_choice.name"),
    ],
)
def test_choice_of_what_is_not_offered(tools: list[Any], asked: Any, field: str) -> None:
    """A call of a tool that is not offered cannot be had, and is refused by its field."""
    with pytest.raises(InvalidRequest, match=f"^{field}: expected an offered tool, got ") as error:
        generation(tools=tools, tool_choice=asked)
    assert error.value.field == field


def test_choice_among_tools_of_other_servers() -> None:
    """Where all tools were passed over, the model answers as it can."""
    assert generation(tools=[SEARCH], tool_choice={"type": "any"}).tool_choice == ToolChoice()


def test_choice_of_a_tool_that_was_found() -> None:
    """A deferred tool can be insisted on once it was found."""
    late = tool("late", defer_loading=True)
    found = [HI, assistant(call("t")), user(result("t", FOUND))]
    wanted = {"type": "tool", "name": "late"}

    assert generation(tools=[late], messages=found, tool_choice=wanted).tool_choice == (
        ToolChoice("required", "late")
    )

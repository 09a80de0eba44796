"""The tools of OpenAI's Chat Completions API: what is offered, and what may or must be called.

Only functions can be offered to a local model. Custom tools, whose input is no JSON, are refused;
tools that OpenAI's servers would run are passed over, the answer just does without them.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import JsonObject, NonEmpty
from semantic_actors.api.refusals import FieldMissing, FieldRefused, as_json
from semantic_actors.domain import limits
from semantic_actors.domain.request import ToolChoice, ToolSpec


class Function(msgspec.Struct):
    """A function the client offers."""

    name: NonEmpty
    description: str | None = None
    parameters: JsonObject | None = None


class Tool(msgspec.Struct):
    """A tool."""

    type: str
    function: Function | None = None


class Named(msgspec.Struct):
    """A function by its name."""

    name: NonEmpty


class FunctionChoice(msgspec.Struct, tag_field="type", tag="function"):
    """This function is to be called."""

    function: Named


class AllowedTool(msgspec.Struct):
    """One of the tools that may be called."""

    function: Named
    type: Literal["function"] = "function"


class AllowedTools(msgspec.Struct):
    """Some of the tools, and whether one of them has to be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1, max_length=limits.MAX_TOOLS)]


class AllowedChoice(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    """Only some of the tools may be called."""

    allowed_tools: AllowedTools


Tools = Annotated[list[Tool], Meta(max_length=limits.MAX_TOOLS)]
Choice = Literal["none", "auto", "required"] | FunctionChoice | AllowedChoice


def offered(tools: Tools) -> tuple[ToolSpec, ...]:
    """Translate what is offered."""
    return tuple(_specs(tools))


def narrowed(tools: Sequence[ToolSpec], choice: Choice | None) -> tuple[ToolSpec, ...]:
    """Return the tools that the prompt shows: all, unless only some are allowed.

    A model keeps to some of its tools if it knows no others. That costs the prefix; where one
    tool has to be called, the choice itself says which and the prefix stays.
    """
    if not isinstance(choice, AllowedChoice) or _only(choice) is not None:
        return tuple(tools)
    names = {tool.function.name for tool in choice.allowed_tools.tools}
    return tuple(spec for spec in tools if spec.name in names)


def tool_choice(
    choice: Choice | None, tools: Sequence[ToolSpec], *, parallel: bool | None
) -> ToolChoice:
    """Translate what may or must be called of `tools`, and how many at once."""
    several = parallel is not False
    names = {tool.name for tool in tools}
    for path, name in _asked(choice):
        if name not in names:
            raise FieldRefused(path, "the name of a tool in tools", as_json(name))
    match choice:
        case "required" if not names:
            field = "tool_choice"
            raise FieldRefused(field, "none or auto without tools", as_json(choice))
        case None | "auto":
            return ToolChoice(parallel=several)
        case "none" | "required":
            return ToolChoice(choice, parallel=several)
        case FunctionChoice(function=Named(name=name)):
            return ToolChoice("required", name, parallel=several)
        case AllowedChoice(allowed_tools=allowed):
            return ToolChoice(allowed.mode, _only(choice), parallel=several)


def _specs(tools: Tools) -> Iterator[ToolSpec]:
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if tool.type == "custom":
            field = f"{path}.type"
            raise FieldRefused(field, "function", as_json(tool.type))
        if tool.type != "function":
            continue
        if tool.function is None:
            field = f"{path}.function"
            raise FieldMissing(field)
        parameters = tool.function.parameters or {}
        check_depth(parameters, f"{path}.function.parameters")
        yield ToolSpec(tool.function.name, tool.function.description, parameters)


def _asked(choice: Choice | None) -> Iterator[tuple[str, str]]:
    """Yield the names that a choice has, and where."""
    match choice:
        case FunctionChoice(function=Named(name=name)):
            yield "tool_choice.function.name", name
        case AllowedChoice(allowed_tools=allowed):
            for index, tool in enumerate(allowed.tools):
                yield f"tool_choice.allowed_tools.tools[{index}].function.name", tool.function.name
        case _:
            pass


def _only(choice: AllowedChoice) -> str | None:
    """Return the name of the one tool that has to be called, if it is one."""
    allowed = choice.allowed_tools
    names = {tool.function.name for tool in allowed.tools}
    return names.pop() if allowed.mode == "required" and len(names) == 1 else None

"""The tools of a Messages request: which are offered, from where on, and what is to be called.

A tool that another server would run, or whose schema only its makers' models know, is passed over:
nobody here could call it. A deferred tool, and one that a `tool_addition` introduces, is not in
the list at the prompt's beginning, where it would move all that follows, but shown in its place.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from semantic_actors.api.anthropic_blocks import (
    DefinedTool,
    Message,
    NamedTool,
    SystemMessage,
    Tool,
    ToolAddition,
    ToolRemoval,
)
from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import NonEmpty
from semantic_actors.api.refusals import FieldMissing, FieldRefused
from semantic_actors.domain import request
from semantic_actors.domain.request import ToolSpec


class AutoChoice(msgspec.Struct, tag_field="type", tag="auto"):
    """The model decides."""

    disable_parallel_tool_use: bool | None = None


class AnyChoice(msgspec.Struct, tag_field="type", tag="any"):
    """At least one call."""

    disable_parallel_tool_use: bool | None = None


class NamedChoice(msgspec.Struct, tag_field="type", tag="tool"):
    """A call of this tool."""

    name: NonEmpty
    disable_parallel_tool_use: bool | None = None


class NoChoice(msgspec.Struct, tag_field="type", tag="none"):
    """No call."""


ToolChoice = AutoChoice | AnyChoice | NamedChoice | NoChoice


class Toolbox:
    """The tools of one request. `shown` are those that were introduced on the way, so far."""

    def __init__(self, tools: Iterable[Tool], messages: Iterable[Message]) -> None:
        """Sort the tools. Raises an `InvalidRequest`."""
        self.shown: dict[str, ToolSpec] = {}
        self._passed_over: set[str | None] = set()
        self._listed: dict[str, ToolSpec] = {}
        self._later: dict[str, ToolSpec] = {}
        added = _added(messages)
        for index, tool in enumerate(tools):
            spec = _spec(tool, f"tools[{index}]")
            if spec is None:
                self._passed_over.add(tool.name)
                continue
            if spec.name in self._listed or spec.name in self._later:
                raise NameTaken(spec.name, f"tools[{index}]")
            later = tool.defer_loading or spec.name in added
            (self._later if later else self._listed)[spec.name] = spec

    @property
    def listed(self) -> tuple[ToolSpec, ...]:
        """The tools at the beginning of the prompt."""
        return tuple(self._listed.values())

    def show(self, name: str) -> str:
        """Introduce a tool: return its definition, or but its name if it needs none or has none."""
        spec = self._later.get(name)
        if spec is None:
            return name
        self.shown[name] = spec
        return as_json(msgspec.to_builtins(spec))

    def add(self, addition: ToolAddition, path: str) -> str:
        """Say that a tool can be called from here on; nothing of one that nobody here can call."""
        match addition.tool:
            case NamedTool(name=name):
                pass
            case DefinedTool(definition=tool):
                spec = _spec(tool, f"{path}.tool.definition")
                if spec is None:
                    return ""
                if spec.name in self._listed:
                    raise NameTaken(spec.name, f"{path}.tool.definition")
                name, self._later[spec.name] = spec.name, spec
            case _:
                return ""
        return f"From here on this tool can be called: {self.show(name)}"

    def remove(self, removal: ToolRemoval) -> str:
        """Say that a tool can no longer be called."""
        if not isinstance(removal.tool, NamedTool):
            return ""
        self.shown.pop(removal.tool.name, None)
        return f"From here on this tool can no longer be called: {removal.tool.name}"

    def choice(self, asked: ToolChoice | None) -> request.ToolChoice:
        """Translate what is to be called; nobody can insist on a tool that was passed over."""
        mode: Literal["auto", "required"] = "required"
        name = None
        callable_names = self._listed.keys() | self.shown.keys()
        match asked:
            case None:
                return request.ToolChoice()
            case NoChoice():
                return request.ToolChoice("none")
            case AutoChoice():
                mode = "auto"
            case AnyChoice() if not callable_names:
                if not self._passed_over:
                    raise ToolMissing(field="tool_choice.type", asked="any")
                mode = "auto"
            case NamedChoice() if asked.name in callable_names:
                name = asked.name
            case NamedChoice() if asked.name in self._passed_over:
                mode = "auto"
            case NamedChoice():
                raise ToolMissing(field="tool_choice.name", asked=asked.name)
        return request.ToolChoice(mode, name, parallel=not asked.disable_parallel_tool_use)


class NameTaken(FieldRefused):
    """Two tools have one name: nobody could tell which of them is called."""

    def __init__(self, name: str, place: str) -> None:
        super().__init__(f"{place}.name", "a name that no other tool has", name)


class ToolMissing(FieldRefused):
    """A call is wanted of a tool that is not offered."""

    def __init__(self, *, field: str, asked: str) -> None:
        super().__init__(field, "an offered tool", repr(asked))


def as_json(value: Any) -> str:
    """Write JSON the one way we write it, keys in the order they came."""
    return json.dumps(value, ensure_ascii=False)


def _spec(tool: Tool, path: str) -> ToolSpec | None:
    """Return what can be offered; None for a tool that only others could run."""
    if tool.input_schema is not None and tool.name is not None:
        check_depth(tool.input_schema, f"{path}.input_schema")
        return ToolSpec(tool.name, tool.description, tool.input_schema)
    if tool.type in {None, "custom"}:
        raise FieldMissing(f"{path}." + ("name" if tool.name is None else "input_schema"))
    return None


def _added(messages: Iterable[Message]) -> frozenset[str]:
    """Return the tools that were not there at first: whose first change is an addition."""
    first: dict[str, bool] = {}
    for change in _changes(messages):
        if isinstance(change.tool, NamedTool):
            first.setdefault(change.tool.name, isinstance(change, ToolAddition))
    return frozenset(name for name, added in first.items() if added)


def _changes(messages: Iterable[Message]) -> Iterator[ToolAddition | ToolRemoval]:
    for message in messages:
        if isinstance(message, SystemMessage) and isinstance(message.content, list):
            yield from (b for b in message.content if isinstance(b, ToolAddition | ToolRemoval))

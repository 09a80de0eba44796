"""Reading calls in the notation of a model."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.tool_parsers import json_tools

from semantic_actors.domain.request import ToolCall
from semantic_actors.text.braces import ObjectEnd
from semantic_actors.text.tool_calls import CallReader, Notation, mint_call_id
from tests.text import zoo

TAGS = Notation("<tool_call>", "</tool_call>", json_tools.parse_tool_call)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=3)


@zoo.PATIENT
@given(OBJECTS)
def test_arguments_are_json_as_python_spaces_it(arguments: dict[str, Any]) -> None:
    """Arguments are JSON text with a space behind each comma and colon, characters unescaped."""
    body = json.dumps({"name": "look", "arguments": arguments})

    calls = CallReader(TAGS, TOOLS, lambda: "id").read(body)

    assert calls == (ToolCall("id", "look", json.dumps(arguments, ensure_ascii=False)),)


@zoo.PATIENT
@given(OBJECTS, st.booleans(), st.text(), st.data())
def test_an_object_ends_where_its_last_brace_is(
    value: dict[str, Any],
    ascii_only: bool,  # noqa: FBT001
    behind: str,
    data: st.DataObject,
) -> None:
    """Whatever its strings spell, and however it is cut."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    cut = data.draw(st.integers(0, len(text) - 1))
    braces = ObjectEnd()

    assert braces.find(text[:cut]) is None
    assert braces.find(text[cut:] + behind) == len(text) - cut


def test_ids_of_calls_are_unique() -> None:
    """Two calls never have one id."""
    assert mint_call_id() != mint_call_id()
    assert mint_call_id().startswith("toolu_")

"""Tool calls in the text of a model."""

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.tool_parsers import json_tools, mistral

from semantic_actors.domain.request import ToolCall
from semantic_actors.text.tool_calls import Notation, ToolCallSplitter, mint_call_id
from tests.text import zoo

TAGS = Notation(json_tools.tool_call_start, json_tools.tool_call_end, json_tools.parse_tool_call)
BRACKET = Notation(mistral.tool_call_start, mistral.tool_call_end, mistral.parse_tool_call)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "é", "n": [1, 2]}}\n</tool_call>'
TEXTS = st.text("<tol_ca>/ {}", max_size=12) | st.sampled_from(
    [CALL, "<tool_call>", "</tool_call>"]
)


def _split(pieces: list[str], notation: Notation = TAGS) -> list[str | ToolCall]:
    ids = count()
    splitter = ToolCallSplitter(notation, TOOLS, lambda: f"id{next(ids)}")
    found = [part for piece in pieces for part in splitter.push(piece)]
    found += splitter.close()
    return [part for part in _joined(found) if part]


def _joined(parts: list[str | ToolCall]) -> list[str | ToolCall]:
    out: list[str | ToolCall] = [""]
    for part in parts:
        if isinstance(part, str) and isinstance(out[-1], str):
            out[-1] += part
        else:
            out.append(part)
    return out


def _looked(number: int) -> ToolCall:
    return ToolCall(f"id{number}", "look", '{"at": "é", "n": [1, 2]}')


def test_calls_are_taken_out_of_the_text() -> None:
    """Several calls in a row are calls, the white space between them is gone, text stays."""
    assert ["Let me see.\n", _looked(0), _looked(1)] == _split([f"Let me see.\n{CALL}\n{CALL}\n"])


def test_text_behind_a_call_keeps_its_white_space() -> None:
    """Only white space that separates calls, or ends the answer, is dropped."""
    assert [_looked(0), "\n so"] == _split([CALL, "\n ", "so"])


@zoo.PATIENT
@given(st.lists(TEXTS, max_size=6), st.data())
def test_calls_do_not_depend_on_how_the_text_is_cut(texts: list[str], data: st.DataObject) -> None:
    """Every cut of a text gives the same text and the same calls."""
    text = "".join(texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert _split([text]) == _split(pieces)


@zoo.PATIENT
@given(st.text("<tol_ca>x\n", max_size=30))
def test_text_without_a_call_is_passed_on_as_it_is(text: str) -> None:
    """Nothing is lost of a text in which no call is complete."""
    assert text == "".join(map(str, _split(list(text))))


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "3",
        "[]",
        '{"name": "look"}',
        '{"name": "look", "arguments": 3}',
        '{"name": "look", "arguments": "[]"}',
        '{"name": "leave", "arguments": {}}',
        '{"name": ["look"], "arguments": {}}',
        '{"name": "look", "arguments": {"x": NaN}}',
        '{"name": "look", "arguments": {"x": "\\ud800"}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_call_of_an_offered_tool_is_text(body: str) -> None:
    """A call that does not parse, or of an unknown tool, reaches the client as it was written."""
    text = f"<tool_call>{body}</tool_call>"

    assert [text] == _split([text])


def test_an_unfinished_call_is_text_at_the_end() -> None:
    """An answer that ends inside a call loses nothing."""
    assert _split(['a <tool_call>{"na', 'me": "lo']) == ['a <tool_call>{"name": "lo']


def test_a_notation_without_an_end_is_read_at_the_end() -> None:
    """Mistral's calls go on to the end of the answer, several of them if it likes."""
    text = 'ok[TOOL_CALLS][{"name": "look", "arguments": {"at": "é", "n": [1, 2]}}]'

    assert ["ok", _looked(0)] == _split(list(text), BRACKET)
    assert [text + "x"] == _split([text, "x"], BRACKET)


def test_text_is_held_only_while_it_may_be_a_marker() -> None:
    """A beginning that turns out to be no marker is shown at once."""
    splitter = ToolCallSplitter(TAGS, TOOLS)

    assert [
        splitter.push("a <tool"),
        splitter.push("_"),
        splitter.push("box>"),
    ] == [("a ",), (), ("<tool_box>",)]


@zoo.PATIENT
@given(st.dictionaries(st.text(), st.integers() | st.lists(st.text()), max_size=3))
def test_arguments_are_json_as_python_spaces_it(arguments: dict[str, Any]) -> None:
    """Arguments are JSON text with a space behind each comma and colon, characters unescaped."""
    body = json.dumps({"name": "look", "arguments": arguments}).replace("</", "<\\/")

    (call,) = _split([f"<tool_call>{body}</tool_call>"])

    assert ToolCall("id0", "look", json.dumps(arguments, ensure_ascii=False)) == call


def test_ids_of_calls_are_unique() -> None:
    """Two calls never have one id."""
    assert mint_call_id() != mint_call_id()
    assert mint_call_id().startswith("toolu_")

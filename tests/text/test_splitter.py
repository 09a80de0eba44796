"""Thoughts, text and calls out of one answer, and that it does not matter how it is cut."""

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.tool_parsers import json_tools, mistral

from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
)
from semantic_actors.text.splitter import Part, Splitter, ThoughtMarks
from semantic_actors.text.tool_calls import CallReader, Notation, Spelling
from tests.text import zoo

THOUGHTS = ThoughtMarks("<think>", "</think>")
PLAIN = Spelling('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", "\n")
TAGS = Notation("<tool_call>", "</tool_call>", json_tools.parse_tool_call, PLAIN)
BARE = Notation("<tool_call>", "</tool_call>", json_tools.parse_tool_call, PLAIN, bare=True)
BRACKET = Notation(
    "[TOOL_CALLS]", "", mistral.parse_tool_call, Spelling("[TOOL_CALLS]", "[ARGS]", "", "")
)
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("look", "look_up")]
ARGUMENTS = '{"at": "}\\" é </tool_call> <think>", "n": [{}]}'
CALL = f'<tool_call>\n{{"name": "look", "arguments": {ARGUMENTS}}}\n</tool_call>'
SAFE = '<tool_call>{"name": "look_up", "arguments": {"at": "é"}}</tool_call>'
TEXTS = st.text("<tol_ca>/ {}\n", max_size=12) | st.sampled_from(
    [
        CALL,
        SAFE,
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        "\n\n",
        "<hide>",
        "[TOOL_CALLS]",
        "look[ARGS]{}",
        "é\U0001f98a",
        '<tool_call>\n{"name": "look", "arguments": ',
        '```json\n{"name": "look"',
        '"arguments": {}}',
    ]
)
OPTIONS = st.fixed_dictionaries(
    {
        "notation": st.sampled_from([TAGS, BARE, BRACKET]),
        "thinking": st.booleans(),
        "guided": st.booleans(),
        "document": st.booleans(),
    }
)


def _splitter(notation: Notation = TAGS, **options: Any) -> Splitter:
    ids = count()
    reader = CallReader(notation, TOOLS, lambda: f"id{next(ids)}")
    return Splitter(THOUGHTS, reader, hidden=("<hide>",), **options)


def _split(*pieces: str, notation: Notation = TAGS, **options: Any) -> list[Part]:
    splitter = _splitter(notation, **options)
    found = [part for piece in pieces for part in splitter.push(piece)]
    return [*found, *splitter.close()]


def _joined(parts: list[Part]) -> list[Part]:
    """Join deltas of one kind in a row."""
    out: list[Any] = []
    for part in parts:
        match part:
            case TextDelta() | ThinkingDelta() | ArgumentsDelta() if out and type(out[-1]) is type(
                part
            ):
                out[-1] = type(part)(out[-1].text + part.text)
            case _:
                out.append(part)
    return out


def _called(number: int, name: str, arguments: str) -> list[Part]:
    id_ = f"id{number}"
    return [
        CallStarted(id_, name),
        ArgumentsDelta(arguments),
        ToolCalled(ToolCall(id_, name, arguments)),
    ]


@zoo.PATIENT
@given(st.lists(TEXTS, max_size=6), st.data(), OPTIONS)
def test_parts_do_not_depend_on_how_the_text_is_cut(
    texts: list[str], data: st.DataObject, options: dict[str, Any]
) -> None:
    """Every cut of an answer joins to the same thoughts, text, calls and order of these."""
    text = "".join(texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    expected = _joined(_split(text, **options))

    assert _joined(_split(*pieces, **options)) == expected
    assert _joined(_split(*text, **options)) == expected


@zoo.PATIENT
@given(st.lists(TEXTS, max_size=6), OPTIONS)
def test_calls_keep_the_law_of_events(texts: list[str], options: dict[str, Any]) -> None:
    """A call is its beginning, arguments, its end; only the answer's end leaves one open."""
    open_call: CallStarted | None = None
    written = ""
    for part in _split(*"".join(texts), **options):
        match part:
            case CallStarted():
                assert open_call is None
                open_call, written = part, ""
            case ArgumentsDelta(text=text):
                assert open_call is not None
                assert text
                written += text
            case ToolCalled(call=call):
                assert open_call == CallStarted(call.id, call.name)
                assert call.arguments == written
                assert isinstance(json.loads(written), dict)
                open_call = None
            case TextDelta(text=text) | ThinkingDelta(text=text):
                assert open_call is None
                assert text


@zoo.PATIENT
@given(st.text("<tol_ca>x\n", max_size=30))
def test_text_without_marks_is_passed_on_as_it_is(text: str) -> None:
    """Nothing is lost of a text in which nothing is complete."""
    assert _joined(_split(*text)) == ([TextDelta(text)] if text else [])


def test_a_thought_is_told_from_the_text() -> None:
    """Marks and the white space around them are in neither."""
    parts = _split("\n<think>\nlet me", " see\n\n</thi", "nk>\n\nYes. ", "no")

    assert _joined(parts) == [ThinkingDelta("let me see"), TextDelta("Yes. no")]


def test_a_thought_that_the_prompt_began_goes_on() -> None:
    """Also if the model begins it once more."""
    parts = [*_split("<think>\nhm\n</think>\n\nYes", thinking=True)]

    assert parts == [ThinkingDelta("hm"), TextDelta("Yes")]


def test_an_unfinished_thought_is_thinking() -> None:
    """To the last word; white space behind it is nothing."""
    assert _joined(_split("so ", "<th", thinking=True)) == [ThinkingDelta("so <th")]


def test_an_empty_thought_is_none() -> None:
    """What a model that is not to think writes leaves no trace."""
    assert _split("<think>\n\n</think>\n\nYes") == [TextDelta("Yes")]


def test_the_end_of_a_thought_that_never_began_is_hidden() -> None:
    """A mark is never text."""
    assert _joined(_split("a</think>\n\nb<hide>c")) == [TextDelta("abc")]


def test_no_call_is_looked_for_in_a_thought() -> None:
    """What a model only considers is not done."""
    parts = _split(f"<think>I could {SAFE}</think>\n{SAFE}")

    assert _joined(parts) == [
        ThinkingDelta(f"I could {SAFE}"),
        *_called(0, "look_up", '{"at": "é"}'),
    ]


def test_calls_are_taken_out_of_the_text() -> None:
    """Several calls in a row are calls, the white space between them is gone, text stays."""
    parts = _split(f"Let me see.\n{SAFE}\n{SAFE}\n")

    expected = [_called(number, "look_up", '{"at": "é"}') for number in (0, 1)]
    assert parts == [TextDelta("Let me see.\n"), *expected[0], *expected[1]]


def test_text_behind_a_call_keeps_its_white_space() -> None:
    """Only white space that separates calls, or ends the answer, is dropped."""
    parts = _split(SAFE, "\n ", "so")

    assert parts == [*_called(0, "look_up", '{"at": "é"}'), TextDelta("\n so")]


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
@pytest.mark.parametrize("guided", [False, True])
def test_what_is_no_call_of_an_offered_tool_is_text(body: str, guided: bool) -> None:  # noqa: FBT001
    """A call that does not parse, or of an unknown tool, reaches the client as it was written."""
    text = f"<tool_call>{body}</tool_call>"

    assert _split(text, guided=guided) == [TextDelta(text)]


@pytest.mark.parametrize("guided", [False, True])
def test_an_unfinished_call_is_text_at_the_end(guided: bool) -> None:  # noqa: FBT001
    """An answer that ends inside a call of which no name is known loses nothing."""
    text = 'a <tool_call>\n{"name": "lo'

    assert _joined(_split(*text, guided=guided)) == [TextDelta(text)]


def test_a_notation_without_an_end_is_read_at_the_end() -> None:
    """Mistral's calls go on to the end of the answer, several of them if it likes."""
    text = 'ok[TOOL_CALLS][{"name": "look", "arguments": {"at": "é"}}]'

    parts = _split(*text, notation=BRACKET)

    assert _joined(parts) == [TextDelta("ok"), *_called(0, "look", '{"at": "é"}')]
    assert _joined(_split(text, "x", notation=BRACKET)) == [TextDelta(text + "x")]


def test_text_is_held_only_while_it_may_be_a_mark() -> None:
    """A beginning that turns out to be no mark is shown at once."""
    splitter = _splitter()

    shown = [splitter.push("a <tool"), splitter.push("_"), splitter.push("box>")]

    assert shown == [(TextDelta("a "),), (), (TextDelta("<tool_box>"),)]


def test_a_call_streams_as_it_is_written_where_a_grammar_guarantees_it() -> None:
    """The name as soon as it is complete, each piece of the arguments, the end with the brace."""
    splitter = _splitter(guided=True)
    pieces = ['So.<tool_call>\n{"na', 'me": "look', '", "arguments": ', '{"a', '": "}', '"}', "}\n"]

    shown = [splitter.push(piece) for piece in pieces]
    rest = [*splitter.push("</tool_call>\n"), *splitter.push(f"{CALL} Done")]

    assert shown == [
        (TextDelta("So."),),
        (),
        (CallStarted("id0", "look"),),
        (ArgumentsDelta('{"a'),),
        (ArgumentsDelta('": "}'),),
        (ArgumentsDelta('"}'), ToolCalled(ToolCall("id0", "look", '{"a": "}"}'))),
        (),
    ]
    assert rest == [*_called(1, "look", ARGUMENTS), TextDelta(" Done")]


def test_without_a_grammar_a_call_is_held_until_it_is_one() -> None:
    """No client is told of a call that may turn out to be none."""
    splitter = _splitter()

    held = splitter.push('<tool_call>\n{"name": "look", "arguments": {"at": "é"}}')

    assert held == ()
    assert [*splitter.push("\n</tool_call>")] == _called(0, "look", '{"at": "é"}')


def test_calls_stream_in_a_notation_without_an_end() -> None:
    """The end of the arguments is the end of the call."""
    parts = _split(
        '[TOOL_CALLS]look[ARGS]{}[TOOL_CALLS]look_up[ARGS]{"a": 1}ok', notation=BRACKET, guided=True
    )

    assert parts == [
        *_called(0, "look", "{}"),
        *_called(1, "look_up", '{"a": 1}'),
        TextDelta("ok"),
    ]


def test_an_answer_that_ends_in_its_arguments_leaves_a_call_open() -> None:
    """The client learns what was written; no call is said to be complete."""
    parts = _split('<tool_call>\n{"name": "look", "arguments": {"a": [', guided=True)

    assert parts == [CallStarted("id0", "look"), ArgumentsDelta('{"a": [')]


@pytest.mark.parametrize("arguments", ["3", "null", "{a: 1}", '{"a": NaN}', "{'a': '}'}", "}"])
def test_arguments_that_a_grammar_should_not_have_let_through_end_in_no_call(
    arguments: str,
) -> None:
    """Nothing fails, and nothing comes behind a call that was begun and is none."""
    text = f'<tool_call>\n{{"name": "look", "arguments": {arguments}}}\n</tool_call> a {SAFE}'

    first, *rest = _split(text, guided=True)

    assert first == CallStarted("id0", "look")
    assert all(isinstance(part, ArgumentsDelta) for part in rest)


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "look", "arguments": {"a": 1}}',
        '\n {"name": "look", "parameters": {"a": 1}}\n',
        '[ {"name": "look", "arguments": "{\\"a\\": 1}"}]',
        '```json\n{"name": "look", "arguments": {"a": 1}}\n```\n',
        '<think>hm</think>\n{"name": "look", "arguments": {"a": 1}}',
    ],
)
def test_an_answer_that_is_the_json_of_a_call_is_one_where_models_write_so(answer: str) -> None:
    """Bare, in a list or in a fence, behind a thought or not."""
    parts = [part for part in _split(*answer, notation=BARE) if not isinstance(part, ThinkingDelta)]

    assert parts == _called(0, "look", '{"a": 1}')
    assert not any(isinstance(part, ToolCalled) for part in _split(*answer))


@pytest.mark.parametrize(
    "answer",
    [
        '{"name": "look", "arguments": {"a": 1}} is how',
        '{"name": "leave", "arguments": {}}',
        '{"name": "look"}',
        '{"a": 1}',
        "[]",
        "```json",
        "``",
        "[link](a)",
        "\n",
        'So: {"name": "look", "arguments": {}}',
    ],
)
def test_json_that_is_no_call_is_text(answer: str) -> None:
    """An answer is a call only if it is nothing else, and of a tool that was offered."""
    assert _joined(_split(*answer, notation=BARE)) == [TextDelta(answer)]


def test_the_text_of_a_document_is_passed_on_to_the_letter() -> None:
    """What its strings spell is nothing; a thought before it is one, and so is a call instead."""
    text = f'{{"name": "look", "arguments": {{"a": "<think></think>{SAFE}<hide>"}}}}\n'

    for pieces in ([text], text):
        found = _split("<think>hm</think>\n", *pieces, notation=BARE, document=True)
        assert _joined(found) == [ThinkingDelta("hm"), TextDelta(text)]
    called = _split(f"\n{SAFE}\n{SAFE}", document=True)
    assert [part.call.id for part in called if isinstance(part, ToolCalled)] == ["id0", "id1"]


def test_a_name_is_escaped_where_it_stands_in_a_json_string() -> None:
    """A call of a tool with a quote in its name streams like any other."""
    tools = [{"type": "function", "function": {"name": 'a"b'}}]
    splitter = Splitter(calls=CallReader(TAGS, tools, lambda: "id"), guided=True)

    first, *_ = splitter.push('<tool_call>\n{"name": "a\\"b", "arguments": {')

    assert first == CallStarted("id", 'a"b')


def test_calls_in_their_notation_are_found_behind_json() -> None:
    """An answer that begins like JSON is read as any other once it is known not to be a call."""
    parts = _split("{} ", SAFE, notation=BARE)

    assert parts == [TextDelta("{} "), *_called(0, "look_up", '{"at": "é"}')]

"""Answers that are drawn without sense, and are what was asked for all the same."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.domain.request import Generation, ToolCall, ToolChoice, ToolSpec
from semantic_actors.domain.stream import ArgumentsDelta, TextDelta, ThinkingDelta, ToolCalled
from semantic_actors.engine import pocket_path
from semantic_actors.text import Codec
from semantic_actors.text.output import Piece
from tests.text import schemas
from tests.text.drawing import allowed, drawn, generation, grammar
from tests.text.zoo import CHATML

Speak = Callable[..., Path]

FLAG = json.dumps(
    {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
)
LOOK = ToolSpec(
    "look",
    None,
    {
        "type": "object",
        "properties": {"at": {"type": "string", "maxLength": 9}, "n": {"enum": [1, 2]}},
        "required": ["at"],
        "additionalProperties": False,
    },
)
LOOKS = ToolSpec(
    "look_around",
    None,
    {"properties": {"far": {"type": "boolean"}}, "additionalProperties": False},
)
ODD = ToolSpec(
    "odd",
    None,
    {
        "type": "object",
        "properties": {"x": {"not": {"type": "null"}}, "y": {"type": "boolean"}},
        "required": ["y"],
        "additionalProperties": False,
    },
)
TOOLS = (LOOK, LOOKS)
ONE = ToolChoice("required", parallel=False)

MISTRAL = """\
{%- for message in messages %}{{- '[INST] ' + message.content + '[/INST]' }}
{%- for tool_call in message.tool_calls or [] %}{%- set f = tool_call.function %}
{{- '[TOOL_CALLS]' + f.name + '[ARGS]' + (f.arguments | tojson) }}{%- endfor %}{%- endfor %}"""
CODER = """\
{%- for message in messages %}{{- message.content }}
{%- for tool_call in message.tool_calls or [] %}{%- set f = tool_call.function %}
{{- '<tool_call>\\n<function=' + f.name + '>\\n' }}
{%- for key, value in f.arguments | items %}
{{- '<parameter=' + key + '>\\n' + value | string + '\\n</parameter>\\n' }}{%- endfor %}
{{- '</function>\\n</tool_call>' }}{%- endfor %}{%- endfor %}"""


@pytest.fixture(scope="module")
def pocket() -> Codec:
    """Return the codec of the bundled model."""
    return Codec.load(pocket_path())


def pieces(codec: Codec, asked: Generation, answer: list[int], *, thinking: bool = False) -> Any:
    """Decode an answer as its session would; return its thoughts, text, calls and fragments."""
    decoder = codec.decoder(asked, thinking=thinking, guided=True)
    found: list[Piece] = [piece for token in answer for piece in decoder.push(token)]
    found += decoder.close()
    return found


def said(found: list[Piece]) -> str:
    """Join the text."""
    return "".join(piece.text for piece in found if isinstance(piece, TextDelta))


def called(found: list[Piece]) -> list[ToolCall]:
    """Pick the calls."""
    return [piece.call for piece in found if isinstance(piece, ToolCalled)]


def check(call: ToolCall) -> None:
    """Hold a call to the schema of its tool."""
    schema = {"required": [], **next(t for t in TOOLS if t.name == call.name).parameters}
    assert schemas.holds(json.loads(call.arguments), {"type": "object", **schema})


# Output


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_drawn_is_json_of_the_schema(pocket: Codec, seed: int) -> None:
    """A hundred schemas; the value ends, and nothing but an end comes behind it."""
    way = grammar(pocket, generation(schemas.text(seed)))
    assert way is not None

    answer = drawn(way, seed, pocket.eos_ids)

    assert answer[-1] in pocket.eos_ids
    value = json.loads(pocket.decode(answer[:-1]))
    assert schemas.holds(value, schemas.schema(seed)), value


@pytest.mark.parametrize("family", ["chatml", "llama", "spm-llama", "gemma"])
@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_tokenizer_can_be_held_to_a_schema(
    codec: Callable[[str], Codec], family: str, seed: int
) -> None:
    """Byte-level ones, and those with SentencePiece's spaces and byte fallback."""
    speaker = codec(family)
    asked = generation(schemas.text(seed))
    way = grammar(speaker, asked)
    assert way is not None

    found = pieces(speaker, asked, drawn(way, seed, speaker.eos_ids))

    assert schemas.holds(json.loads(said(found)), schemas.schema(seed))


def test_an_answer_ends_with_any_of_the_ends_that_there_are(speak: Speak) -> None:
    """A model may have several, and name one that its tokenizer has not."""
    folder = speak(CHATML)
    config = {"model_type": "llama", "eos_token_id": [5, 6, 7, 99_999]}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    codec = Codec.load(folder)
    way = grammar(codec, generation(FLAG))
    assert way is not None

    answer = drawn(way, 1, codec.eos_ids)

    assert codec.eos_ids > {5, 6, 7, 99_999}
    ends = allowed(way.begin(tuple(answer[:-1])).mask() or b"")
    assert {*ends} == codec.eos_ids - {99_999}


def test_blanks_cannot_go_on_for_ever(pocket: Codec) -> None:
    """Who draws white space wherever it may comes to an end of it."""
    way = grammar(pocket, generation(FLAG))
    assert way is not None
    blank = {token for token in range(pocket.vocabulary) if not pocket.decode((token,)).strip()}
    blank -= set(pocket._vocabulary.controls)

    guide, answer = way.begin(()), []
    for _ in range(200):
        mask = guide.mask()
        tokens = allowed(mask or b"")
        answer.append(next((token for token in tokens if token in blank), tokens[0]))
        guide.push(answer[-1])
        if answer[-1] in pocket.eos_ids:
            break

    assert isinstance(json.loads(pocket.decode(answer[:-1]))["a"], bool)
    assert len(answer) > 20


@pytest.mark.parametrize("kind", ["number", "integer"])
def test_digits_cannot_go_on_for_ever(pocket: Codec, kind: str) -> None:
    """Who draws a digit wherever one may come writes a number that every client can read."""
    answer = _insisting(pocket, json.dumps({"type": kind}), b"0123456789")

    assert 10 < len(json.dumps(json.loads(answer))) <= 50


def test_digits_of_a_string_are_the_schemas_matter(pocket: Codec) -> None:
    """There a hundred of them may be meant."""
    answer = _insisting(pocket, '{"type": "string", "maxLength": 100}', b"0123456789")

    assert re.fullmatch(r'"\d{100}"', answer)
    answer = _insisting(pocket, '{"type": "string", "pattern": "^[0-9]{50}$"}', b"0123456789")
    assert re.fullmatch(r'"\d{50}"', answer)


def _insisting(codec: Codec, schema: str, on: bytes) -> str:
    """Return the answer of a model that draws a token of such characters wherever one may come."""
    way = grammar(codec, generation(schema))
    assert way is not None
    guide, answer = way.begin(()), list[int]()
    while not codec.eos_ids.intersection(answer[-1:]):
        assert len(answer) < 300
        tokens = allowed(guide.mask() or b"")
        liked = [t for t in tokens if t > 2 and not codec._vocabulary.spelled(t).strip(on)]
        answer.append(liked[-1] if liked else tokens[0])
        guide.push(answer[-1])
    return codec.decode(answer[:-1]).strip()


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        ('"\\u00e9"', True),
        ('"\\ud83e\\udd8a"', True),
        ('"\\u0000"', True),
        ('"\\ud83e"', False),
        ('"\\udd8a"', False),
        ('"\\ud83ex"', False),
    ],
)
def test_whole_characters_may_be_escaped(pocket: Codec, written: str, *, whole: bool) -> None:
    """Half of one, which no client could read, may not."""
    way = grammar(pocket, generation('{"type": "string"}'))
    assert way is not None
    tokens = pocket._vocabulary.splice((written,))

    if whole:
        mask = way.begin(tokens).mask()
        assert set(allowed(mask or b"")) == pocket.eos_ids
    else:
        with pytest.raises(GrammarFailed):
            way.begin(tokens)


def test_text_that_spells_a_control_token_is_text(pocket: Codec) -> None:
    """A constant `<tool_call>` is written, and the control token is not."""
    way = grammar(pocket, generation('{"const": "<tool_call>"}'))
    assert way is not None

    answer = drawn(way, 1, pocket.eos_ids)

    assert json.loads(pocket.decode(answer[:-1])) == "<tool_call>"
    assert not set(answer[:-1]) & set(pocket._vocabulary.controls)


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_an_answer_is_resumed_where_it_was(pocket: Codec, cut: int) -> None:
    """A guide that is begun with half an answer allows what one that drew it allows."""
    way = grammar(pocket, generation(schemas.text(7)))
    assert way is not None
    answer = drawn(way, 7, pocket.eos_ids)[:cut]
    lived = way.begin(())
    for token in answer:
        lived.mask()
        lived.push(token)

    assert way.begin(tuple(answer)).mask() == lived.mask()


def test_a_token_that_may_not_come_ends_the_guide(pocket: Codec) -> None:
    """It says so, and does not quote the answer."""
    way = grammar(pocket, generation(FLAG))
    assert way is not None

    with pytest.raises(GrammarFailed, match=r"^token 300 was drawn"):
        way.begin((300,))


def test_nothing_is_asked_of_an_answer_without_tools_or_schema(pocket: Codec) -> None:
    """Such a request pays for no grammar."""
    assert pocket.grammar(generation()) is None


# Calls


@pytest.mark.parametrize("seed", range(20))
def test_calls_that_are_required_come_at_once_and_are_valid(pocket: Codec, seed: int) -> None:
    """The name is a tool's, the arguments are of its schema, and nothing else is said."""
    asked = generation(tools=TOOLS, choice=ToolChoice("required"))
    way = grammar(pocket, asked)
    assert way is not None

    found = pieces(pocket, asked, drawn(way, seed, pocket.eos_ids))

    assert called(found)
    assert said(found) == ""
    for call in called(found):
        check(call)


@pytest.mark.parametrize("seed", range(5))
def test_one_call_is_one_call(pocket: Codec, seed: int) -> None:
    """Without parallel calls the answer ends behind the first; a named tool is that tool."""
    asked = generation(tools=TOOLS, choice=ToolChoice("required", "look_around", parallel=False))
    way = grammar(pocket, asked)
    assert way is not None

    found = pieces(pocket, asked, drawn(way, seed, pocket.eos_ids))

    assert [call.name for call in called(found)] == ["look_around"]


@pytest.mark.parametrize("letters", [True, False])
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_calls_that_may_come_are_valid_when_they_do(
    pocket: Codec, seed: int, *, parallel: bool, letters: bool
) -> None:
    """Text is free, a call is held to its tool; its start is one token, or spelled in letters."""
    asked = generation(tools=TOOLS, choice=ToolChoice(parallel=parallel))
    way = grammar(pocket, asked)
    assert way is not None
    encode = pocket._vocabulary.splice
    mark = encode(("<tool_call>",)) if letters else (_token(pocket, "<tool_call>"),)
    answer = drawn(way, seed, pocket.eos_ids, free=(*encode(("hi",)), *mark), limit=500)

    found = pieces(pocket, asked, answer)

    assert said(found).startswith("hi")
    assert called(found)
    assert parallel == (answer[-1] not in pocket.eos_ids)
    assert parallel or len(called(found)) == 1
    for call in called(found):
        check(call)


def test_free_text_has_no_mask(pocket: Codec) -> None:
    """Until a call begins nothing is computed for it, and behind the call again."""
    way = grammar(pocket, generation(tools=TOOLS))
    assert way is not None
    guide = way.begin(pocket._vocabulary.splice(("all is free",)))
    assert guide.mask() is None

    guide.push(_token(pocket, "<tool_call>"))
    inside = guide.mask()
    call = '{"name": "look", "arguments": {"at": "here"}}'
    for token in (*pocket._vocabulary.splice((call,)), _token(pocket, "</tool_call>")):
        guide.push(token)

    assert inside is not None
    assert guide.mask() is None


def test_a_tool_whose_schema_cannot_be_kept_is_held_to_what_can(pocket: Codec) -> None:
    """One `not` among the tools refuses no request, and frees no other tool."""
    asked = generation(tools=(*TOOLS, ODD), choice=ToolChoice("required"))
    way = grammar(pocket, asked)
    assert way is not None

    found = pieces(
        pocket, asked, [t for s in range(12) for t in drawn(way, s, pocket.eos_ids)[:-1]]
    )

    names = {call.name for call in called(found)}
    assert names == {"look", "look_around", "odd"}
    for call in called(found):
        if call.name == "odd":
            assert isinstance(json.loads(call.arguments)["y"], bool)
        else:
            check(call)


@pytest.mark.parametrize(
    "bad",
    [{"type": "string", "pattern": "^(?!a)"}, "text", {"$ref": "#/$defs/nowhere"}, {"enum": []}],
    ids=["look-ahead", "no schema", "dangling", "impossible"],
)
def test_a_property_that_cannot_be_kept_frees_no_other(pocket: Codec, bad: Any) -> None:
    """What the regular expressions of a schema cannot say is common; names and types still hold."""
    properties = {"bad": bad, "n": {"enum": [1, 2]}}
    schema = {"properties": properties, "required": ["n"], "additionalProperties": False}
    asked = generation(tools=(ToolSpec("odd", None, schema),), choice=ONE)
    way = grammar(pocket, asked)
    assert way is not None

    for seed in range(5):
        (call,) = called(pieces(pocket, asked, drawn(way, seed, pocket.eos_ids)))
        arguments = json.loads(call.arguments)
        assert arguments["n"] in (1, 2)
        assert arguments.keys() <= {"bad", "n"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("choice", [ToolChoice("required"), ONE], ids=["several", "one"])
def test_calls_without_an_end_are_followed_by_calls_only(
    speak: Speak, seed: int, choice: ToolChoice
) -> None:
    """Where calls go on to the end of the answer, text behind one would be part of it."""
    codec = Codec.load(speak(MISTRAL))
    asked = generation(tools=TOOLS, choice=choice)
    must = grammar(codec, asked)
    may = grammar(codec, generation(tools=TOOLS, choice=ToolChoice(parallel=choice.parallel)))
    assert must is not None
    assert may is not None

    for way in (must, may):
        answer = drawn(way, seed, codec.eos_ids, free=(_token(codec, "[TOOL_CALLS]"),))
        calls = called(pieces(codec, asked, answer))
        assert answer[-1] in codec.eos_ids
        assert calls
        assert choice.parallel or len(calls) == 1
        for call in calls:
            check(call)


def test_calls_of_no_spelling_go_unguided_and_cannot_be_required(speak: Speak) -> None:
    """Arguments that are no JSON are the model's own matter; a promise is not made."""
    codec = Codec.load(speak(CODER))

    assert grammar(codec, generation(tools=TOOLS)) is None
    with pytest.raises(InvalidRequest, match="tool_choice") as refused:
        grammar(codec, generation(tools=TOOLS, choice=ToolChoice("required")))
    assert refused.value.field == "tool_choice"


@pytest.mark.parametrize("seed", range(5))
def test_an_output_leaves_calls_of_no_spelling_free(speak: Speak, seed: int) -> None:
    """The answer is the value, or a call as the model writes it."""
    codec = Codec.load(speak(CODER))
    way = grammar(codec, generation(FLAG, TOOLS, thinking=False))
    assert way is not None
    mark = _token(codec, "<tool_call>")
    guide = way.begin(())
    first = guide.mask()
    assert first is not None
    guide.push(mark)

    assert mark in allowed(first)
    assert guide.mask() is None
    value = next(
        answer
        for s in range(seed, 200, 5)
        if mark not in (answer := drawn(way, s, codec.eos_ids, free=(min(codec.eos_ids),)))
    )
    assert isinstance(json.loads(codec.decode(value[:-1]))["a"], bool)


def test_a_call_that_is_not_offered_cannot_be_required(pocket: Codec) -> None:
    """The refusal names what was asked for."""
    with pytest.raises(InvalidRequest, match="'jump'"):
        pocket.grammar(generation(tools=TOOLS, choice=ToolChoice("required", "jump")))
    with pytest.raises(InvalidRequest, match="a call"):
        pocket.grammar(generation(choice=ToolChoice("required")))


def test_without_calls_none_can_begin(pocket: Codec) -> None:
    """All tokens may come but the one that starts a call."""
    way = grammar(pocket, generation(tools=TOOLS, choice=ToolChoice("none")))
    assert way is not None

    mask = way.begin(()).mask()

    assert mask is not None
    everything = set(range(pocket.vocabulary))
    assert everything - set(allowed(mask)) == {_token(pocket, "<tool_call>")}


@pytest.mark.parametrize("seed", range(10))
def test_an_output_beside_tools_is_a_value_or_calls(pocket: Codec, seed: int) -> None:
    """One or the other, whole."""
    asked = generation(FLAG, TOOLS)
    way = grammar(pocket, asked)
    assert way is not None

    found = pieces(pocket, asked, drawn(way, seed, pocket.eos_ids))

    if called(found):
        assert said(found) == ""
        for call in called(found):
            check(call)
    else:
        assert isinstance(json.loads(said(found))["a"], bool)


# Thoughts


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("choice", [None, ToolChoice("required")], ids=["output", "call"])
def test_a_thought_is_free_and_what_follows_is_not(
    speak: Speak, *, opened: bool, choice: ToolChoice | None
) -> None:
    """Whoever opened the thought, the model or its prompt; only an end of the turn waits."""
    codec = Codec.load(speak(CHATML))
    asked = generation(tools=TOOLS, choice=choice) if choice else generation(FLAG)
    way = grammar(codec, asked, thinking=opened)
    assert way is not None
    thought = codec._vocabulary.splice(("hm {",))
    begun = () if opened else (_token(codec, "<think>"),)
    guide = way.begin((*begun, *thought))
    mask = guide.mask()
    ended = (*begun, *thought, _token(codec, "</think>"))

    answer = [*ended, *drawn(way, 3, codec.eos_ids, begun=ended)]
    found = pieces(codec, asked, answer, thinking=opened)

    assert mask is not None
    assert set(range(codec.vocabulary)) - set(allowed(mask)) == set(codec.eos_ids)
    thoughts = [piece.text for piece in found if isinstance(piece, ThinkingDelta)]
    assert "".join(thoughts) == "hm {"
    if choice:
        assert said(found) == ""
        check(called(found)[0])
    else:
        assert isinstance(json.loads(said(found))["a"], bool)


def test_who_is_told_not_to_think_does_not(speak: Speak) -> None:
    """A thought may begin an answer, unless the request says that there is to be none."""
    codec = Codec.load(speak(CHATML))
    masks = [
        way.begin(()).mask()
        for thinking in (None, True, False)
        if (way := grammar(codec, generation(FLAG, thinking=thinking)))
    ]

    think = _token(codec, "<think>")
    assert [mask is not None and think in allowed(mask) for mask in masks] == [True, True, False]


def test_calls_in_a_thought_are_no_calls(speak: Speak) -> None:
    """The start of a call means nothing there."""
    codec = Codec.load(speak(CHATML))
    way = grammar(codec, generation(tools=TOOLS))
    assert way is not None
    think, call = _token(codec, "<think>"), _token(codec, "<tool_call>")
    over = _token(codec, "</think>")

    assert way.begin((think, call)).mask() is None
    assert way.begin((think, call, over)).mask() is None
    assert way.begin((think, call, over, call)).mask() is not None


def test_fragments_of_arguments_join_to_the_arguments(pocket: Codec) -> None:
    """What streams while it is written is what the call has in the end."""
    asked = generation(tools=(LOOK,), choice=ONE)
    way = grammar(pocket, asked)
    assert way is not None

    found = pieces(pocket, asked, drawn(way, 5, pocket.eos_ids))

    fragments = [piece.text for piece in found if isinstance(piece, ArgumentsDelta)]
    assert len(fragments) > 1
    assert "".join(fragments) == called(found)[0].arguments


def _token(codec: Codec, spelled: str) -> int:
    """Return the control token that is spelled like this."""
    return next(id_ for id_, text in codec._vocabulary.controls.items() if text == spelled)

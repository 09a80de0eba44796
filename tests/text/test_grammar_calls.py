"""Calls and thoughts that are drawn without sense, and are what was asked for all the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.request import ToolChoice, ToolSpec
from semantic_actors.domain.stream import ArgumentsDelta, ThinkingDelta
from semantic_actors.text import Codec
from tests.text.drawing import allowed, drawn, generation, grammar
from tests.text.tools import (
    CODER,
    FLAG,
    LOOK,
    MISTRAL,
    ODD,
    ONE,
    TOOLS,
    called,
    check,
    control,
    pieces,
    said,
)
from tests.text.zoo import CHATML

Speak = Callable[..., Path]


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
    mark = encode(("<tool_call>",)) if letters else (control(pocket, "<tool_call>"),)
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

    guide.push(control(pocket, "<tool_call>"))
    inside = guide.mask()
    call = '{"name": "look", "arguments": {"at": "here"}}'
    for token in (*pocket._vocabulary.splice((call,)), control(pocket, "</tool_call>")):
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
        answer = drawn(way, seed, codec.eos_ids, free=(control(codec, "[TOOL_CALLS]"),))
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
    mark = control(codec, "<tool_call>")
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
    assert everything - set(allowed(mask)) == {control(pocket, "<tool_call>")}


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
    begun = () if opened else (control(codec, "<think>"),)
    guide = way.begin((*begun, *thought))
    mask = guide.mask()
    ended = (*begun, *thought, control(codec, "</think>"))

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

    think = control(codec, "<think>")
    assert [mask is not None and think in allowed(mask) for mask in masks] == [True, True, False]


def test_calls_in_a_thought_are_no_calls(speak: Speak) -> None:
    """The start of a call means nothing there."""
    codec = Codec.load(speak(CHATML))
    way = grammar(codec, generation(tools=TOOLS))
    assert way is not None
    think, call = control(codec, "<think>"), control(codec, "<tool_call>")
    over = control(codec, "</think>")

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

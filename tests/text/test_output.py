"""From drawn tokens to what a client sees."""

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer

from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    TextPrompt,
    ToolChoice,
    ToolSpec,
)
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
)
from semantic_actors.text import Codec, OutputDecoder, Piece, StopHit
from semantic_actors.text.detokenizer import Detokenizer
from semantic_actors.text.splitter import Splitter, ThoughtMarks
from semantic_actors.text.stops import StopMatcher
from tests.text import zoo

ASKED = ChatPrompt((ChatMessage("user", "hi"),), (ToolSpec("look"),))
KINDS_OF_A_CALL = [CallStarted, ArgumentsDelta, ToolCalled]
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "you"}}\n</tool_call>'


def _ids(text: str) -> list[int]:
    return zoo.byte_level().encode(text, add_special_tokens=False).ids


def _answer(decoder: OutputDecoder, ids: list[int]) -> list[Piece]:
    return [*(piece for token in ids for piece in decoder.push(token)), *decoder.close()]


def _text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


@pytest.fixture
def chatml(codec: Callable[[str], Codec]) -> Codec:
    """Return the codec of the ChatML family."""
    return codec("chatml")


def test_special_tokens_are_hidden_and_others_shown(chatml: Codec) -> None:
    """Markers of a model's own are text where nobody chats; control tokens never are."""
    ids = _ids("<|im_start|><think>a</think>b<s><|im_end|>")

    plain = _answer(chatml.decoder(Generation(TextPrompt("hi")), thinking=True), ids)
    said = _answer(chatml.decoder(Generation(ASKED)), ids)

    assert _text(plain) == "<think>a</think>b"
    assert [TextDelta("b")] == [piece for piece in said if not isinstance(piece, ThinkingDelta)]
    assert ThinkingDelta("a") in said


def test_an_offered_tool_is_called(chatml: Codec) -> None:
    """Text comes before the call that follows it, and the call is no text."""
    pieces = _answer(chatml.decoder(Generation(ASKED)), _ids(f"Look: {CALL}<|im_end|>"))

    assert _text(pieces) == "Look: "
    match pieces[-1]:
        case ToolCalled(call=call):
            assert (call.name, call.arguments) == ("look", '{"at": "you"}')
        case _:
            pytest.fail(f"no call: {pieces}")


def test_without_tools_a_call_is_text(chatml: Codec) -> None:
    """Nobody who offered no tool is surprised by a call."""
    for prompt in (TextPrompt("hi"), ChatPrompt(ASKED.messages)):
        assert _text(_answer(chatml.decoder(Generation(prompt)), _ids(CALL))) == CALL


def test_special_markers_reach_the_parser(speak: Callable[..., object]) -> None:
    """A marker that is a special token is part of the call, and hidden anywhere else."""
    template = zoo.MISTRAL + "{%- if tools and false %}[TOOL_CALLS]{%- endif %}"
    codec = Codec.load(str(speak(template, "</s>")))
    call = '[TOOL_CALLS]look[ARGS]{"at": 1}</s>'

    called = _answer(codec.decoder(Generation(ASKED)), _ids(call))
    hidden = _answer(codec.decoder(Generation(TextPrompt("hi"))), _ids(call))

    assert [type(piece) for piece in called] == KINDS_OF_A_CALL
    assert _text(hidden) == 'look[ARGS]{"at": 1}'


def test_an_unfinished_character_comes_before_the_marker_behind_it(
    speak: Callable[..., object],
) -> None:
    """A special marker that is shown ends what was held, in order."""
    template = zoo.MISTRAL + "{%- if tools and false %}[TOOL_CALLS]{%- endif %}"
    decoder = Codec.load(str(speak(template, "</s>"))).decoder(Generation(ASKED))

    pieces = _answer(decoder, [*_ids("\U0001f98a")[:-1], *_ids("[TOOL_CALLS]\u00e9")])

    assert _text(pieces) == "\ufffd[TOOL_CALLS]\u00e9"


def test_nothing_comes_after_a_stop_string(chatml: Codec) -> None:
    """Text before the stop string is shown, then the hit, then nothing, calls included."""
    pieces = _answer(
        chatml.decoder(Generation(ASKED, stop=("over",))), _ids(f"jumps over the{CALL}")
    )

    assert _text(pieces) == "jumps "
    assert StopHit("over") == pieces[-1]


def test_stop_strings_are_not_looked_for_in_calls(chatml: Codec) -> None:
    """A stop string that a call contains does not break the call."""
    pieces = _answer(chatml.decoder(Generation(ASKED, stop=("}", "look"))), _ids(CALL))

    assert [type(piece) for piece in pieces] == KINDS_OF_A_CALL


def test_what_was_held_for_a_stop_string_comes_at_the_end(chatml: Codec) -> None:
    """The beginning of a stop string that never came is text."""
    decoder = chatml.decoder(Generation(TextPrompt(""), stop=("words and",)))

    assert _text(_answer(decoder, _ids("more words"))) == "more words"
    assert decoder.close() == ()


def test_stop_strings_are_not_looked_for_in_thoughts(chatml: Codec) -> None:
    """A model may think of anything; the text behind is what is stopped."""
    decoder = chatml.decoder(Generation(ASKED, stop=("over",)), thinking=True)

    pieces = _answer(decoder, _ids("over and over</think>\n\njumps over"))

    assert "".join(piece.text for piece in pieces if isinstance(piece, ThinkingDelta)) == (
        "over and over"
    )
    assert _text(pieces) == "jumps "
    assert StopHit("over") == pieces[-1]


def test_text_held_for_a_stop_string_comes_before_the_thought_behind_it(chatml: Codec) -> None:
    """What is shown is in the order in which it was written."""
    decoder = chatml.decoder(Generation(ASKED, stop=("over!",)))

    pieces = _answer(decoder, _ids("jumps over<think>hm</think>the dog"))

    kinds = [type(piece) for piece in pieces]
    thought = kinds.index(ThinkingDelta)
    assert _text(pieces[:thought]) == "jumps over"
    assert _text(pieces[thought:]) == "the dog"


def test_where_no_tool_may_be_called_none_is_and_no_mark_is_shown(chatml: Codec) -> None:
    """The tools are in the prompt all the same; what the model makes of them is text."""
    none = Generation(ASKED, tool_choice=ToolChoice("none"))

    pieces = _answer(chatml.decoder(none), _ids(f"So: {CALL}"))

    assert _text(pieces) == 'So: \n{"name": "look", "arguments": {"at": "you"}}\n'


def test_a_tool_that_is_shown_in_a_message_is_called(chatml: Codec) -> None:
    """Tools that are not in the prompt's list can be found on the way."""
    prompt = ChatPrompt(ASKED.messages, shown=(ToolSpec("look"),))

    assert [
        type(piece) for piece in _answer(chatml.decoder(Generation(prompt)), _ids(CALL))
    ] == KINDS_OF_A_CALL


def test_marks_of_several_tokens_are_told_from_text(byte_level: Tokenizer) -> None:
    """A thought may be marked by a control token and a word, in whatever pieces that comes."""
    special = {_ids(mark)[0]: mark for mark in ("<|start|>", "<|end|>")}
    splitter = Splitter(ThoughtMarks("<|start|>thought", "<|end|>"))
    detokenizer = Detokenizer(byte_level, byte_level=True)
    decoder = OutputDecoder(detokenizer, special, StopMatcher(()), splitter)

    pieces = _answer(decoder, _ids("<|start|>thought\nhm, \U0001f98a<|end|>\nYes<|end|>."))

    thought = "".join(piece.text for piece in pieces if isinstance(piece, ThinkingDelta))
    assert (thought, _text(pieces)) == ("hm, \U0001f98a", "Yes.")


def test_an_empty_answer_to_who_waits_for_a_thought_is_nothing(chatml: Codec) -> None:
    """An end right behind the prompt."""
    assert _answer(chatml.decoder(Generation(ASKED), thinking=True), _ids("<|im_end|>")) == []


def test_a_guided_call_streams_token_by_token(chatml: Codec) -> None:
    """The template's spelling is known, and the grammar's promise is believed."""
    call = '<tool_call>\n{"name": "look", "arguments": {"at": "you \U0001f98a"}}\n</tool_call>'

    pieces = _answer(chatml.decoder(Generation(ASKED), guided=True), _ids(call))

    deltas = [piece.text for piece in pieces if isinstance(piece, ArgumentsDelta)]
    assert len(deltas) > 3
    assert "".join(deltas) == '{"at": "you \U0001f98a"}'
    assert isinstance(pieces[0], CallStarted)
    assert isinstance(pieces[-1], ToolCalled)

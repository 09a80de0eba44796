"""From drawn tokens to what a client sees."""

from collections.abc import Callable

import pytest

from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation, TextPrompt, ToolSpec
from semantic_actors.domain.stream import TextDelta, ToolCalled
from semantic_actors.text import Codec, OutputDecoder, Piece, StopHit
from tests.text import zoo

ASKED = ChatPrompt((ChatMessage("user", "hi"),), (ToolSpec("look"),))
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
    """Markers of the model's own, such as `<think>`, are text; control tokens never are."""
    decoder = chatml.decoder(Generation(ASKED))

    assert (
        _text(_answer(decoder, _ids("<|im_start|><think>a</think>b<s><|im_end|>")))
        == "<think>a</think>b"
    )


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

    assert [isinstance(piece, ToolCalled) for piece in called] == [True]
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

    assert [isinstance(piece, ToolCalled) for piece in pieces] == [True]


def test_what_was_held_for_a_stop_string_comes_at_the_end(chatml: Codec) -> None:
    """The beginning of a stop string that never came is text."""
    decoder = chatml.decoder(Generation(TextPrompt(""), stop=("words and",)))

    assert _text(_answer(decoder, _ids("more words"))) == "more words"
    assert decoder.close() == ()

"""The bundled model's text."""

import pytest

from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation, ToolCall, ToolSpec
from semantic_actors.domain.stream import ToolCalled
from semantic_actors.engine import pocket_path
from semantic_actors.text import Codec

TOOLS = (ToolSpec("get_weather", "Say the weather.", {"type": "object"}),)


@pytest.fixture(scope="module")
def codec() -> Codec:
    """Return the codec of the pocket model."""
    return Codec.load(pocket_path())


def _draw(codec: Codec, text: str) -> tuple[int, ...]:
    """Return `text` as the model would draw it, markers of calls as tokens."""
    return tuple(codec._vocabulary.tokenizer.encode(text, add_special_tokens=False).ids)


def test_a_call_of_the_pocket_model_survives_the_journey(codec: Codec) -> None:
    """Rendered, answered with a call, replayed with its result: every turn is an append."""
    messages = (ChatMessage("system", "Be kind."), ChatMessage("user", "Weather in Paris?"))
    prompt = ChatPrompt(messages, TOOLS)
    first = codec.render(prompt)
    drawn = _draw(
        codec, '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
    )
    decoder = codec.decoder(Generation(prompt))

    *_, called = [piece for token in drawn for piece in decoder.push(token)]
    assert isinstance(called, ToolCalled)
    call: ToolCall = called.call
    answered = (
        *messages,
        ChatMessage("assistant", "", (call,)),
        ChatMessage("tool", "Sunny <|im_end|>", tool_call_id=call.id),
    )
    second = codec.render(ChatPrompt(answered, TOOLS), {2: drawn})

    assert (call.name, call.arguments) == ("get_weather", '{"city": "Paris"}')
    assert (*first, *drawn, *codec.eos_ids) == second[: len(first) + len(drawn) + 1]
    assert codec.render(ChatPrompt(answered, TOOLS)) == second


def test_the_pocket_model_ends_its_turn_with_one_token(codec: Codec) -> None:
    """Its one end token is the template's end of a message."""
    assert _draw(codec, "<|im_end|>") == tuple(codec.eos_ids)


def test_tokens_are_spelled_for_people(codec: Codec) -> None:
    """All that the model reads is shown, control tokens too."""
    prompt = ChatPrompt(
        (ChatMessage("system", "Be kind."), ChatMessage("user", "Hello, caf\u00e9!"))
    )

    text = codec.decode(codec.render(prompt))

    assert "<|im_start|>user\nHello, caf\u00e9!<|im_end|>" in text
    assert codec.decode(()) == ""

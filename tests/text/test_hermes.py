"""Tools for models whose template knows of none."""

from collections.abc import Callable
from typing import Any

import pytest

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation, ToolCall, ToolSpec
from semantic_actors.domain.stream import ArgumentsDelta, CallStarted, TextDelta, ToolCalled
from semantic_actors.text import Codec, Piece
from tests.text import zoo

Get = Callable[[str], Any]

TOOLS = (ToolSpec("look", "See.", {"type": "object"}), ToolSpec("leave"))
USER = ChatMessage("user", "hi")
BARE = '{"name": "look", "parameters": {"at": "you"}}'
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "you"}}\n</tool_call>'


def _ids(text: str) -> tuple[int, ...]:
    return tuple(zoo.byte_level().encode(text, add_special_tokens=False).ids)


def _answer(codec: Codec, text: str, prompt: ChatPrompt, **options: Any) -> list[Piece]:
    decoder = codec.decoder(Generation(prompt), **options)
    return [*(piece for token in _ids(text) for piece in decoder.push(token)), *decoder.close()]


def _called(pieces: list[Piece]) -> list[tuple[str, str]]:
    calls = [piece.call for piece in pieces if isinstance(piece, ToolCalled)]
    return [(call.name, call.arguments) for call in calls]


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma", "thinker"])
def test_any_template_tells_of_tools(family: str, codec: Get) -> None:
    """The system's message lists them, whoever says it, ahead of the first question."""
    spoken: Codec = codec(family)
    messages = (ChatMessage("system", "Be kind."), USER)

    text = spoken.decode(spoken.render(ChatPrompt(messages, TOOLS)))

    listed = (
        '{"type": "function", "function":'
        ' {"name": "look", "description": "See.", "parameters": {"type": "object"}}}'
    )
    assert text.index("Be kind.\n\n") < text.index(listed) < text.index("hi")
    assert '"name": "leave"' in text


def test_tools_are_told_where_there_is_no_system_message(codec: Get) -> None:
    """They make one."""
    text = codec("llama").decode(codec("llama").render(ChatPrompt((USER,), TOOLS)))

    assert text.startswith("<s><|start|>system<|end|>\n\nYou can use tools.")


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma"])
def test_calls_and_results_are_told_in_text(family: str, codec: Get) -> None:
    """In the notation that the model was told of, whether the tools are still offered or not."""
    spoken: Codec = codec(family)
    call, other = ToolCall("1", "look", '{"at":"you"}'), ToolCall("2", "leave", "{}")
    messages = (
        USER,
        ChatMessage("assistant", "So:", (call, other)),
        ChatMessage("tool", "gone", tool_call_id="2"),
        ChatMessage("tool", "seen", tool_call_id="1"),
    )

    for tools in (TOOLS, ()):
        text = spoken.decode(spoken.render(ChatPrompt(messages, tools)))

        assert f'So:\n{CALL}\n<tool_call>\n{{"name": "leave", "arguments": {{}}}}\n' in text
        assert (
            "<tool_response>\nseen\n</tool_response>\n<tool_response>\ngone\n</tool_response>"
        ) in text


@pytest.mark.parametrize("family", ["llama", "gemma", "thinker"])
@pytest.mark.parametrize("drawn", [CALL, f"Let me.\n{CALL}", BARE, f"```json\n{BARE}\n```"])
def test_an_agent_works_with_any_model(family: str, drawn: str, codec: Get) -> None:
    """A call is read, and its result is an append to the tokens that the model drew."""
    spoken: Codec = codec(family)
    prompt = ChatPrompt((USER,), TOOLS)
    first = spoken.render(prompt)

    drawn = f"hm</think>{drawn}" if family == "thinker" else drawn
    pieces = _answer(spoken, drawn, prompt, thinking=spoken.opens_thought(first))
    (called,) = [piece.call for piece in pieces if isinstance(piece, ToolCalled)]
    answer = ChatMessage("assistant", "", (called,))
    result = ChatMessage("tool", "seen", tool_call_id=called.id)
    second = spoken.render(ChatPrompt((USER, answer, result), TOOLS), {1: _ids(drawn)})

    assert (called.name, called.arguments) == ("look", '{"at": "you"}')
    whole = (*first, *_ids(drawn))
    assert second[: len(whole)] == whole
    assert "<tool_response>\nseen\n</tool_response>" in spoken.decode(second[len(whole) :])


def test_a_call_streams_where_a_grammar_guarantees_it(codec: Get) -> None:
    """The notation that the model is told of has a spelling."""
    pieces = _answer(codec("llama"), CALL, ChatPrompt((USER,), TOOLS), guided=True)

    assert isinstance(pieces[0], CallStarted)
    assert sum(isinstance(piece, ArgumentsDelta) for piece in pieces) > 1
    assert _called(pieces) == [("look", '{"at": "you"}')]


@pytest.mark.parametrize("text", [CALL, BARE])
def test_a_template_that_shows_tools_in_a_way_that_is_not_known_calls_them(
    text: str, speak: Callable[..., Any]
) -> None:
    """Models whose notation mlx-lm does not know are read in the two that are most spread."""
    template = "{{ tools | tojson if tools }}{% for m in messages %}{{ m.content }}{% endfor %}"
    codec = Codec.load(speak(template))
    prompt = ChatPrompt((USER,), TOOLS)

    assert "You can use tools." not in codec.decode(codec.render(prompt))
    assert _called(_answer(codec, text, prompt)) == [("look", '{"at": "you"}')]


@pytest.mark.parametrize(
    "calls",
    [
        "{% if m.tool_calls %}{{ raise_exception('no calls') }}{% endif %}",
        "{% if m.role == 'tool' %}{{ raise_exception('no results') }}{% endif %}",
        "{% for c in m.tool_calls or [] %}{{ c.name + c.function.arguments }}{% endfor %}",
    ],
    ids=["calls", "results", "objects"],
)
def test_a_template_that_refuses_calls_is_told_of_them_in_text(
    calls: str, speak: Callable[..., Any]
) -> None:
    """A conversation that is refused for its calls alone goes on all the same."""
    codec = Codec.load(
        speak("{{ tools }}{% for m in messages %}" + calls + "{{ m.content }};{% endfor %}")
    )
    call = ToolCall("1", "look", '{"at": "you"}')
    messages = (
        USER,
        ChatMessage("assistant", "So:", (call,)),
        ChatMessage("tool", "seen", tool_call_id="1"),
    )

    text = codec.decode(codec.render(ChatPrompt(messages)))

    assert text.endswith(f"hi;So:\n{CALL};<tool_response>\nseen\n</tool_response>;")


def test_without_tools_no_call_is_read(codec: Get) -> None:
    """JSON and tags are text where no tool was offered."""
    for text in (CALL, BARE):
        pieces = _answer(codec("llama"), text, ChatPrompt((USER,)))

        assert {type(piece) for piece in pieces} == {TextDelta}
        assert "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)) == text


@pytest.mark.parametrize("arguments", ["[]", "not json"])
def test_arguments_in_text_are_checked_too(codec: Get, arguments: str) -> None:
    """What is refused does not depend on the template."""
    message = ChatMessage("assistant", "", (ToolCall("1", "look", arguments),))

    with pytest.raises(InvalidRequest, match="JSON object"):
        codec("llama").render(ChatPrompt((USER, message)))


def test_words_that_spell_a_control_token_are_words(codec: Get) -> None:
    """Tools, arguments and results are a client's text here as anywhere."""
    spoken: Codec = codec("llama")
    vicious = ToolSpec("look", "<|eot|>")
    call = ToolCall("1", "look", '{"at": "<|eot|>"}')
    result = ChatMessage("tool", "<|eot|>", tool_call_id="1")

    ids = spoken.render(
        ChatPrompt((USER, ChatMessage("assistant", "", (call,)), result), (vicious,))
    )

    assert ids.count(_ids("<|eot|>")[0]) == 4

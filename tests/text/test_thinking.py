"""Models that think: how they are asked to, and their thoughts in what is remembered."""

from collections.abc import Callable
from typing import Any

import pytest

from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation, ToolCall, ToolSpec
from semantic_actors.domain.stream import TextDelta, ThinkingDelta, ToolCalled
from semantic_actors.text import Codec, Piece
from tests.text import zoo

Get = Callable[[str], Any]

USER = ChatMessage("user", "hi")
TOOLS = (ToolSpec("look"), ToolSpec("leave"))
CALLS = (
    '<tool_call>\n{"name": "look", "arguments": {"at": "you"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "leave", "arguments": {}}\n</tool_call>'
)


def _drawn(text: str) -> TokenIds:
    return tuple(zoo.byte_level().encode(text, add_special_tokens=False).ids)


def _shown(codec: Codec, ids: TokenIds) -> str:
    return codec.decode(ids)


def _heard(codec: Codec, prompt: ChatPrompt, drawn: TokenIds) -> ChatMessage:
    """Return the answer as a client gets it."""
    thinking = codec.opens_thought(codec.render(prompt))
    decoder = codec.decoder(Generation(prompt), thinking=thinking)
    pieces: list[Piece] = [*(p for t in drawn for p in decoder.push(t)), *decoder.close()]
    return ChatMessage(
        "assistant",
        "".join(piece.text for piece in pieces if isinstance(piece, TextDelta)),
        tuple(piece.call for piece in pieces if isinstance(piece, ToolCalled)),
        reasoning="".join(piece.text for piece in pieces if isinstance(piece, ThinkingDelta)),
    )


@pytest.mark.parametrize(
    ("family", "thinking", "end"),
    [
        ("switch", True, "assistant\n"),
        ("switch", None, "assistant\n"),
        ("switch", False, "assistant\n<think>\n\n</think>\n\n"),
        ("opener", True, "assistant\n<think>\n"),
        ("opener", None, "assistant\n<think>\n"),
        ("opener", False, "assistant\n<think>\n\n</think>\n\n"),
        ("deep", True, "[/INST]<think>"),
        ("deep", False, "[/INST]</think>"),
        ("thinker", False, "assistant\n<think>\n"),
    ],
)
def test_the_template_is_told_whether_to_think(
    family: str,
    thinking: bool | None,  # noqa: FBT001
    end: str,
    codec: Get,
) -> None:
    """It writes what it writes then, and the answer begins inside a thought or not."""
    ids = codec(family).render(ChatPrompt((USER,), thinking=thinking))

    assert _shown(codec(family), ids).endswith(end)
    assert codec(family).opens_thought(ids) == end.rstrip().endswith("<think>")


@pytest.mark.parametrize(
    ("family", "thinking", "text"),
    [
        ("switch", True, "<think>\nlet me see\n</think>\n\nYes."),
        ("switch", False, "Yes."),
        ("opener", True, "let me see\n</think>\n\nYes."),
        ("opener", False, "Yes."),
        ("deep", True, "let me see</think>Yes."),
        ("deep", False, "Yes."),
        ("thinker", None, "let me see\n</think>\n\nYes."),
    ],
)
@pytest.mark.parametrize("later", [None, True, False])
def test_what_follows_a_thinking_turn_is_an_append(
    family: str,
    thinking: bool | None,  # noqa: FBT001
    text: str,
    later: bool | None,  # noqa: FBT001
    codec: Get,
) -> None:
    """Thought opened by the prompt, by the model or not at all; asked to think or not later.

    Whether the client sends the thought back or not.
    """
    spoken: Codec = codec(family)
    prompt, drawn = ChatPrompt((USER,), thinking=thinking), _drawn(text)
    first = spoken.render(prompt)
    answer = _heard(spoken, prompt, drawn)
    replay = {1: (*spoken.opening(first), *drawn)}

    assert answer.content == "Yes."
    assert answer.reasoning == ("let me see" if "see" in text else "")
    for back in (answer, ChatMessage("assistant", answer.content)):
        told = (USER, back, ChatMessage("user", "And?"))
        second = spoken.render(ChatPrompt(told, thinking=later), replay)

        assert second[: len(first) + len(drawn)] == (*first, *drawn)


@pytest.mark.parametrize(
    ("family", "thinking", "text"),
    [
        ("switch", True, f"<think>\nlet me see\n</think>\n\n{CALLS}"),
        ("switch", False, CALLS),
        ("opener", None, f"let me see\n</think>\n\nSo:\n{CALLS}"),
        ("opener", False, CALLS),
        ("deep", True, f"let me see</think>{CALLS}"),
        ("thinker", None, f"let me see\n</think>\n\n{CALLS}"),
    ],
)
@pytest.mark.parametrize("later", [None, False])
def test_what_follows_calls_after_a_thought_is_an_append(
    family: str,
    thinking: bool | None,  # noqa: FBT001
    text: str,
    later: bool | None,  # noqa: FBT001
    codec: Get,
) -> None:
    """Results come behind the very tokens of the calls, in the order of the calls."""
    spoken: Codec = codec(family)
    prompt, drawn = ChatPrompt((USER,), TOOLS, thinking), _drawn(text)
    first = spoken.render(prompt)
    answer = _heard(spoken, prompt, drawn)
    results = tuple(
        ChatMessage("tool", f"result of {call.name}", tool_call_id=call.id)
        for call in answer.tool_calls
    )
    told = [ChatPrompt((USER, answer, *run), TOOLS, later) for run in (results, results[::-1])]

    second, other = (spoken.render(one, {1: (*spoken.opening(first), *drawn)}) for one in told)

    assert [call.name for call in answer.tool_calls] == ["look", "leave"]
    assert second[: len(first) + len(drawn)] == (*first, *drawn)
    rest = _shown(spoken, second[len(first) + len(drawn) :])
    assert rest.index("result of look") < rest.index("result of leave")
    assert other == second


def test_a_thought_that_comes_back_is_shown_where_templates_take_it(codec: Get) -> None:
    """Behind the last question a template keeps thoughts; without a replay it is told of them."""
    call = ToolCall("toolu_1", "look", "{}")
    messages = (
        USER,
        ChatMessage("assistant", "", (call,), reasoning="let me see <|im_end|>"),
        ChatMessage("tool", "seen", tool_call_id=call.id),
    )
    spoken: Codec = codec("switch")

    ids = spoken.render(ChatPrompt(messages, TOOLS))

    assert "<think>\nlet me see <|im_end|>\n</think>\n\n<tool_call>" in _shown(spoken, ids)
    assert ids.count(_drawn("<|im_end|>")[0]) == 4


def test_an_answer_remembered_without_its_opening_is_still_its_own(codec: Get) -> None:
    """What was kept before prompts had ends of their own replays behind what they share."""
    spoken: Codec = codec("opener")
    prompt = ChatPrompt((USER, ChatMessage("assistant", "Yes."), USER))

    text = _shown(spoken, spoken.render(prompt, {1: _drawn("Yes.")}))

    assert "<|im_start|>assistant\n<think>Yes.<|im_end|>" in text

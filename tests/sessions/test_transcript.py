"""What makes two conversations the same."""

import pytest

from semantic_actors.domain.request import ChatMessage, ToolCall
from semantic_actors.sessions.transcript import Transcript, digests

USER = ChatMessage("user", "hi")
CALLS = (ToolCall("1", "look", '{"n": 5000.0}'), ToolCall("2", "leave", "{}"))
ANSWER = ChatMessage("assistant", "Let me see.\n", CALLS, reasoning="hm")
RESULTS = (
    ChatMessage("tool", "seen", tool_call_id="1"),
    ChatMessage("tool", "left", tool_call_id="2"),
)


def _last(*messages: ChatMessage) -> bytes:
    return digests(messages)[-1]


@pytest.mark.parametrize(
    "echo",
    [
        ChatMessage("assistant", "Let me see.\n", CALLS),
        ChatMessage("assistant", "Let me see.", CALLS, reasoning="other"),
        ChatMessage("assistant", "\nLet me see.\n\n", (ToolCall("1", "look", "x"), CALLS[1])),
    ],
)
def test_an_answer_is_the_same_however_a_client_serialises_it(echo: ChatMessage) -> None:
    """With its thoughts or without, trimmed or not, its arguments written anew."""
    assert _last(USER, echo) == _last(USER, ANSWER)


@pytest.mark.parametrize(
    "other",
    [
        ChatMessage("assistant", "Let me be.", CALLS),
        ChatMessage("assistant", "Let me see.\n", CALLS[:1]),
        ChatMessage("assistant", "Let me see.\n", CALLS[::-1]),
        ChatMessage("assistant", "Let me see.\n"),
        ChatMessage("user", "Let me see.\n"),
    ],
)
def test_an_answer_that_says_something_else_is_another(other: ChatMessage) -> None:
    """Its words and its calls make an answer."""
    assert _last(USER, other) != _last(USER, ANSWER)


def test_white_space_inside_an_answer_without_calls_counts() -> None:
    """In a program it means something."""
    assert _last(ChatMessage("assistant", "a\n b")) != _last(ChatMessage("assistant", "a\nb"))
    assert _last(ChatMessage("assistant", " a\n b\n")) == _last(ChatMessage("assistant", "a\n b"))


def test_results_of_calls_made_at_once_count_in_the_order_of_the_calls() -> None:
    """They come in the order in which the client had them."""
    one, other = ((USER, ANSWER, *run, USER) for run in (RESULTS, RESULTS[::-1]))

    assert digests(one) == digests(other)
    assert digests(one) != digests((USER, ANSWER, RESULTS[0], RESULTS[0], USER))


def test_an_answer_is_found_by_the_conversation_that_ends_with_it() -> None:
    """Not behind another question."""
    transcript = Transcript()
    transcript.remember(_last(USER), ANSWER, (1, 2, 3))
    echo = ChatMessage("assistant", "Let me see.", CALLS)

    assert transcript.replay(digests((USER, echo, *RESULTS))) == {1: (1, 2, 3)}
    assert transcript.replay(digests((ChatMessage("user", "ho"), echo))) == {}

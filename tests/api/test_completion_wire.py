"""A text completion request of OpenAI's and what it means."""

from typing import Any

import pytest

from semantic_actors.api import completion_wire
from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.request import (
    TextPrompt,
    TokenPrompt,
)
from tests.api.openai_requests import completion, request


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Once", [TextPrompt("Once")]),
        (["Two"], [TextPrompt("Two")]),
        (["a", "b"], [TextPrompt("a"), TextPrompt("b")]),
        ([5, 0, 7], [TokenPrompt((5, 0, 7))]),
        ([[5, 0], [7]], [TokenPrompt((5, 0)), TokenPrompt((7,))]),
    ],
)
def test_prompts(given: Any, expected: list[TextPrompt | TokenPrompt]) -> None:
    """A prompt is text or token ids, one or several; each has its answers, one after the other."""
    asked = completion_wire.generations(request(prompt=given, n=3, best_of=3, seed=2))

    assert [one.prompt for one in asked] == [each for each in expected for _ in range(3)]
    assert [one.sampling.seed for one in asked[:3]] * len(expected) == [
        one.sampling.seed for one in asked
    ]


def test_completion() -> None:
    """This API's default is 16 tokens; log-probabilities are asked for by a number."""
    assert (completion().max_tokens, completion(max_tokens=3).max_tokens) == (16, 3)
    assert (completion().sampling.logprobs, completion(logprobs=5).sampling.logprobs) == (None, 5)


def test_echo() -> None:
    """The prompts are what answers begin with, if that is asked for."""
    assert completion_wire.echoes(request(prompt=["a", "b"], echo=True)) == ("a", "b")
    assert completion_wire.echoes(request(prompt=["a", "b"], echo=False)) == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"echo": True, "prompt": [1]}, "echo: expected false or null where a prompt is given in"),
        ({"echo": True, "logprobs": 1}, "logprobs: expected null beside echo"),
        ({"prompt": ["a"] * 4, "n": 5}, "prompt: expected at most 3 prompts with n 5"),
        ({"n": 2, "best_of": 3}, "best_of: 3 is not supported, only 2 or null"),
        ({"prompt": [1] * (2**19 + 1)}, "prompt: expected a string .* of 1 to 524288 items"),
    ],
)
def test_what_does_not_go_together(body: dict[str, Any], words: str) -> None:
    """Fields that contradict each other are refused by name."""
    with pytest.raises(InvalidRequest, match=words):
        completion(**body)

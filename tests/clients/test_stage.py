"""What the daemon's log must tell of a client before it is said to work."""

import json
from typing import Any

import pytest

from tests.clients.stage import ClientFailed, told, worst


def answered(prompt: int, cached: int = 0, status: int = 200) -> dict[str, Any]:
    """Make the log's line of an answer."""
    return {
        "event": "request_finished",
        "route": "/v1/messages",
        "status": status,
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "first_token_s": 0.5,
    }


def begun(label: str, prompt: int) -> dict[str, Any]:
    """Make the log's line of a script's answer."""
    return {"event": "scripted", "label": label, "prompt_tokens": prompt}


def log(*events: dict[str, Any]) -> str:
    """Write a log, with a line in it that is none of its own."""
    return "".join(f"{json.dumps(event)}\n" for event in events) + "a warning of a library\n"


def test_answers_are_told_by_their_scripts() -> None:
    """Each with its label and numbers; those that overlapped are known to."""
    turns = told(
        log(
            begun("main", 100),
            begun("agent", 50),
            answered(100),
            begun("main", 120),
            answered(50),
            answered(120, 90),
        )
    )

    assert [(turn.label, turn.prompt_tokens) for turn in turns] == [
        ("main", 100),
        ("agent", 50),
        ("main", 120),
    ]
    assert worst(turns) == turns[2]
    assert worst(turns).reuse == 0.75
    assert [turn.beside(turns[1]) for turn in (turns[0], turns[2])] == [True, True]
    assert not turns[0].beside(turns[2])


def test_answers_of_a_model_are_told_by_their_length() -> None:
    """A title's short prompt beside long ones is no turn of the conversation."""
    turns = told(log(answered(10), answered(100), answered(120, 100)))

    assert [turn.label for turn in turns] == ["side", "main", "main"]
    assert worst(turns) == turns[2]


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ((answered(100), answered(110, 100), answered(0, status=400)), r"answered with \[400\]"),
        ((begun("main", 100), answered(100)), "no second turn"),
        ((begun("main", 100), begun("main", 120), answered(100)), "prompt of 120 tokens"),
        ((), "no second turn"),
    ],
    ids=["a refusal", "one turn", "an answer without an end", "nothing"],
)
def test_a_client_that_was_not_served_has_failed(
    events: tuple[dict[str, Any], ...], why: str
) -> None:
    """Even if it leaves with 0."""
    with pytest.raises(ClientFailed, match=why):
        told(log(*events))

"""Streamed or whole, an answer of OpenAI's APIs is the same answer."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.api.chat_encode import ChatReply
from semantic_actors.api.completion_encode import CompletionReply
from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    DrawnLogprob,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCalled,
    TurnEvent,
)
from tests.api.fakes import ANSWERED, ASKED, frames
from tests.api.openai_chunks import ENVELOPE, whole

pytestmark = pytest.mark.slow

Events = list[TurnEvent]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
tokens = st.builds(TokenLogprob, st.binary(min_size=1, max_size=4), st.floats(-9, 0))
logprobs = st.lists(
    st.builds(DrawnLogprob, tokens, st.lists(tokens, max_size=2).map(tuple)), max_size=3
).map(tuple)
reasons: st.SearchStrategy[FinishReason] = st.sampled_from(
    ["stop", "length", "stop_sequence", "tool_calls", "context"]
)


@st.composite
def calls(draw: st.DrawFn) -> Events:
    """Make a call whose arguments come in pieces."""
    inner = draw(st.dictionaries(texts, texts | st.integers(), max_size=3))
    arguments = json.dumps(inner, ensure_ascii=draw(st.booleans()))
    cuts = sorted({0, len(arguments), *draw(st.lists(st.integers(0, len(arguments)), max_size=3))})
    pieces = [arguments[start:end] for start, end in itertools.pairwise(cuts)]
    call = ToolCall(draw(texts), draw(texts), arguments)
    return [CallStarted(call.id, call.name), *map(ArgumentsDelta, pieces), ToolCalled(call)]


@st.composite
def answers(draw: st.DrawFn) -> Events:
    """Make an answer as a session may tell it, its last call perhaps cut off."""
    said = st.builds(TextDelta, texts, logprobs) | st.builds(ThinkingDelta, texts)
    parts = draw(st.lists(said.map(lambda event: [event]) | calls(), max_size=6))
    cut = draw(calls())
    parts.append(cut[: draw(st.integers(0, len(cut) - 1))])
    told = [event for part in parts for event in part]
    return [Started(ASKED), *told, Finished(draw(reasons), ANSWERED)]


def streamed(reply: ChatReply | CompletionReply, events: Events) -> list[dict[str, Any]]:
    """Stream an answer and read the choices of the stream."""
    sent = b"".join(reply.encode(event) for event in events).decode()
    assert sent.endswith("data: [DONE]\n\n")
    return [data["choices"][0] for _, data in frames(sent) if isinstance(data, dict)]


def put_together(choices: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a streamed chat together as clients do."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    drawn = []
    for choice in choices:
        delta = choice["delta"]
        drawn += (choice["logprobs"] or {"content": []})["content"]
        for name in ("content", "reasoning_content"):
            message[name] += delta.get(name, "")
        for part in delta.get("tool_calls", []):
            if "id" in part:
                assert part["index"] == len(message["tool_calls"])
                message["tool_calls"].append(part)
            else:
                arguments = part["function"]["arguments"]
                message["tool_calls"][part["index"]]["function"]["arguments"] += arguments
    for index, call in enumerate(message["tool_calls"]):
        assert call.pop("index") == index
    return {"message": message, "logprobs": drawn, "finish_reason": choices[-1]["finish_reason"]}


@given(answers())
def test_chat_is_its_stream(events: Events) -> None:
    """A chat stream, put together as clients do, is the whole chat."""
    (choice,) = ChatReply(ENVELOPE).document(whole(*events))["choices"]
    message = choice["message"]

    assert put_together(streamed(ChatReply(ENVELOPE), events)) == {
        "message": {
            "content": message["content"] or "",
            "reasoning_content": message.get("reasoning_content", ""),
            "tool_calls": message.get("tool_calls", []),
        },
        "logprobs": (choice["logprobs"] or {"content": []})["content"],
        "finish_reason": choice["finish_reason"],
    }


@given(answers())
def test_completion_is_its_stream(events: Events) -> None:
    """A text completion's stream, put together, is the whole text and its columns."""
    choices = streamed(CompletionReply(ENVELOPE), events)
    (choice,) = CompletionReply(ENVELOPE).document(whole(*events))["choices"]
    shown = [part["logprobs"] for part in choices if part["logprobs"]]

    assert "".join(part["text"] for part in choices) == choice["text"]
    assert choices[-1]["finish_reason"] == choice["finish_reason"]
    for column in ("tokens", "token_logprobs", "text_offset"):
        joined = [value for each in shown for value in each[column]]
        assert joined == (choice["logprobs"] or {column: []})[column]


@given(st.lists(answers(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_choices_are_their_streams(told: list[Events], chance: Any) -> None:
    """Choices that are mixed into one stream are each what it would have been alone."""
    reply = ChatReply(ENVELOPE, n=len(told))
    waiting = [(choice, [*events]) for choice, events in enumerate(told)]
    sent = b""
    while waiting:
        choice, events = chance.choice(waiting)
        sent += reply.encode(events.pop(0), choice)
        waiting = [(number, rest) for number, rest in waiting if rest]
    assert sent.count(b"[DONE]") == 1
    mixed = [data["choices"][0] for _, data in frames(sent.decode()) if isinstance(data, dict)]

    for number, events in enumerate(told):
        own = [choice for choice in mixed if choice["index"] == number]
        alone = streamed(ChatReply(ENVELOPE), events)
        assert put_together(own) == put_together(alone)

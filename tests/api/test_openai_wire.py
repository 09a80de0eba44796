"""A chat or text request of OpenAI's and what it means."""

import json
from typing import Any

import pytest

from semantic_actors.api import chat_wire, completion_wire
from semantic_actors.api.decode import decode
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    Sampling,
    TextPrompt,
    ToolCall,
    ToolSpec,
)

HI = {"role": "user", "content": "hi"}


def chat(**body: Any) -> Generation:
    """Translate a chat."""
    whole = {"model": "any", "messages": [HI]} | body
    return chat_wire.generation(decode(json.dumps(whole).encode(), chat_wire.ChatRequest))


def prompt(**body: Any) -> ChatPrompt:
    """Translate the conversation of a chat."""
    asked = chat(**body).prompt
    assert isinstance(asked, ChatPrompt)
    return asked


def completion(**body: Any) -> Generation:
    """Translate a text completion."""
    whole = {"model": "any", "prompt": "Once"} | body
    return completion_wire.generation(
        decode(json.dumps(whole).encode(), completion_wire.CompletionRequest)
    )


def test_conversation() -> None:
    """Roles are kept in place, a developer is the system, parts are joined as blocks are."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    function = {"name": "read", "arguments": '{"z":1,  "a":2}'}
    messages = [
        {"role": "developer", "content": "d"},
        {"role": "user", "content": parts, "name": "me"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": parts},
        {"role": "assistant", "content": parts, "refusal": None},
        {"role": "system", "content": "s"},
    ]

    assert (
        ChatMessage("system", "d"),
        ChatMessage("user", "a\nb"),
        ChatMessage("assistant", "", (ToolCall("t1", "read", '{"z":1,  "a":2}'),)),
        ChatMessage("tool", "a\nb", tool_call_id="t1"),
        ChatMessage("assistant", "ab"),
        ChatMessage("system", "s"),
    ) == prompt(messages=messages).messages


def test_tools() -> None:
    """Functions are offered as they are; tools of other kinds are passed over."""
    schema = {"type": "object", "properties": {"z": {}, "a": {}}}
    function = {"name": "read", "description": "d", "parameters": schema, "strict": True}
    tools = [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "list"}},
        {"type": "custom", "custom": {"name": "x"}},
    ]

    assert (ToolSpec("read", "d", schema), ToolSpec("list")) == prompt(tools=tools).tools
    assert prompt(tools=tools, tool_choice="none").tools == ()
    assert prompt(tools=tools).tools == prompt(tools=tools, tool_choice={"type": "x"}).tools


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({"max_tokens": None, "max_completion_tokens": None}, None),
    ],
)
def test_max_tokens(body: dict[str, Any], expected: int | None) -> None:
    """Both names of the bound are understood; the newer one wins."""
    assert expected == chat(**body).max_tokens


@pytest.mark.parametrize(
    ("stop", "expected"), [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b"))]
)
def test_stop(stop: object, expected: tuple[str, ...]) -> None:
    """A stop is a string or several."""
    assert expected == chat(stop=stop).stop


def test_sampling() -> None:
    """What steers the answer is passed on as it is, a seed too."""
    asked = chat(temperature=0.5, top_p=0.25, top_k=7, min_p=0.125, seed=-5).sampling

    assert (
        asked.temperature,
        asked.top_p,
        asked.top_k,
        asked.min_p,
        asked.seed,
    ) == (0.5, 0.25, 7, 0.125, -5)


def test_steering() -> None:
    """Penalties and biases are passed on, biases by id; without them nothing is steered."""
    bias = {"1000": -100, "7": 0.5, "30": 100}
    steers: dict[str, Any] = {
        "presence_penalty": -2,
        "frequency_penalty": 2,
        "repetition_penalty": 1.25,
    }

    for asked in (
        chat(**steers, logit_bias=bias, seed=1).sampling,
        completion(**steers, logit_bias=bias, seed=1).sampling,
    ):
        assert asked == Sampling(
            seed=1,
            repetition_penalty=1.25,
            presence_penalty=-2.0,
            frequency_penalty=2.0,
            logit_bias=((7, 0.5), (30, 100.0), (1000, -100.0)),
        )
        assert asked.penalised
    nothing = dict.fromkeys([*steers, "logit_bias"])
    for asked in (chat(seed=1).sampling, chat(**nothing, seed=1).sampling):
        assert asked == Sampling(seed=1)
        assert not asked.penalised


def test_what_asks_for_nothing_is_accepted() -> None:
    """Parameters without support pass where they would change nothing."""
    chat(
        n=1,
        logprobs=False,
        top_logprobs=0,
        presence_penalty=0,
        frequency_penalty=0.0,
        logit_bias={},
        response_format={"type": "text"},
        functions=None,
        user="me",
        store=False,
    )
    completion(best_of=1, echo=False, suffix="", logprobs=None)


def test_completion() -> None:
    """A text prompt is continued as it stands; this API's default is 16 tokens."""
    assert (TextPrompt("Once"), 16) == (completion().prompt, completion().max_tokens)
    assert TextPrompt("Two") == completion(prompt=["Two"]).prompt

"""A chat or text request of OpenAI's and what it means."""

from typing import Any

import msgspec
import pytest

from semantic_actors.domain import limits
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    JsonOutput,
    Sampling,
    ToolCall,
)
from tests.api.openai_requests import chat, chats, completion, prompt


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


def test_a_call_without_arguments() -> None:
    """No arguments at all are those of an empty object."""
    function = {"name": "list", "arguments": ""}
    called = {"role": "assistant", "tool_calls": [{"id": "t1", "function": function}]}

    assert prompt(messages=[called]).messages[0].tool_calls == (ToolCall("t1", "list", "{}"),)


def test_reasoning_comes_back() -> None:
    """What the assistant thought is understood by either name; what it refused with, it said."""
    declined = [{"type": "refusal", "refusal": "I will not"}, {"type": "text", "text": "."}]
    messages = [
        {"role": "assistant", "content": "a", "reasoning_content": "b"},
        {"role": "assistant", "content": "a", "reasoning": "c", "reasoning_content": None},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": declined},
    ]

    assert (
        ChatMessage("assistant", "a", reasoning="b"),
        ChatMessage("assistant", "a", reasoning="c"),
        ChatMessage("assistant", "no"),
        ChatMessage("assistant", "I will not."),
    ) == prompt(messages=messages).messages


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ({"type": "image_url", "image_url": {"url": "http://host/a.png"}}, "image"),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "audio"),
        ({"type": "file", "file": {"file_id": "f"}}, "file"),
    ],
)
def test_attachments(part: dict[str, Any], shown: str) -> None:
    """Where it is asked for, a place is left in the text for what the model cannot read."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "see"}, part]}]

    (asked,) = chats("placeholder", messages=messages)
    assert isinstance(asked.prompt, ChatPrompt)
    assert asked.prompt.messages[0].content == (
        f"see\n[{shown} omitted: the model reads text only]"
    )


SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {}}}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonOutput('{"type":"object"}', "response_format")),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}},
            JsonOutput(
                '{"type":"object","properties":{"z":{"type":"string"},"a":{}}}',
                "response_format.json_schema.schema",
            ),
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "n"}},
            JsonOutput('{"type":"object"}', "response_format.json_schema.schema"),
        ),
    ],
)
def test_response_format(wanted: Any, expected: JsonOutput | None) -> None:
    """JSON is asked for as a schema, its keys in the order they came."""
    assert chat(response_format=wanted).output == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"reasoning_effort": None}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, True),
        ({"reasoning_effort": "high"}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"thinking": True, "other": 1}}, True),
        ({"chat_template_kwargs": {}}, None),
        ({"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "none"}, True),
    ],
)
def test_thinking(body: dict[str, Any], expected: bool | None) -> None:  # noqa: FBT001
    """An effort says whether to think; what is said to the template wins."""
    assert prompt(**body).thinking is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"logprobs": False, "top_logprobs": 0}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 20}, 20),
    ],
)
def test_logprobs(body: dict[str, Any], expected: int | None) -> None:
    """Log-probabilities are asked for with so many of the likeliest."""
    assert chat(**body).sampling.logprobs == expected


def test_choices() -> None:
    """Several answers differ by their seeds alone, and the first is the only one of a single."""
    single, several = chat(seed=7), chats(seed=7, n=16)
    seeds = [one.sampling.seed for one in several]

    assert several == chats(seed=7, n=16)
    assert several[0] == single
    assert len({*seeds}) == 16
    assert all(0 <= seed <= limits.MAX_SEED for seed in seeds)
    assert {
        msgspec.structs.replace(one, sampling=msgspec.structs.replace(one.sampling, seed=7))
        for one in several
    } == {single}
    assert len({one.sampling.seed for one in chats(n=16)}) == 16


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
        presence_penalty=0,
        frequency_penalty=0.0,
        logit_bias={},
        functions=[],
        function_call=None,
        tool_choice="none",
        parallel_tool_calls=True,
        modalities=["text"],
        audio=None,
        web_search_options=None,
    )
    completion(best_of=1, echo=False, suffix="", logprobs=None)


def test_what_does_not_concern_the_answer_is_passed_over() -> None:
    """What other servers do with a request is nothing to us, and what we do not know neither."""
    seen = chat(
        seed=1,
        user="me",
        store=True,
        metadata={"a": "b"},
        service_tier="flex",
        safety_identifier="x",
        prompt_cache_retention="24h",
        verbosity="low",
        prediction={"type": "content", "content": "a"},
        stream_options={"include_obfuscation": True},
        brand_new={"a": [1]},
    )

    assert seen == chat(seed=1)

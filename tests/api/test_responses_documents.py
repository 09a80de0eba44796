"""What a response says of itself: settings, cost, calls; and what stands in its place."""

import aiohttp
import openai
import pytest

from semantic_actors.domain.errors import (
    Draining,
    Overloaded,
    PromptTooLong,
)
from semantic_actors.domain.stream import (
    DrawnLogprob,
    Failed,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
)
from semantic_actors.domain.usage import Usage
from tests.api.fakes import (
    ASKED,
    DISAPPOINTMENT,
    MISSED,
    FakeDesk,
)
from tests.api.responses_scripts import PATH, TOOLS, answer, call


@pytest.mark.asyncio
async def test_a_call_of_a_namespace_is_told_apart(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """By the names that the client gave, not by the one that the model knows."""
    desk.script = answer(*call("files__read"), *call("made_up", "call_2"))
    whole = await gpt.responses.create(model="any", input="hi", tools=TOOLS)

    calls = [item for item in whole.output if item.type == "function_call"]
    assert [(item.namespace, item.name, item.call_id) for item in calls] == [
        ("files", "read", "call_1"),
        (None, "made_up", "call_2"),
    ]


@pytest.mark.asyncio
async def test_logprobs(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """With each piece of text those of its tokens, with the text all of them."""
    first = DrawnLogprob(TokenLogprob(b"\xc3", -0.5), (TokenLogprob(b"\xc3", -0.5),))
    second = DrawnLogprob(TokenLogprob(b"\xa9", -1.0))
    desk.script = answer(TextDelta("\xe9", (first, second)))
    stream = await gpt.responses.create(
        model="any",
        input="hi",
        include=["message.output_text.logprobs"],
        top_logprobs=1,
        stream=True,
    )
    deltas, dones, parts = [], [], []
    async for event in stream:
        if event.type == "response.output_text.delta":
            deltas.append([one.logprob for one in event.logprobs])
        elif event.type == "response.output_text.done":
            dones.append([one.logprob for one in event.logprobs])
        elif event.type == "response.completed":
            message = event.response.output[0]
            assert message.type == "message"
            assert message.content[0].type == "output_text"
            parts = message.content[0].logprobs or []

    assert deltas == dones == [[-0.5, -1.0]]
    assert [one.bytes for one in parts] == [[0xC3], [0xA9]]
    assert [top.bytes for top in parts[0].top_logprobs] == [[0xC3]]


@pytest.mark.asyncio
async def test_what_a_response_repeats(gpt: openai.AsyncOpenAI) -> None:
    """Its request's settings, or what stands for those that were not made."""
    plain = await gpt.responses.create(input="hi")
    made = await gpt.responses.create(
        model="any",
        input="hi",
        instructions="Be brief.",
        tools=TOOLS,
        tool_choice={"type": "function", "name": "look"},
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=0.25,
        max_output_tokens=7,
        metadata={"a": "b"},
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_object"}, "verbosity": "low"},
        prompt_cache_key="k",
        store=False,
        user="u",
    )

    assert (plain.model, plain.object, plain.error) == ("pocket", "response", None)
    assert (plain.tools, plain.tool_choice, plain.parallel_tool_calls) == ([], "auto", True)
    assert (plain.temperature, plain.top_p, plain.truncation) == (1.0, 1.0, "disabled")
    assert plain.model_extra is not None
    assert (plain.model_extra["store"], plain.metadata) == (True, {})
    assert plain.text is not None
    assert plain.text.format is not None
    assert plain.text.format.type == "text"
    echoed = made.model_dump(exclude_unset=True)
    assert (echoed["tools"], echoed["instructions"]) == (TOOLS, "Be brief.")
    assert echoed["tool_choice"] == {"type": "function", "name": "look"}
    assert (echoed["temperature"], echoed["top_p"], echoed["max_output_tokens"]) == (0.5, 0.25, 7)
    assert (echoed["metadata"], echoed["user"], echoed["store"]) == ({"a": "b"}, "u", False)
    assert echoed["reasoning"] == {"effort": "low", "summary": "auto"}
    assert echoed["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert (echoed["parallel_tool_calls"], echoed["prompt_cache_key"]) == (False, "k")


@pytest.mark.asyncio
async def test_usage(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """What was cached, what now is, and why it was not more; none before the end."""
    desk.script = DISAPPOINTMENT
    stream = await gpt.responses.create(model="any", input="hi", stream=True)
    events = [event async for event in stream]

    first, last = events[0], events[-1]
    assert first.type == "response.created"
    assert "usage" not in first.response.model_fields_set
    assert last.type == "response.completed"
    usage = last.response.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (10, 3, 13)
    details = usage.input_tokens_details
    assert (details.cached_tokens, details.cache_write_tokens) == (4, 6)
    assert (details.model_extra or {})["cache_diagnostics"] == MISSED


@pytest.mark.asyncio
async def test_thoughts_are_counted(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """Among the tokens of the output."""
    cost = Usage(10, 4, completion_tokens=7, thinking_tokens=5)
    desk.script = (Started(ASKED), ThinkingDelta("t"), TextDelta("a"), Finished("stop", cost))
    usage = (await gpt.responses.create(input="hi")).usage

    assert usage is not None
    assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens) == (7, 5)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PromptTooLong(9, 4), 400, "context_length_exceeded"),
        (Overloaded("full", retry_after_s=7), 429, "rate_limit_exceeded"),
        (Draining(), 503, "draining"),
        (RuntimeError("secret"), 500, None),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_refusal(
    client: aiohttp.ClientSession,
    desk: FakeDesk,
    error: Exception,
    status: int,
    code: str | None,
    *,
    stream: bool,
) -> None:
    """What is refused before it begins is a document, whether a stream was asked for or not."""
    desk.refusal = error
    async with client.post(PATH, json={"input": "hi", "stream": stream}) as reply:
        body = await reply.json()

    assert (reply.status, body["error"]["code"]) == (status, code)
    assert set(body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.asyncio
async def test_a_whole_response_that_fails_is_an_error(
    gpt: openai.AsyncOpenAI, desk: FakeDesk
) -> None:
    """As in the other APIs: there is no stream that could say it."""
    desk.script = (Started(ASKED), TextDelta("a"), Failed(Draining()))
    with pytest.raises(openai.InternalServerError) as raised:
        await gpt.responses.create(model="any", input="hi")

    assert raised.value.status_code == 503

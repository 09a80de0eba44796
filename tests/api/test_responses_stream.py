"""A response as it is told: every event in its order, and the document that they add up to.

What the SDK reads, it reads with its strict types: a field that is missing or of another type, an
event that it does not know, fail the test.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from semantic_actors.api import Bounds
from semantic_actors.api.reply import Envelope
from semantic_actors.api.responses_encode import Echo, Head
from semantic_actors.api.responses_output import Output
from semantic_actors.api.responses_reply import ResponseReply
from semantic_actors.domain.errors import (
    Draining,
    InvalidRequest,
    NeverFits,
    Overloaded,
    PromptTooLong,
    TurnFailed,
)
from semantic_actors.domain.ids import RequestId
from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    DrawnLogprob,
    Failed,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCalled,
    TurnEvent,
)
from semantic_actors.domain.usage import Usage
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    DISAPPOINTMENT,
    GREETING,
    MISSED,
    FakeDesk,
    frames,
    serving,
)

PATH = "/v1/responses"
PATIENCE_S = 10.0

TOOLS: list[Any] = [
    {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False},
    {
        "type": "namespace",
        "name": "files",
        "description": "f",
        "tools": [{"type": "function", "name": "read"}],
    },
]


def call(name: str = "look", id_: str = "call_1") -> tuple[TurnEvent, ...]:
    """Call a tool, in two parts."""
    called = ToolCalled(ToolCall(id_, name, '{"a": 1}'))
    return CallStarted(id_, name), ArgumentsDelta('{"a"'), ArgumentsDelta(": 1}"), called


def answer(*written: TurnEvent, reason: FinishReason = "stop") -> tuple[TurnEvent, ...]:
    """Make an answer of what is written."""
    return Started(ASKED), *written, Finished(reason, ANSWERED)


BEGUN = ["created", "in_progress"]
THOUGHT = [
    "output_item.added",
    "content_part.added",
    "reasoning_text.delta",
    "reasoning_text.done",
    "content_part.done",
    "output_item.done",
]
MESSAGE = [event.replace("reasoning_text", "output_text") for event in THOUGHT]
SILENCE = [event for event in MESSAGE if not event.endswith("delta")]
CALL = [
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
]
CUT = [event for event in CALL if event != "function_call_arguments.done"]

SEQUENCES: dict[str, tuple[tuple[TurnEvent, ...], list[str], list[tuple[str, str]]]] = {
    "text": (
        answer(TextDelta("a")),
        [*BEGUN, *MESSAGE, "completed"],
        [("message", "completed")],
    ),
    "a stop string": (
        answer(TextDelta("a"), reason="stop_sequence"),
        [*BEGUN, *MESSAGE, "completed"],
        [("message", "completed")],
    ),
    "a thought, then text": (
        answer(ThinkingDelta("t"), TextDelta("a")),
        [*BEGUN, *THOUGHT, *MESSAGE, "completed"],
        [("reasoning", "completed"), ("message", "completed")],
    ),
    "calls": (
        answer(*call(), *call("files__read", "call_2"), reason="tool_calls"),
        [*BEGUN, *CALL, *CALL, "completed"],
        [("function_call", "completed"), ("function_call", "completed")],
    ),
    "text around a call": (
        answer(TextDelta("a"), *call(), TextDelta("b"), reason="tool_calls"),
        [*BEGUN, *MESSAGE, *CALL, *MESSAGE, "completed"],
        [("message", "completed"), ("function_call", "completed"), ("message", "completed")],
    ),
    "all at once": (
        answer(ThinkingDelta("t"), TextDelta("a"), *call(), reason="tool_calls"),
        [*BEGUN, *THOUGHT, *MESSAGE, *CALL, "completed"],
        [("reasoning", "completed"), ("message", "completed"), ("function_call", "completed")],
    ),
    "nothing": (answer(), [*BEGUN, *SILENCE, "completed"], [("message", "completed")]),
    "only a thought": (
        answer(ThinkingDelta("t")),
        [*BEGUN, *THOUGHT, *SILENCE, "completed"],
        [("reasoning", "completed"), ("message", "completed")],
    ),
    "text cut off": (
        answer(ThinkingDelta("t"), TextDelta("a"), reason="length"),
        [*BEGUN, *THOUGHT, *MESSAGE, "incomplete"],
        [("reasoning", "completed"), ("message", "incomplete")],
    ),
    "a thought cut off": (
        answer(ThinkingDelta("t"), reason="context"),
        [*BEGUN, *THOUGHT, "incomplete"],
        [("reasoning", "incomplete")],
    ),
    "cut off at once": (
        answer(reason="length"),
        [*BEGUN, *SILENCE, "incomplete"],
        [("message", "incomplete")],
    ),
    "a call cut off": (
        answer(TextDelta("a"), *call()[:-1], reason="length"),
        [*BEGUN, *MESSAGE, *CUT, "incomplete"],
        [("message", "completed"), ("function_call", "incomplete")],
    ),
    "a call broken off": (
        answer(*call()[:-1]),
        [*BEGUN, *CUT, "completed"],
        [("function_call", "incomplete")],
    ),
}


@pytest_asyncio.fixture
async def gpt(port: int) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open OpenAI's SDK, strict about every field."""
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key="any",
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


def told(response: Response) -> list[tuple[str, str | None]]:
    """List the items of a response with what became of them."""
    return [(item.type, getattr(item, "status", None)) for item in response.output]


@pytest.mark.asyncio
@pytest.mark.parametrize("what", SEQUENCES)
async def test_sequence(gpt: openai.AsyncOpenAI, desk: FakeDesk, what: str) -> None:
    """Every event in its order, numbered from 0; the last one has the whole response."""
    desk.script, expected, items = SEQUENCES[what]
    stream = await gpt.responses.create(model="any", input="hi", tools=TOOLS, stream=True)
    events = [event async for event in stream]
    last: Any = events[-1]

    assert [event.type.removeprefix("response.") for event in events] == expected
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert told(last.response) == items
    assert last.response.status == expected[-1]
    assert last.response.usage.total_tokens == 13


@pytest.mark.asyncio
@pytest.mark.parametrize("what", SEQUENCES)
async def test_whole(gpt: openai.AsyncOpenAI, desk: FakeDesk, what: str) -> None:
    """A response that is not streamed is what the stream's last event has."""
    desk.script, expected, items = SEQUENCES[what]
    whole = await gpt.responses.create(model="any", input="hi", tools=TOOLS)

    assert told(whole) == items
    assert whole.status == expected[-1]
    cut = whole.incomplete_details.reason if whole.incomplete_details else None
    assert cut == ("max_output_tokens" if whole.status == "incomplete" else None)
    assert (whole.completed_at is not None) == (whole.status == "completed")


@pytest.mark.asyncio
@pytest.mark.parametrize("what", SEQUENCES)
async def test_the_sdk_puts_it_together(gpt: openai.AsyncOpenAI, desk: FakeDesk, what: str) -> None:
    """Its accumulator finds every item where it was said to be."""
    desk.script, expected, items = SEQUENCES[what]
    async with gpt.responses.stream(model="any", input="hi", tools=TOOLS) as stream:
        await stream.until_done()
        if expected[-1] == "completed":
            assert told(await stream.get_final_response()) == items


@pytest.mark.asyncio
async def test_texts_and_places(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Each event names its item, where it is, and the text or arguments as they are by then."""
    desk.script = SEQUENCES["all at once"][0]
    events = await stream_of(client)
    by_type = {event["type"].removeprefix("response."): event for event in events}
    added = [e["item"] for e in events if e["type"] == "response.output_item.added"]
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]

    assert [item["id"] for item in added] == [item["id"] for item in done]
    assert [item["status"] for item in added] == ["in_progress"] * 3
    assert (added[0]["content"], added[1]["content"], added[2]["arguments"]) == ([], [], "")
    assert done[0]["content"] == [{"type": "reasoning_text", "text": "t"}]
    assert done[1]["content"][0]["text"] == by_type["output_text.done"]["text"] == "a"
    assert done[2]["arguments"] == by_type["function_call_arguments.done"]["arguments"]
    assert (done[2]["call_id"], done[2]["arguments"]) == ("call_1", '{"a": 1}')
    assert by_type["function_call_arguments.done"]["name"] == "look"
    assert by_type["completed"]["response"]["output"] == done
    for event in events:
        if "item_id" in event:
            assert event["item_id"] == added[event["output_index"]]["id"]


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


FAILURES: list[tuple[Exception, str, str]] = [
    (PromptTooLong(9, 4), "context_length_exceeded", "prompt is too long: 9 tokens > 4 maximum"),
    (NeverFits(9, 4), "context_length_exceeded", "the pool holds 4"),
    (InvalidRequest("no", field="x"), "invalid_prompt", "no"),
    (Overloaded("full", retry_after_s=1), "rate_limit_exceeded", "full"),
    (Draining(), "server_error", "the server is shutting down"),
    (TurnFailed("secret"), "server_error", "the server could not finish the answer"),
    (RuntimeError("secret"), "server_error", "the server could not finish the answer"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("error", "code", "message"), FAILURES)
async def test_failure(
    client: aiohttp.ClientSession, desk: FakeDesk, error: Exception, code: str, message: str
) -> None:
    """A stream that fails says so in its last event, with what there is by then."""
    desk.script = (Started(ASKED), TextDelta("a"), Failed(error))
    events = await stream_of(client)
    last = events[-1]

    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds == [*BEGUN, *MESSAGE[:3], "failed"]
    assert last["response"]["error"]["code"] == code
    assert message in last["response"]["error"]["message"]
    assert "secret" not in json.dumps(last)
    assert [item["status"] for item in last["response"]["output"]] == ["incomplete"]
    assert "usage" not in last["response"]


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


@pytest.mark.asyncio
async def test_keepalive(desk: FakeDesk) -> None:
    """Silence is filled with numbered events that the response is in progress.

    Before the answer begins it is said that it was created, once.
    """
    desk.script = ()
    async with (
        asyncio.timeout(PATIENCE_S),
        serving(desk, bounds=Bounds(ping_interval_s=0.005)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post(PATH, json={"input": "hi", "stream": True}) as reply,
    ):
        received = b""
        for event in GREETING:
            before = received.count(b"event: response.in_progress")
            while received.count(b"event: response.in_progress") < before + 2:
                received += await reply.content.readany()
            desk.turns[0].put(event)
        received += await reply.content.read()
    told_events = frames(received.decode())

    kinds = [name for name, _ in told_events]
    assert kinds == [event["type"] for _, event in told_events]
    assert [event["sequence_number"] for _, event in told_events] == list(range(len(kinds)))
    others = [kind for kind in kinds if kind != "response.in_progress"]
    greeted = [*MESSAGE[:3], *MESSAGE[2:]]
    assert others == [f"response.{kind}" for kind in ("created", *greeted, "completed")]
    assert kinds[:2] == ["response.created", "response.in_progress"]


events = st.lists(
    st.sampled_from(
        [
            (ThinkingDelta("t"),),
            (TextDelta("a"),),
            call(),
            call("files__read", "call_2"),
        ]
    ),
    max_size=8,
)
reasons: st.SearchStrategy[FinishReason] = st.sampled_from(
    ["stop", "length", "stop_sequence", "tool_calls", "context"]
)


@given(events, reasons, st.booleans())
def test_streamed_or_whole_it_is_the_same(
    written: list[tuple[TurnEvent, ...]],
    reason: FinishReason,
    cut: bool,  # noqa: FBT001
) -> None:
    """Whatever is written: the deltas add up to the items, and both ways end in one document."""
    script = [Started(ASKED), *(event for events in written for event in events)]
    script += [CallStarted("cut", "look"), ArgumentsDelta("{")] if cut else []
    script.append(Finished(reason, ANSWERED))
    streamed, whole = reply(), reply()
    told_events = [
        event for one in script for _, event in frames(streamed.encode(one).decode()) if event
    ]
    for one in script:
        whole.write(one)

    assert whole.response | {"completed_at": 0} == streamed.response | {"completed_at": 0}
    assert told_events[-1]["response"] == streamed.response
    for index, item in enumerate(streamed.response["output"]):
        mine = [event for event in told_events if event.get("output_index") == index]
        text = "".join(event["delta"] for event in mine if event["type"].endswith(".delta"))
        final = item["arguments"] if "arguments" in item else item["content"][0]["text"]
        assert text == final
        assert mine[0]["type"] == "response.output_item.added"
        assert mine[-1] == {
            "type": "response.output_item.done",
            "output_index": index,
            "item": item,
            "sequence_number": mine[-1]["sequence_number"],
        }
    assert Response.model_validate(streamed.response, strict=True).status in (
        "completed",
        "incomplete",
    )


def reply() -> ResponseReply:
    """Begin a reply."""
    envelope = Envelope("resp_0", "pocket", 1_760_000_000, RequestId("req_0"))
    names = {"look": (None, "look"), "files__read": ("files", "read")}
    return ResponseReply(Head(envelope, Echo()), Output("resp_0", names))


async def stream_of(client: aiohttp.ClientSession) -> list[dict[str, Any]]:
    """Ask for a stream and read its events, each named as its type."""
    async with client.post(PATH, json={"input": "hi", "stream": True}) as answered:
        assert answered.status == 200
        read = frames(await answered.text())
    assert [name for name, _ in read] == [event["type"] for _, event in read]
    return [event for _, event in read]

"""A response as it is told: every event in its order, and the document that they add up to.

What the SDK reads, it reads with its strict types: a field that is missing or of another type, an
event that it does not know, fail the test.
"""

import asyncio
import json
from typing import Any

import aiohttp
import openai
import pytest
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
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Failed,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    TurnEvent,
)
from tests.api.fakes import (
    ANSWERED,
    ASKED,
    GREETING,
    FakeDesk,
    frames,
    serving,
)
from tests.api.responses_scripts import (
    BEGUN,
    MESSAGE,
    PATH,
    PATIENCE_S,
    SEQUENCES,
    TOOLS,
    call,
    stream_of,
    told,
)


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

"""A streamed chat completion, on the wire and through the SDK."""

import signal
import time
from typing import Any

import aiohttp
import openai
import pytest

from tests.e2e.clients import open_gpt
from tests.e2e.conftest import SLOW_STEP_S, Starter
from tests.e2e.daemon import Daemon
from tests.e2e.sse import DONE, Frame, frames

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

REPEAT: dict[str, Any] = {
    "model": "any",
    "temperature": 0,
    "messages": [{"role": "user", "content": "Repeat after me: the quick brown fox"}],
}
COUNT: dict[str, Any] = REPEAT | {"messages": [{"role": "user", "content": "Count to 40."}]}
COUNTED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


async def _read(daemon: Daemon, body: dict[str, Any]) -> tuple[aiohttp.ClientResponse, list[Frame]]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{daemon.url}/v1/chat/completions", json=body) as answer,
    ):
        return answer, [frame async for frame in frames(answer)]


async def test_streaming_response_format(daemon: Daemon) -> None:
    """A role, deltas, a reason, the usage, in chunks of one id without event names."""
    answer, read = await _read(daemon, REPEAT | COUNTED)
    chunks = [frame.document for frame in read[:-1]]
    *spoken, counted = chunks
    first, *middle, last = [chunk["choices"][0] for chunk in spoken]

    assert answer.status == 200
    assert answer.content_type == "text/event-stream"
    assert {frame.event for frame in read} == {None}
    assert {(chunk["id"], chunk["object"]) for chunk in chunks} == {
        (chunks[0]["id"], "chat.completion.chunk")
    }
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"]["content"] for choice in middle) == "the quick brown fox"
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    assert counted["choices"] == []
    assert counted["usage"]["completion_tokens"] > 0
    assert {chunk["usage"] for chunk in spoken} == {None}


async def test_delta_chunks_arrive_progressively(slow: Daemon) -> None:
    """Text is heard while it is generated: with each delta the answer still runs.

    Between the first delta and the last lie the engine steps between them.
    """
    running, heard_at = [], []
    async with open_gpt(slow.url) as gpt:
        async for chunk in await gpt.chat.completions.create(stream=True, **COUNT):
            if chunk.choices[0].delta.content:
                heard_at.append(time.monotonic())
                if len(heard_at) <= 5:
                    running.append((await slow.counters())["running"])

    assert running == [1] * 5
    assert heard_at[-1] - heard_at[0] > 0.5 * (len(heard_at) - 1) * SLOW_STEP_S


async def test_final_done_marker(daemon: Daemon) -> None:
    """The stream ends with one `[DONE]`, and nothing follows it."""
    _, read = await _read(daemon, REPEAT | {"stream": True})

    assert [frame.data == DONE for frame in read] == [False] * (len(read) - 1) + [True]


async def test_error_handling_in_streaming(gpt: openai.AsyncOpenAI, start: Starter) -> None:
    """What is refused is refused before the stream; what fails within it ends it with the error.

    The failure is a daemon that is told to leave, and told again: the SDK raises after it has
    delivered the text so far.
    """
    with pytest.raises(openai.BadRequestError) as refused:
        await gpt.chat.completions.create(**COUNT | {"stream": True, "temperature": 9})
    assert (refused.value.param, refused.value.type) == ("temperature", "invalid_request_error")
    assert (refused.value.request_id or "").startswith("req_")

    texts: list[str] = []

    async def read(daemon: Daemon, stream: openai.AsyncStream[Any]) -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")
            if len(texts) == 5:
                daemon.signal(signal.SIGTERM, signal.SIGINT)

    with start(step_s=0.1) as daemon:
        async with open_gpt(daemon.url) as client:
            stream = await client.chat.completions.create(stream=True, **COUNT)
            with pytest.raises(openai.APIError, match="shutting down"):
                await read(daemon, stream)
        assert await daemon.exit_code() == 0
    assert "".join(texts).startswith("1 2 3")


async def test_openai_streaming_vs_non_streaming(gpt: openai.AsyncOpenAI) -> None:
    """Streamed or whole, an answer has the same text, usage and finish reason."""
    for asked in (REPEAT, COUNT, COUNT | {"max_tokens": 5}):
        await gpt.chat.completions.create(**asked)  # so that both find the same cache
        whole = await gpt.chat.completions.create(**asked)
        stream = await gpt.chat.completions.create(**asked | COUNTED)
        *spoken, counted = [chunk async for chunk in stream]
        choices = [chunk.choices[0] for chunk in spoken]

        (choice,) = whole.choices
        assert "".join(part.delta.content or "" for part in choices) == choice.message.content
        assert choices[-1].finish_reason == choice.finish_reason
        assert counted.usage == whole.usage

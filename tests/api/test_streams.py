"""Answers on their way: at once, alive, cut when nobody reads, and the same streamed or whole."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from structlog.typing import EventDict

from semantic_actors.api import Bounds
from semantic_actors.api.anthropic_encode import MessageReply
from semantic_actors.api.chat_encode import ChatReply
from semantic_actors.api.reply import Collector, Envelope
from semantic_actors.domain.errors import Draining
from semantic_actors.domain.ids import RequestId
from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.stream import Failed, Finished, Started, TextDelta
from tests.api.fakes import (
    ANSWERED,
    ANSWERING,
    ASKED,
    BODIES,
    GREETING,
    FakeDesk,
    called,
    frames,
    serving,
)

PATIENCE_S = 10.0
"""Far more than anything here takes; a test that needs it has failed."""


def head(path: str, body: bytes) -> bytes:
    """Write a request by hand."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@contextlib.asynccontextmanager
async def asking(
    port: int, path: str, *, stream: bool = True, receive_buffer_bytes: int = 2**16
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Ask over a bare connection, which the test may leave or not read."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.setblocking(False)  # noqa: FBT003 - the only way to say it
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        writer.write(head(path, json.dumps(BODIES[path] | {"stream": stream}).encode()))
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ANSWERING)
async def test_headers_at_once(client: aiohttp.ClientSession, desk: FakeDesk, path: str) -> None:
    """The status goes out when the turn was admitted, before there is anything to say."""
    desk.script = ()

    async with asyncio.timeout(PATIENCE_S):
        async with client.post(path, json=BODIES[path] | {"stream": True}) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/event-stream"
            assert answer.headers["Cache-Control"] == "no-cache"
        await desk.cancelled.wait()


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [path for path in ANSWERING if path != "/v1/responses"])
async def test_keepalive(desk: FakeDesk, path: str) -> None:
    """Silence is filled, before the first event as after it, and nothing is lost by it."""
    desk.script = ()
    ping = MessageReply.keepalive if path == "/v1/messages" else ChatReply.keepalive
    async with (
        asyncio.timeout(PATIENCE_S),
        serving(desk, bounds=Bounds(ping_interval_s=0.005)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post(path, json=BODIES[path] | {"stream": True}) as answer,
    ):
        for event in GREETING:
            assert ping == await answer.content.readexactly(len(ping))
            desk.turns[0].put(event)
            received = b""
            while event is not GREETING[-1] and received.count(ping) < 1:
                received += await answer.content.readany()
        rest = (await answer.content.read()).decode()

    assert [event for event, _ in frames(rest) if event == "error"] == []
    assert "stop" in rest


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ANSWERING)
async def test_disconnect(desk: FakeDesk, port: int, path: str, *, stream: bool) -> None:
    """A client that hangs up is noticed at once, and its turn is cancelled."""
    desk.script = (Started(ASKED), TextDelta("a"))

    with capture_logs() as lines:
        async with asyncio.timeout(PATIENCE_S):
            async with asking(port, path, stream=stream) as (reader, _):
                await desk.begun.wait()
                if stream:
                    await reader.readuntil(b"a")
            await desk.cancelled.wait()

    assert [(line["status"], line["completion_tokens"]) for line in lines] == [(499, 0)]


@pytest.mark.asyncio
async def test_no_cancel_after_the_end(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Of a turn that has ended nothing is asked any more: its session may be gone."""
    async with client.post("/v1/messages", json=BODIES["/v1/messages"]) as answer:
        assert answer.status == 200

    assert not desk.cancelled.is_set()


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_stalled_reader(desk: FakeDesk, path: str) -> None:
    """A reader that never reads is noticed within some 300 kB, cut off, and its turn cancelled."""
    call = called(ToolCall("t", "write", json.dumps({"text": "x" * 1000})))
    desk.script = (Started(ASKED), *call * 300)

    with capture_logs() as lines:
        async with (
            asyncio.timeout(PATIENCE_S),
            serving(desk, bounds=Bounds(write_deadline_s=0.05)) as port,
            asking(port, path, receive_buffer_bytes=4096) as (reader, _),
        ):
            await desk.cancelled.wait()
            assert not (await reader.read()).endswith(b"0\r\n\r\n")

    assert [line["status"] for line in lines] == [499]


@pytest.mark.asyncio
async def test_stalled_reader_of_a_document(desk: FakeDesk) -> None:
    """A whole answer that nobody takes is given up after the same deadline."""
    desk.script = (Started(ASKED), TextDelta("x" * 2**22), Finished("stop", ANSWERED))
    reported = asyncio.Event()

    def report(_: object, __: str, line: EventDict) -> EventDict:
        reported.set()
        return line

    with capture_logs(processors=[report]) as lines:
        async with (
            asyncio.timeout(PATIENCE_S),
            serving(desk, bounds=Bounds(write_deadline_s=0.05)) as port,
            asking(port, "/v1/messages", stream=False, receive_buffer_bytes=4096) as (reader, _),
        ):
            await reported.wait()
            assert len(await reader.read()) < 2**22

    assert [line["status"] for line in lines] == [499]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/v1/messages", b"event: error\n"),
        ("/v1/chat/completions", b"data: [DONE]\n\n"),
        ("/v1/completions", b"data: [DONE]\n\n"),
    ],
)
async def test_drain(client: aiohttp.ClientSession, desk: FakeDesk, path: str, last: bytes) -> None:
    """A stream that the desk ends while draining gets its last event and a proper end."""
    desk.script = (Started(ASKED), TextDelta("a"))

    async with client.post(path, json=BODIES[path] | {"stream": True}) as answer:
        await answer.content.readuntil(b'"a"')
        desk.turns[0].put(Failed(Draining()))
        rest = await answer.content.read()

    assert last in rest
    assert b"the server is shutting down" in rest
    assert rest.endswith(b"\n\n")


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_broken_event(client: aiohttp.ClientSession, desk: FakeDesk, path: str) -> None:
    """A fault of ours in the middle of a stream still ends it as its API ends failures."""
    desk.script = (Started(ASKED), TextDelta("\ud800"))

    with capture_logs() as lines:
        async with client.post(path, json=BODIES[path] | {"stream": True}) as answer:
            last = frames((await answer.text()).removesuffix("data: [DONE]\n\n"))[-1][1]

    assert last["error"]["message"] == "the server could not finish the answer"
    assert [line["event"] for line in lines] == ["request_failed", "request_finished"]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
calls = st.builds(
    ToolCall,
    texts,
    texts,
    st.dictionaries(texts, texts | st.integers(-(2**53), 2**53)).map(json.dumps),
)
answers = st.lists(texts.map(TextDelta).map(lambda text: (text,)) | calls.map(called)).map(
    lambda parts: [event for part in parts for event in part]
)
ENVELOPE = Envelope("id", "pocket", 0, RequestId("req"))


def whole(kind: type[Any], events: list[Any]) -> dict[str, Any]:
    """Put the events of a turn together and show it whole."""
    collector = Collector()
    for event in (Started(ASKED), *events, Finished("stop", ANSWERED)):
        collector.add(event)
    document = kind(ENVELOPE).document(collector.answer())
    assert isinstance(document, dict)
    return document


def streamed(kind: type[Any], events: list[Any]) -> list[Any]:
    """Stream the same turn and read the stream."""
    reply = kind(ENVELOPE)
    parts = (Started(ASKED), *events, Finished("stop", ANSWERED))
    sent = b"".join(reply.encode(event) for event in parts).decode()
    return [data for _, data in frames(sent) if isinstance(data, dict)]


@pytest.mark.slow
@given(answers)
def test_message_is_its_stream(events: list[Any]) -> None:
    """A Messages stream, put together as clients do, is the whole message."""
    content: list[Any] = []
    for data in streamed(MessageReply, events):
        match data:
            case {"type": "content_block_start", "content_block": block}:
                content.append(block)
            case {"delta": {"type": "text_delta", "text": text}}:
                content[-1]["text"] += text
            case {"delta": {"type": "input_json_delta", "partial_json": arguments}}:
                content[-1]["input"] = json.loads(arguments)

    assert whole(MessageReply, events)["content"] == content

"""Bodies that are too large, too slow, not JSON, or not what they claim."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest

from semantic_actors.api import Bounds
from tests.api.fakes import BODIES, FakeDesk, serving

pytestmark = pytest.mark.asyncio

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """Open a bare connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def head(*lines: str) -> bytes:
    """Write the head of a request by hand."""
    fixed = ("POST /v1/messages HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join((*fixed, *lines, "", "")).encode()


async def status(reader: asyncio.StreamReader) -> int:
    """Read the status of an answer."""
    return int((await reader.readline()).split()[1])


@pytest.mark.parametrize("path", BODIES)
async def test_size(desk: FakeDesk, path: str) -> None:
    """A body over the cap is a 413 that names size and cap; one byte less is read."""
    good = b'{"model": 5, "x": "' + b"y" * 979 + b'"}'
    async with (
        serving(desk, bounds=Bounds(max_body_bytes=1000)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        for body, expected in [(good, 400), (good + b" ", 413)]:
            headers = {"Content-Type": "application/json"}
            async with client.post(path, data=body, headers=headers) as answer:
                text = await answer.text()
                assert answer.status == expected
                assert (expected == 413) == ("1001 bytes, at most 1000" in text)
                if path.startswith("/v1/messages"):
                    assert (expected == 413) == ("request_too_large" in text)


async def test_declared_size(port: int) -> None:
    """A body that is declared too large is refused before it is sent."""
    async with connected(port) as (reader, writer):
        writer.write(head(f"Content-Length: {10 * 2**30}"))

        assert await status(reader) == 413


async def test_endless_body(desk: FakeDesk) -> None:
    """A body of unknown length is refused once it passes the cap."""
    async with serving(desk, bounds=Bounds(max_body_bytes=1000)) as port, connected(port) as ends:
        reader, writer = ends
        writer.write(head("Transfer-Encoding: chunked") + b"200\r\n%b\r\n" % (b" " * 512) * 2)

        assert await status(reader) == 413


async def test_slow_body(desk: FakeDesk) -> None:
    """A body that does not arrive in time is a 408."""
    async with serving(desk, bounds=Bounds(body_deadline_s=0.02)) as port, connected(port) as ends:
        reader, writer = ends
        writer.write(head("Content-Length: 100") + b"{")

        assert await status(reader) == 408


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: loc"])
async def test_slow_head(desk: FakeDesk, sent: bytes) -> None:
    """A connection that sends no request in time is closed."""
    async with serving(desk, bounds=Bounds(head_deadline_s=0.02)) as port, connected(port) as ends:
        reader, writer = ends
        writer.write(sent)

        assert await reader.read() == b""


async def test_broken_chunks(port: int) -> None:
    """A body that breaks HTTP's framing is refused."""
    async with connected(port) as (reader, writer):
        writer.write(head("Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n")

        assert await status(reader) == 400


async def test_chunks_that_break_later(desk: FakeDesk) -> None:
    """So is one that breaks it once it is being read; aiohttp's fast parser tells us late."""
    async with serving(desk, bounds=Bounds(body_deadline_s=0.05)) as port, connected(port) as ends:
        reader, writer = ends
        writer.write(head("Transfer-Encoding: chunked", "Expect: 100-continue"))
        assert await status(reader) == 100

        writer.write(b"2\r\n{}\r\nzz\r\n")
        assert await reader.readline() == b"\r\n"
        assert await status(reader) in {400, 408}


async def test_no_http(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """What is not HTTP is refused, and not quoted in the log."""
    caplog.set_level(logging.DEBUG, "semantic_actors")
    async with connected(port) as (reader, writer):
        writer.write(b"CANARY canary HTTP/1.1\r\n\r\n")

        assert await status(reader) == 400
    assert "canary" not in caplog.text.lower()


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Content-Type": "text/plain"}, "text/plain"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "urlencoded"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, "multipart"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "gzip"),
        ({"Content-Type": "application/json", "Content-Encoding": "identity, br"}, "br"),
    ],
)
async def test_media_type(
    client: aiohttp.ClientSession, desk: FakeDesk, path: str, headers: dict[str, str], named: str
) -> None:
    """Only plain JSON is read: no forms, which a web page may send, and no bombs."""
    async with client.post(path, data=b"{}", headers=headers) as answer:
        assert answer.status == 415
        assert named in await answer.text()
    assert desk.asked == []


async def test_charset(client: aiohttp.ClientSession) -> None:
    """Parameters of the content type do not matter."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    async with client.post("/v1/messages", data=b"{}", headers=headers) as answer:
        assert answer.status == 400

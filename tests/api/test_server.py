"""Start, stop, and how many at once."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from semantic_actors.api import Access, Bounds, HttpServer
from semantic_actors.domain.stream import Started, TextDelta
from tests.api.fakes import ASKED, BODIES, GREETING, FakeDesk, frames, serving

pytestmark = pytest.mark.asyncio

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
STREAM = BODIES["/v1/messages"] | {"stream": True}


@pytest_asyncio.fixture
async def server(desk: FakeDesk) -> AsyncIterator[HttpServer]:
    """Make a server; stop it at the end, which may be the second time."""
    made = HttpServer(desk, Access())
    yield made
    await made.stop(0.1)


async def test_stop_closes_idle_connections(server: HttpServer) -> None:
    """Connections that wait for a next request do not hold up a stop."""
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    await reader.readuntil(b"}")

    async with asyncio.timeout(5):
        await server.stop(3600)
        assert await reader.read() == b""
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()


async def test_stop_waits_for_answers(server: HttpServer, desk: FakeDesk) -> None:
    """An answer that ends within the grace is complete."""
    desk.script = GREETING[:2]
    port = await server.start("127.0.0.1", 0)
    async with (
        asyncio.timeout(5),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post("/v1/messages", json=STREAM) as answer,
        asyncio.TaskGroup() as tasks,
    ):
        await answer.content.readuntil(b"Hel")
        tasks.create_task(server.stop(3600))
        for event in GREETING[2:]:
            desk.turns[0].put(event)
        text = await answer.text()

    assert frames(text)[-1] == ("message_stop", {"type": "message_stop"})


async def test_quiet(server: HttpServer, desk: FakeDesk) -> None:
    """The server is quiet once the answer to every request is written."""
    desk.script = GREETING[:2]
    port = await server.start("127.0.0.1", 0)
    async with (
        asyncio.timeout(5),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post("/v1/messages", json=STREAM) as answer,
        asyncio.TaskGroup() as tasks,
    ):
        await answer.content.readuntil(b"Hel")
        quiet = tasks.create_task(server.quiet())
        async with client.get("/livez"):
            assert not quiet.done()
        for event in GREETING[2:]:
            desk.turns[0].put(event)
        await quiet
        assert (await answer.read()).endswith(b"\n\n")


async def test_stop_cuts_what_does_not_end(server: HttpServer, desk: FakeDesk) -> None:
    """An answer that does not end within the grace is cut, and its turn cancelled."""
    desk.script = (Started(ASKED), TextDelta("a"))
    port = await server.start("127.0.0.1", 0)
    async with (
        asyncio.timeout(5),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post("/v1/messages", json=STREAM) as answer,
    ):
        await answer.content.readuntil(b'"a"')
        await server.stop(0.02)
        await desk.cancelled.wait()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_stop_without_start(server: HttpServer) -> None:
    """Stopping what does not run does nothing."""
    await server.stop(0)


async def test_restart(server: HttpServer) -> None:
    """A server that was stopped can be started again."""
    for _ in range(2):
        port = await server.start("127.0.0.1", 0)
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
            client.get("/livez") as answer,
        ):
            assert answer.status == 200
        await server.stop(0)


async def is_served(port: int) -> bool:
    """Ask over a new connection; it may be closed instead of answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        return bool(await reader.readline())
    except ConnectionError:
        return False
    finally:
        writer.close()


async def test_connection_cap(desk: FakeDesk) -> None:
    """One connection too many is closed; when another leaves, there is room."""
    async with asyncio.timeout(5), serving(desk, bounds=Bounds(max_connections=1)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        assert b"200" in await reader.readline()
        assert not await is_served(port)

        writer.close()
        while not await is_served(port):
            pass


async def test_sockets(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small writes go out at once, and the kernel takes in no more of a stream than it must."""
    accepted: list[asyncio.Transport] = []
    made = aiohttp.web.RequestHandler.connection_made

    def remember(self: aiohttp.web.RequestHandler, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        accepted.append(transport)
        made(self, transport)

    monkeypatch.setattr(aiohttp.web.RequestHandler, "connection_made", remember)
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client, client.get("/livez"):
        sock = accepted[0].get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 64 * 2**10

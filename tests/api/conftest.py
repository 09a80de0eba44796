"""A scripted desk, served on loopback, and a client for it."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import openai
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.api.fakes import FakeDesk, serving


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep the log out of the way."""
    with capture_logs():
        yield


@pytest_asyncio.fixture
async def desk() -> FakeDesk:
    """Return a desk that greets."""
    return FakeDesk()


@pytest_asyncio.fixture
async def port(desk: FakeDesk) -> AsyncIterator[int]:
    """Serve the desk with default rules."""
    async with serving(desk) as bound:
        yield bound


@pytest_asyncio.fixture
async def client(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a client of the server."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session


@pytest_asyncio.fixture
async def gpt(port: int) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open OpenAI's SDK."""
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key="any",
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client

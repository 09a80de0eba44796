"""Daemons that tests share, and the SDKs connected to them."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import anthropic
import openai
import pytest
import pytest_asyncio

from tests.e2e.clients import open_claude, open_gpt
from tests.e2e.daemon import Daemon, started

SLOW_STEP_S = 0.06
"""Seconds that a step of the slow daemon takes longer."""

Starter = Callable[..., AbstractContextManager[Daemon]]


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Serve the pocket model; it must have failed no request and lost no message at the end."""
    with started(tmp_path_factory.mktemp("daemon") / "log") as running:
        yield running
    _assert_clean(running)


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Serve the pocket model slowly, so that a test can act in the middle of an answer."""
    with started(tmp_path_factory.mktemp("slow") / "log", step_s=SLOW_STEP_S) as running:
        yield running
    _assert_clean(running)


@pytest.fixture
def start(tmp_path: Path) -> Starter:
    """Return a function that starts a daemon for one test; its `config` is the text of a file."""

    def begin(
        *flags: str, config: str = "", step_s: float | None = None
    ) -> AbstractContextManager[Daemon]:
        file = tmp_path / "semantic-actors.toml"
        file.write_text(config, encoding="utf-8")
        return started(tmp_path / "log", "--config", str(file), *flags, step_s=step_s)

    return begin


@pytest_asyncio.fixture
async def claude(daemon: Daemon) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Connect Anthropic's SDK to the shared daemon."""
    async with open_claude(daemon.url) as client:
        yield client


@pytest_asyncio.fixture
async def gpt(daemon: Daemon) -> AsyncIterator[openai.AsyncOpenAI]:
    """Connect OpenAI's SDK to the shared daemon."""
    async with open_gpt(daemon.url) as client:
        yield client


def _assert_clean(daemon: Daemon) -> None:
    assert daemon.events("request_failed") == []
    assert [event["dead_letters"] for event in daemon.events("drained")] == [0]

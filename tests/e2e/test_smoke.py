"""A daemon starts, says so, answers, and leaves."""

import signal

import aiohttp
import anthropic
import openai
import pytest

from tests.e2e.clients import ClaudeTalk, open_claude
from tests.e2e.conftest import Starter
from tests.e2e.daemon import READY_S, Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]


async def test_server_starts_successfully(daemon: Daemon) -> None:
    """Within a minute one line on stdout names a port, and that port answers."""
    assert daemon.ready_line == f"ready {daemon.url}\n"
    assert daemon.url.startswith("http://127.0.0.1:")
    assert daemon.took_s < READY_S
    async with aiohttp.ClientSession() as http, http.get(f"{daemon.url}/livez") as answer:
        assert answer.status == 200


async def test_health_endpoint_responds(daemon: Daemon) -> None:
    """Health says in words that the house is ready and gives no reason why it should not be."""
    status, body = await daemon.health()

    assert (status, body["status"], body["reasons"]) == (200, "ready", [])
    assert body["counters"]["pool_budget_bytes"] > 0
    async with aiohttp.ClientSession() as http, http.get(f"{daemon.url}/readyz") as answer:
        assert answer.status == 200


async def test_model_loads_correctly(daemon: Daemon, gpt: openai.AsyncOpenAI) -> None:
    """Without `--model` the bundled model serves: health and the model list name it."""
    _, body = await daemon.health()
    listed = [model.id async for model in gpt.models.list()]

    assert body["model"] == "pocket"
    assert listed == ["pocket"]
    assert {"pocket"} == {event["model"] for event in daemon.events("model_loaded")}


async def test_graceful_shutdown_works(start: Starter) -> None:
    """After SIGTERM the daemon that has served exits with 0 and has lost no message."""
    with start() as daemon:
        async with open_claude(daemon.url) as claude:
            await ClaudeTalk(claude).say("Hello!")

        daemon.signal(signal.SIGTERM)

        assert await daemon.exit_code() == 0
        assert [event["dead_letters"] for event in daemon.events("drained")] == [0]
        assert "Traceback" not in daemon.log()


async def test_single_request_completes(claude: anthropic.AsyncAnthropic) -> None:
    """One request is one answer that the model itself ended."""
    said = await ClaudeTalk(claude).say("Hello!")

    assert (said.text, said.reason) == ("Hello! How can I help?", "end_turn")


async def test_response_format_valid(
    claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    """Both SDKs accept every field of an answer, and find its ids."""
    message = await claude.messages.create(
        model="any", max_tokens=16, messages=[{"role": "user", "content": "Hello!"}]
    )
    chat = await gpt.chat.completions.create(
        model="any", max_tokens=16, messages=[{"role": "user", "content": "Hello!"}]
    )

    assert message.id.startswith("msg_")
    assert chat.id.startswith("chatcmpl-")
    assert (message._request_id or "").startswith("req_")
    assert (chat._request_id or "").startswith("req_")


async def test_cache_directory_created(daemon: Daemon, claude: anthropic.AsyncAnthropic) -> None:
    """What a turn has computed is kept for the next one.

    This version keeps caches in memory and makes no directory: a second turn reports cached
    tokens, and health counts a kept cache that nobody uses any more.
    """
    talk = ClaudeTalk(claude)
    first = await talk.say("My access key is 4821.")
    second = await talk.say("What is my access key?")

    assert second.cached >= first.prompt
    counters = await daemon.counters()
    assert counters["caches"] >= 1
    assert counters["pool_used_bytes"] > counters["pool_pinned_bytes"]

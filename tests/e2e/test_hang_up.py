"""A client that hangs up stops its answer and gives its memory back, and what was computed stays.

The daemon is slow, so that there is a middle to hang up in.
"""

import asyncio
import contextlib
import json
import socket
import struct
from typing import Any

import aiohttp
import openai
import pytest

from tests.e2e.clients import open_claude, open_gpt
from tests.e2e.daemon import Daemon, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

MAX_TOKENS = 1_000
COUNT: dict[str, Any] = {
    "model": "any",
    "max_tokens": MAX_TOKENS,
    "messages": [{"role": "user", "content": "Count to 60."}],
}


@pytest.fixture(scope="module")
def whole(slow: Daemon) -> int:
    """Return how many tokens the answer has that the tests hang up on."""
    with openai.OpenAI(base_url=f"{slow.url}/v1", api_key="any", max_retries=0) as gpt:
        chat = gpt.chat.completions.create(temperature=0, **COUNT)
    tokens: int = chat.usage.completion_tokens
    return tokens


async def _assert_few_more(daemon: Daemon, before: dict[str, float], whole: int) -> None:
    """Less than half the answer was generated before all was idle again."""
    await eventually(daemon.idle)
    after = await daemon.counters()
    assert after["tokens_generated_total"] - before["tokens_generated_total"] < whole / 2
    assert whole / 2 < MAX_TOKENS / 2


async def test_a_stream_hung_up_on_stops(slow: Daemon, whole: int) -> None:
    """A streaming client of each API leaves after its first words."""
    before = await slow.counters()
    async with open_gpt(slow.url) as gpt:
        stream = await gpt.chat.completions.create(stream=True, temperature=0, **COUNT)
        heard = [await anext(stream) for _ in range(3)]
        assert heard[-1].choices[0].delta.content
        await stream.close()
    await _assert_few_more(slow, before, whole)

    before = await slow.counters()
    async with (
        open_claude(slow.url) as claude,
        claude.messages.stream(extra_body={"temperature": 0}, **COUNT) as spoken,
    ):
        assert await anext(aiter(spoken.text_stream))
    await _assert_few_more(slow, before, whole)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_an_answer_nobody_waits_for_stops(slow: Daemon, whole: int, path: str) -> None:
    """A client that reads no stream leaves while its answer is generated."""
    before = await slow.counters()

    async def running() -> bool:
        now = await slow.counters()
        return now["tokens_generated_total"] > before["tokens_generated_total"]

    await _leave_once(running, slow, path, COUNT | {"temperature": 0})

    await _assert_few_more(slow, before, whole)


async def test_a_connection_that_is_reset_stops(slow: Daemon, whole: int) -> None:
    """A client that vanishes with a reset instead of a goodbye is noticed as soon."""
    before = await slow.counters()
    body = json.dumps(COUNT | {"stream": True, "temperature": 0}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    reader, writer = await asyncio.open_connection("127.0.0.1", int(slow.url.rpartition(":")[2]))
    writer.write(head.encode() + body)
    await reader.readuntil(b'"content":"1')
    no_goodbye = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_goodbye)
    writer.transport.abort()

    await _assert_few_more(slow, before, whole)


async def test_a_prompt_nobody_waits_for_is_not_read_to_its_end(slow: Daemon) -> None:
    """A client leaves during the prefill: the rest is not fed, what was fed serves the retry."""
    body = COUNT | {"max_tokens": 1, "messages": [{"role": "user", "content": "lion " * 6_000}]}
    before = await slow.counters()

    async def prefilling() -> bool:
        now = await slow.counters()
        return now["tokens_fed_total"] > before["tokens_fed_total"]

    await _leave_once(prefilling, slow, "/v1/chat/completions", body)
    await eventually(slow.idle)
    after = await slow.counters()
    async with open_gpt(slow.url) as gpt:
        retried = await gpt.chat.completions.create(**body)

    fed = after["tokens_fed_total"] - before["tokens_fed_total"]
    assert retried.usage is not None
    assert retried.usage.prompt_tokens_details is not None
    assert 0 < fed < retried.usage.prompt_tokens / 2
    assert retried.usage.prompt_tokens_details.cached_tokens >= fed
    assert after["tokens_generated_total"] == before["tokens_generated_total"]


async def _leave_once(holds: Any, daemon: Daemon, path: str, body: dict[str, Any]) -> None:
    """Ask without a stream, and close the connection as soon as it `holds`."""

    async def ask() -> None:
        async with aiohttp.ClientSession() as http, http.post(f"{daemon.url}{path}", json=body):
            pass

    asking = asyncio.ensure_future(ask())
    await eventually(holds)
    assert asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking

"""Whatever is sent, the answer is a 4xx in that API's shape, and a neighbour hears nothing of it.

Each test sends one table of bad requests to a daemon with a context of 256 tokens, while another
client asks for the same answer again and again. The daemon is slow, so that there is a meanwhile.
"""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from yarl import URL

from tests.e2e.bad_requests import (
    BODIES,
    BROKEN,
    CHAT,
    CONVERSATIONS,
    COUNT_TOKENS,
    HEADS,
    IDS,
    INPUT_TOKENS,
    ITEMS,
    LIMITS,
    MAX_TOKENS,
    MESSAGES,
    NUMBERS,
    RESPONSES,
    WISHES,
    Bad,
)
from tests.e2e.clients import open_claude, open_gpt
from tests.e2e.daemon import Daemon, eventually, started
from tests.e2e.sse import Reader

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

CONTEXT = 256
LONG = "lion " * 2 * CONTEXT
ASKED: dict[str, Any] = BODIES[CHAT] | {"max_tokens": 100, "temperature": 0}
"""What the neighbour asks for."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Serve slowly, with a small context."""
    log = tmp_path_factory.mktemp("small") / "log"
    with started(log, "--context", str(CONTEXT), step_s=0.05) as running:
        yield running
    assert running.events("request_failed") == []


@pytest.fixture(scope="module")
def alone(small: Daemon) -> str:
    """Return the answer that the neighbour gets when it is alone."""
    with openai.OpenAI(base_url=f"{small.url}/v1", api_key="any", max_retries=0) as gpt:
        chat = gpt.chat.completions.create(**ASKED)
    return chat.choices[0].message.content or ""


@contextlib.asynccontextmanager
async def _neighbour(daemon: Daemon, alone: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Let a neighbour talk meanwhile; it must hear what it does alone, and nothing must be left."""
    texts: list[str] = []
    over = asyncio.Event()

    async def talk() -> None:
        while not over.is_set():
            texts.append(await Reader(daemon.url, CHAT, ASKED).whole())

    talking = asyncio.ensure_future(talk())
    try:
        await eventually(lambda: _running(daemon))
        async with aiohttp.ClientSession(daemon.url) as http:
            yield http
    finally:
        over.set()
        await talking
    assert set(texts) == {alone}
    await eventually(daemon.idle)
    assert (await daemon.counters())["restarts_total"] == 0


async def _running(daemon: Daemon) -> bool:
    return (await daemon.counters())["running"] == 1


async def _post(
    http: aiohttp.ClientSession, path: str, data: bytes, **headers: str
) -> aiohttp.ClientResponse:
    """Send bytes as they are and read the answer."""
    whole = {"Content-Type": "application/json"} | headers
    async with http.post(path, data=io.BytesIO(data), headers=whole) as answer:
        await answer.read()
        return answer


async def _refusal(
    answer: aiohttp.ClientResponse, status: int, *words: str, param: str | None = None
) -> str:
    """Say what is wrong with a refusal; nothing if it is as it should be."""
    try:
        body = json.loads(await answer.text())
        error = body["error"]
        anthropic_shape = str(answer.url.path).startswith("/v1/messages")
        assert answer.status == status
        assert answer.content_type == "application/json"
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
        assert answer.headers["request-id"].startswith("req_")
        if anthropic_shape:
            assert (body["type"], sorted(error)) == ("error", ["message", "type"])
            assert body["request_id"] == answer.headers["request-id"]
        else:
            assert sorted(error) == ["code", "message", "param", "type"]
            assert param is None or error["param"] == param
        missing = [word for word in words if word not in error["message"]]
        assert not missing, missing
    except (AssertionError, LookupError, ValueError) as problem:
        where = f"{answer.method} {answer.url.path}: {answer.status}"
        return f"{where} {problem} in {await answer.text()}"
    return ""


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "table",
    [MAX_TOKENS, NUMBERS, LIMITS, CONVERSATIONS, ITEMS, WISHES],
    ids=["max_tokens", "numbers", "limits", "conversations", "items", "wishes"],
)
async def test_fields(small: Daemon, alone: str, table: tuple[Bad, ...]) -> None:
    """A wrong field is a 400 that names the field, its value and its bound."""
    complaints = []
    async with _neighbour(small, alone) as http:
        for bad in table:
            value = _encoded(bad.value).decode()[:20] if bad.place == bad.field else ""
            for path in bad.paths:
                answer = await _post(http, path, _encoded(BODIES[path] | {bad.field: bad.value}))
                words = (bad.place, value, bad.bound)
                complaints.append(await _refusal(answer, 400, *words, param=bad.place))

    assert list(filter(None, complaints)) == []


async def test_missing_fields(small: Daemon, alone: str) -> None:
    """A required field that is not there is a 400 that names it."""
    complaints = []
    async with _neighbour(small, alone) as http:
        for path, body in BODIES.items():
            optional = {"input", "max_output_tokens"}
            optional |= set() if path == MESSAGES else {"max_tokens"}
            for field in set(body) - optional:
                left = {name: value for name, value in body.items() if name != field}
                answer = await _post(http, path, _encoded(left))
                words = f"{field}: required"
                complaints.append(await _refusal(answer, 400, words, param=field))

    assert list(filter(None, complaints)) == []


async def test_bodies(small: Daemon, alone: str) -> None:
    """A body that is no document, or too large a one, is refused at every endpoint."""
    complaints = []
    async with _neighbour(small, alone) as http:
        for status, data in BROKEN:
            for path in BODIES:
                answer = await _post(http, path, data)
                words = "8388608 are allowed" if status == 413 else ""
                complaints.append(await _refusal(answer, status, words))

    assert list(filter(None, complaints)) == []


async def test_heads(small: Daemon, alone: str) -> None:
    """Wrong content types and codings, foreign hosts and origins, endless session ids."""
    complaints = []
    async with _neighbour(small, alone) as http:
        for status, name, value in HEADS:
            for path, body in BODIES.items():
                if name == "X-Session-Id" and path in (COUNT_TOKENS, INPUT_TOKENS):
                    continue  # counting belongs to no session
                answer = await _post(http, path, _encoded(body), **{name: value})
                complaints.append(await _refusal(answer, status, name))

    assert list(filter(None, complaints)) == []


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_ids(small: Daemon, alone: str, method: str) -> None:
    """An id in a path is looked for under that name and leads nowhere else."""
    complaints = []
    below = {"GET": ("", "/input_items"), "DELETE": ("",), "POST": ("/cancel",)}[method]
    async with _neighbour(small, alone) as http:
        for name in IDS:
            for end in below:
                path = URL(f"{small.url}/v1/responses/{name}{end}", encoded=True)
                async with http.request(method, path) as answer:
                    complaints.append(await _refusal(answer, 404, "no such"))

    assert list(filter(None, complaints)) == []


async def test_queries(small: Daemon, alone: str) -> None:
    """A page of a list has bounds, which a refusal names."""
    complaints: list[object] = []
    async with _neighbour(small, alone) as http:
        asked = {"input": "Hi.", "max_output_tokens": 1}
        async with http.post(RESPONSES, json=asked) as answer:
            items = f"{RESPONSES}/{(await answer.json())['id']}/input_items"
        pages: tuple[tuple[str, int, dict[str, str]], ...] = (
            (items, 100, {}),
            ("/v1/models", 1000, {"anthropic-version": "2023-06-01"}),
        )
        for path, most, headers in pages:
            for limit in ("0", "-1", str(most + 1), "9" * 5_000, "1.5", "x", "", "٣"):
                async with http.get(path, params={"limit": limit}, headers=headers) as answer:
                    error = (await answer.json())["error"]
                    told = f"limit: expected an integer >= 1 and <= {most}, got"
                    if answer.status != HTTPStatus.BAD_REQUEST or told not in error["message"]:
                        complaints.append((path, limit, answer.status, error))
        async with http.get(items, params={"order": "up"}) as answer:
            complaints.append(await _refusal(answer, 400, "order: expected one of 'asc', 'desc'"))
        async with http.get(items, params={"after": "msg_x"}) as answer:
            complaints.append(await _refusal(answer, 404, "msg_x"))

    assert list(filter(None, complaints)) == []


async def test_paths_and_methods(small: Daemon, alone: str) -> None:
    """An unknown path is a 404 for every method, a wrong method a 405 that names the right one."""
    complaints = []
    async with _neighbour(small, alone) as http:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            for path in ("/v1/messages/nothing", "/v1/nothing", "/nothing", "/"):
                async with http.request(method, path) as answer:
                    complaints.append(await _refusal(answer, 404, "no such path", path))
            if method == "POST":
                continue
            for path in BODIES:
                async with http.request(method, path) as answer:
                    assert answer.headers["Allow"] == "POST"
                    complaints.append(await _refusal(answer, 405, method, "POST"))

    assert list(filter(None, complaints)) == []


async def test_overlong_prompts(small: Daemon, alone: str) -> None:
    """A prompt beyond the context is refused in the words that each API's clients understand."""
    async with (
        _neighbour(small, alone),
        open_claude(small.url) as claude,
        open_gpt(small.url) as gpt,
    ):
        asked: dict[str, Any] = {
            "model": "any",
            "messages": [{"role": "user", "content": LONG}],
        }
        counted = (await claude.messages.count_tokens(**asked)).input_tokens
        with pytest.raises(anthropic.BadRequestError) as theirs:
            await claude.messages.create(max_tokens=8, **asked)
        with pytest.raises(openai.BadRequestError) as chat:
            await gpt.chat.completions.create(**asked)
        with pytest.raises(openai.BadRequestError) as text:
            await gpt.completions.create(model="any", prompt=LONG)

    said = f"prompt is too long: {counted} tokens > {CONTEXT - 1} maximum"
    assert isinstance(theirs.value.body, dict)
    assert theirs.value.body["error"] == {"type": "invalid_request_error", "message": said}
    assert [refused.value.code for refused in (chat, text)] == ["context_length_exceeded"] * 2
    assert said in chat.value.message


async def test_a_large_max_tokens_is_clamped(small: Daemon, alone: str) -> None:
    """What the context does not leave is no error: the answer ends before that."""
    async with _neighbour(small, alone), open_claude(small.url) as claude:
        message = await claude.messages.create(
            model="any", max_tokens=2**31 - 1, messages=[{"role": "user", "content": "Hello!"}]
        )

    assert message.usage.output_tokens < CONTEXT
    assert message.content

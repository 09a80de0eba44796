"""How the Messages API refuses: statuses, types, headers and whole bodies."""

from typing import Any

import aiohttp
import pytest

from semantic_actors.api import Access, Bounds
from semantic_actors.api.refusals import BodyTooSlow, KeyRequired
from semantic_actors.domain.errors import (
    AccessDenied,
    Draining,
    InvalidRequest,
    NeverFits,
    Overloaded,
    PayloadTooLarge,
    PromptTooLong,
    TurnFailed,
)
from tests.api.asked import user
from tests.api.fakes import BODIES, FakeDesk, serving

pytestmark = pytest.mark.asyncio

MESSAGES, COUNT, *_ = BODIES
BODY = BODIES[MESSAGES]

NO, YES = {"x-should-retry": "false"}, {"x-should-retry": "true"}

ERRORS: list[tuple[Exception, int, str, str, dict[str, str]]] = [
    (InvalidRequest("no", field="x"), 400, "invalid_request_error", "no", NO),
    (
        PromptTooLong(200_000, 4096),
        400,
        "invalid_request_error",
        "prompt is too long: 200000 tokens > 4096 maximum",
        NO,
    ),
    (
        NeverFits(9, 4),
        400,
        "invalid_request_error",
        "prompt is too long: it needs 9 bytes of KV cache, the pool holds 4",
        NO,
    ),
    (
        KeyRequired(),
        401,
        "authentication_error",
        "a known key is required, as x-api-key or as Authorization: Bearer",
        NO | {"WWW-Authenticate": "Bearer"},
    ),
    (AccessDenied("not you"), 403, "permission_error", "not you", NO),
    (
        BodyTooSlow(30),
        408,
        "invalid_request_error",
        "the body did not arrive within 30 seconds",
        {},
    ),
    (PayloadTooLarge("too much"), 413, "request_too_large", "too much", NO),
    (
        Overloaded("full", retry_after_s=7),
        529,
        "overloaded_error",
        "full",
        YES | {"Retry-After": "7"},
    ),
    (
        Draining(5),
        503,
        "overloaded_error",
        "the server is shutting down",
        YES | {"Retry-After": "5"},
    ),
    (TurnFailed("secret"), 500, "api_error", "the server could not finish the answer", {}),
    (RuntimeError("secret"), 500, "api_error", "the server could not finish the answer", {}),
]
SAID = ("x-should-retry", "Retry-After", "WWW-Authenticate", "Allow")


@pytest.mark.parametrize(("error", "status", "kind", "message", "headers"), ERRORS)
async def test_body(  # noqa: PLR0917 - a row of the table
    client: aiohttp.ClientSession,
    desk: FakeDesk,
    error: Exception,
    status: int,
    kind: str,
    message: str,
    headers: dict[str, str],
) -> None:
    """A refusal has a status, a type, one sentence, its request's id, and says whether to retry."""
    desk.refusal = error
    async with client.post(MESSAGES, json=BODY) as answer:
        body = await answer.json()

    assert status == answer.status
    assert body == {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": answer.headers["request-id"],
    }
    assert headers == {name: answer.headers[name] for name in SAID if name in answer.headers}


async def test_thread(client: aiohttp.ClientSession) -> None:
    """Who goes on from a thread is refused in the words that make the SDK resend all of it.

    A new one holds the whole conversation already.
    """
    for path in (MESSAGES, COUNT):
        async with client.post(path, json=BODIES[path] | {"thread": {"type": "create"}}) as answer:
            assert answer.status == 200
        for thread in ("create", {"type": "continue", "previous_message_id": "m"}):
            async with client.post(path, json=BODIES[path] | {"thread": thread}) as answer:
                body = await answer.json()
                assert answer.status == 400
            assert body["error"] == {
                "type": "invalid_request_error",
                "message": "thread: not supported, send the whole conversation in messages",
                "details": {
                    "error_code": "thread_unsupported_request",
                    "unsupported": ["thread"],
                },
            }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/messages/batches", 404),
        ("POST", "/v1/messages/batches", 404),
        ("GET", "/v1/messages/batches/b/results", 404),
        ("POST", "/v1/files", 404),
        ("GET", "/api/hello", 404),
        ("GET", "/", 404),
        ("GET", "/v1/messages", 405),
    ],
)
async def test_unknown_path(
    client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """What is not served is a document in this API's shape, whatever is sent with it."""
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "x-2099-01-01"}
    async with client.request(method, path, headers=headers, data=b"\0" * 99) as answer:
        body = await answer.json()

    assert answer.status == status
    assert body["type"] == "error"
    assert body["error"]["type"] == {404: "not_found_error", 405: "invalid_request_error"}[status]
    assert body["request_id"] == answer.headers["request-id"]


async def test_hello(client: aiohttp.ClientSession) -> None:
    """What Claude Code looks for as it starts is not there, which it takes for an answer."""
    async with client.head("/api/hello") as answer:
        assert (answer.status, answer.content_type) == (404, "application/json")


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", "2099-01-01", ""])
async def test_versions(client: aiohttp.ClientSession, desk: FakeDesk, version: str) -> None:
    """Sampling, betas and unknown fields are taken in every version of the API."""
    body = BODY | {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "from_the_future": {"a": [1]}}
    headers = {"anthropic-version": version, "anthropic-beta": "a-2099-01-01,b", "x-app": "cli"}
    async with client.post(f"{MESSAGES}?beta=true", json=body, headers=headers) as answer:
        assert answer.status == 200

    sampling = desk.generation.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 5)


@pytest.mark.parametrize("scheme", ["x-api-key", "Authorization"])
async def test_keys(desk: FakeDesk, scheme: str) -> None:
    """A key is taken under either name, and asked for on every path of the API."""
    access = Access(keys={"alice": "s3cret"})
    value = "s3cret" if scheme == "x-api-key" else "Bearer s3cret"
    async with (
        serving(desk, access) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        for path in (MESSAGES, COUNT):
            async with client.post(path, json=BODIES[path], headers={scheme: value}) as answer:
                assert answer.status == 200
            async with client.post(path, json=BODIES[path]) as answer:
                assert answer.status == 401
                assert (await answer.json())["error"]["type"] == "authentication_error"


PICTURE: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": "http://evil.test/"}}


async def test_placeholder(desk: FakeDesk) -> None:
    """Where the operator wants it, a word stands for a picture, counted as it is answered."""
    body = {"messages": [user(PICTURE)]}
    async with (
        serving(desk, bounds=Bounds(attachments="placeholder")) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        for path in (MESSAGES, COUNT):
            async with client.post(path, json=BODIES[path] | body) as answer:
                assert answer.status == 200

    assert desk.counted == [desk.generation.prompt]

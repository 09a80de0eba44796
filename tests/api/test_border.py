"""What holds for every request: ids, Host and Origin, keys, errors, one line in the log."""

import asyncio
import itertools
import json
from typing import Any

import aiohttp
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from semantic_actors.api import Access
from semantic_actors.domain.errors import (
    ConfigurationError,
    Draining,
    InvalidRequest,
    NeverFits,
    Overloaded,
    PromptTooLong,
    TurnFailed,
)
from semantic_actors.domain.ids import LOCAL
from semantic_actors.domain.stream import Failed, Started
from tests.api.fakes import ANSWERING, ASKED, BODIES, FakeDesk, serving

pytestmark = pytest.mark.asyncio

PATHS = ["/livez", "/readyz", "/health", "/metrics", "/v1/models", "/v1/models/x", "/nowhere"]


def told(body: Any) -> tuple[str, str]:
    """Read type and message of an error, whichever API's shape it has."""
    return body["error"]["type"], body["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
async def test_request_id(client: aiohttp.ClientSession, method: str) -> None:
    """Every answer carries an id that we made, under both names, whatever the client sent."""
    for path in (*PATHS, *BODIES):
        async with client.request(method, path, headers={"x-request-id": "mine"}) as answer:
            assert answer.headers["request-id"].startswith("req_")
            assert answer.headers["request-id"] == answer.headers["x-request-id"]
            assert "aiohttp" not in answer.headers["Server"]


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "127.0.0.1.evil.test",
        "localhost.evil",
        "127.0.0.1:1",
        "localhost:",
        "[::1]:1",
        "127.1",
        "0.0.0.0",  # noqa: S104 - a name to refuse, not to bind
        "",
    ],
)
async def test_foreign_host(client: aiohttp.ClientSession, host: str) -> None:
    """A name that is not ours is refused on every path, for every method (DNS rebinding)."""
    for path, method in itertools.product((*PATHS, *BODIES), ("GET", "POST", "OPTIONS")):
        async with client.request(method, path, headers={"Host": host}) as answer:
            assert answer.status == 403
            assert told(await answer.json())[0] == "permission_error"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
async def test_own_host(client: aiohttp.ClientSession, port: int, host: str) -> None:
    """Loopback's names are ours, with our port or without one, and so are pages from there."""
    for name in (host, f"{host}:{port}"):
        headers = {"Host": name, "Origin": f"http://{name}"}
        async with client.get("/livez", headers=headers) as answer:
            assert answer.status == 200


async def test_configured_host(desk: FakeDesk) -> None:
    """Further names of the server are configured; they are matched exactly."""
    async with (
        serving(desk, Access(hosts=frozenset({"Box.lan"}))) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        for host, status in [("box.lan", 200), (f"box.lan:{port}", 200), ("a.box.lan", 403)]:
            async with client.get("/livez", headers={"Host": host}) as answer:
                assert status == answer.status


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.test", "chrome-extension://abc", "http://localhost:1", "localhost", ""],
)
async def test_foreign_origin(client: aiohttp.ClientSession, desk: FakeDesk, origin: str) -> None:
    """A page from elsewhere is refused, in a preflight too, before anything is done for it."""
    for method in ("POST", "OPTIONS"):
        async with client.request(
            method, "/v1/messages", json=BODIES["/v1/messages"], headers={"Origin": origin}
        ) as answer:
            assert answer.status == 403
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert desk.asked == []


@pytest.mark.parametrize(
    ("headers", "principal"),
    [
        ({}, None),
        ({"x-api-key": "wrong"}, None),
        ({"x-api-key": "alpha-ke"}, None),
        ({"x-api-key": ""}, None),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": "Basic beta-key"}, None),
        ({"Authorization": "Bearer \udcff"}, None),
        ({"x-api-key": "alpha-key"}, "alice"),
        ({"Authorization": "Bearer beta-key"}, "bob"),
        ({"Authorization": "bearer beta-key", "x-api-key": "wrong"}, "bob"),
    ],
)
async def test_keys(desk: FakeDesk, headers: dict[str, str], principal: str | None) -> None:
    """With keys configured the API needs one of them, and who asks is whose key it is."""
    access = Access(keys={"alice": "alpha-key", "bob": "beta-key"})
    async with (
        serving(desk, access) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.post("/v1/messages", json=BODIES["/v1/messages"], headers=headers) as answer,
    ):
        assert (401 if principal is None else 200) == answer.status
        if principal is None:
            assert told(await answer.json())[0] == "authentication_error"
        assert [principal] * (principal is not None) == [who.principal for who, _ in desk.asked]


async def test_keys_are_not_shown() -> None:
    """No representation of the rules holds a key."""
    assert "alpha-key" not in repr(Access(keys={"alice": "alpha-key"}))


async def test_health_needs_no_key(desk: FakeDesk) -> None:
    """Probes have no key; every path of the API needs one, even one that does not exist."""
    async with (
        serving(desk, Access(keys={"alice": "alpha-key"})) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        for path, status in [
            ("/livez", 200),
            ("/metrics", 200),
            ("/v1/models", 401),
            ("/v1/x", 401),
        ]:
            async with client.get(path) as answer:
                assert status == answer.status


async def test_any_key_is_local(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Without keys configured everyone is the one local principal, whatever key is sent."""
    body = BODIES["/v1/messages"]
    async with client.post("/v1/messages", json=body, headers={"x-api-key": "any"}) as answer:
        assert answer.status == 200
    assert desk.identity.principal == LOCAL


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.1.2", "box.lan"])  # noqa: S104
async def test_open_bind_needs_a_key(host: str) -> None:
    """A server that others can reach does not start without a key."""
    Access(keys={"a": "b"}).check_bind(host)
    with pytest.raises(ConfigurationError):
        Access().check_bind(host)


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/messages/batches", "/api/hello"])
async def test_not_found(client: aiohttp.ClientSession, path: str) -> None:
    """What is not there is a 404 in the shape of the API that was asked."""
    for headers in ({}, {"anthropic-version": "2023-06-01"}):
        async with client.get(path, headers=headers) as answer:
            body = await answer.json()
            anthropic = bool(headers) or path.startswith("/v1/messages")
            assert answer.status == 404
            assert anthropic == (body.get("type") == "error")
            assert ("not_found_error", f"no such path: GET {path}") == told(body)


@pytest.mark.parametrize("path", [*PATHS[:-1], *BODIES])
async def test_wrong_method(client: aiohttp.ClientSession, path: str) -> None:
    """A wrong method is a 405 that names the right ones."""
    async with client.delete(path) as answer:
        allowed = "POST" if path in BODIES else "GET, HEAD"
        assert (405, allowed) == (answer.status, answer.headers["Allow"])
        assert f"DELETE is not allowed here, only {allowed}" == told(await answer.json())[1]


@pytest.mark.parametrize("path", PATHS[:-1])
async def test_head(client: aiohttp.ClientSession, path: str) -> None:
    """HEAD is GET without the body."""
    async with client.get(path) as full, client.head(path) as bare:
        assert (full.status, b"") == (bare.status, await bare.read())


ERRORS = [
    (InvalidRequest("no", field="x"), 400, "invalid_request_error", "invalid_request_error"),
    (PromptTooLong(9, 4), 400, "invalid_request_error", "invalid_request_error"),
    (NeverFits(9, 4), 400, "invalid_request_error", "invalid_request_error"),
    (Overloaded("full", retry_after_s=7), 429, "overloaded_error", "rate_limit_error"),
    (Draining(5), 503, "overloaded_error", "server_error"),
    (TurnFailed("secret"), 500, "api_error", "server_error"),
    (RuntimeError("secret"), 500, "api_error", "server_error"),
    (TimeoutError("secret"), 500, "api_error", "server_error"),
]


@pytest.mark.parametrize("path", ANSWERING)
@pytest.mark.parametrize(("error", "status", "anthropic", "openai"), ERRORS)
async def test_errors(  # noqa: PLR0917 - a row of the table, and where it is tried
    client: aiohttp.ClientSession,
    desk: FakeDesk,
    path: str,
    error: Exception,
    status: int,
    anthropic: str,
    openai: str,
) -> None:
    """An answer that cannot be given, or not be finished, has the status and shape of its cause."""
    for desk.refusal, desk.script in ((error, ()), (None, (Started(ASKED), Failed(error)))):
        async with client.post(path, json=BODIES[path]) as answer:
            text = await answer.text()
            kind, message = told(json.loads(text))

        assert answer.status == (529 if (path, status) == ("/v1/messages", 429) else status)
        assert kind == (anthropic if path == "/v1/messages" else openai)
        assert "secret" not in text
        retry_after = str(getattr(error, "retry_after_s", None))
        assert retry_after == answer.headers.get("Retry-After", "None")
        if status < 500:
            assert message == str(error)
        again = {400: "false", 429: "true", 503: "true", 500: None}[status]
        assert again == answer.headers.get("x-should-retry")


async def test_prompt_too_long(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Clients read these very words, or this very code, and shorten the conversation."""
    desk.refusal = PromptTooLong(200_000, 4096)

    async with client.post("/v1/messages", json=BODIES["/v1/messages"]) as answer:
        body = await answer.json()
        assert answer.headers["request-id"] == body["request_id"]
        assert body["error"]["message"] == "prompt is too long: 200000 tokens > 4096 maximum"
    async with client.post("/v1/chat/completions", json=BODIES["/v1/chat/completions"]) as answer:
        assert (await answer.json())["error"]["code"] == "context_length_exceeded"


async def test_thread(client: aiohttp.ClientSession) -> None:
    """A thread is refused in the words that make the SDK resend the whole conversation."""
    body = BODIES["/v1/messages"] | {"thread": {"type": "continue", "previous_message_id": "m"}}

    async with client.post("/v1/messages", json=body) as answer:
        error = (await answer.json())["error"]
        assert answer.status == 400
        assert error["type"] == "invalid_request_error"
        assert error["details"] == {
            "error_code": "thread_unsupported_request",
            "unsupported": ["thread"],
        }


async def test_log(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """One line per request, with its route, cost and id, and nothing of what was said."""
    with capture_logs(processors=[merge_contextvars]) as lines:
        async with client.post("/v1/messages?beta=true", json=BODIES["/v1/messages"]) as answer:
            pass
        desk.refusal = RuntimeError("broken")
        async with client.post("/v1/completions", json=BODIES["/v1/completions"]):
            pass
        async with client.get("/secret/path"):
            pass

    finished = [line for line in lines if line["event"] == "request_finished"]
    assert [(line["route"], line["status"]) for line in finished] == [
        ("/v1/messages", 200),
        ("/v1/completions", 500),
        ("unmatched", 404),
    ]
    assert answer.headers["request-id"] == finished[0]["request_id"]
    assert tuple(finished[0][f"{kind}_tokens"] for kind in ("prompt", "cached", "completion")) == (
        10,
        4,
        3,
    )
    assert finished[0]["first_token_s"] > 0
    assert finished[1]["first_token_s"] is None
    assert [line["reason"] for line in lines if "reason" in line] == ["RuntimeError('broken')"]
    assert "hi" not in str(lines[0]).split()
    assert "secret" not in str(lines)


async def test_duplicate_host(port: int) -> None:
    """Two Hosts cannot slip past the check of one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n")

    assert (await reader.readline()).split()[1] == b"400"
    writer.close()
    await writer.wait_closed()

"""Bodies that are no fit JSON document, whatever their fields."""

import json

import aiohttp
import pytest

from semantic_actors.domain.request import TextPrompt
from tests.api.fakes import BODIES, FakeDesk

pytestmark = pytest.mark.asyncio

CLAUDE, COUNT, CHAT, TEXT, *_ = BODIES

DOCUMENTS: list[tuple[bytes, str]] = [
    (b"", "valid JSON"),
    (b"{", "valid JSON"),
    (b"hi", "valid JSON"),
    (b"[]", "body: expected an object, got []"),
    (b"null", "body: expected an object, got null"),
    (b"\xef\xbb\xbf{}", "valid JSON"),
    (b'{"model": NaN}', "valid JSON"),
    (b'{"model": "\xff"}', "valid UTF-8"),
    (b'{"model": "\xed\xa0\x80"}', "valid UTF-8"),
    (b'{"model": "a\x00b"}', "valid JSON"),
    (b'{"model": "a\\u0000b", "messages": [', "valid JSON"),
    (b'{"model": "\\ud800"}', "half a surrogate pair at byte 11"),
    (b'{"model": "a\\uDC00b"}', "half a surrogate pair at byte 12"),
    (b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested less deeply"),
    (b'{"x": ' + b"[" * 1_000_000, "at most 100000 arrays"),
    (b'{"model": 1, "x": ' + b"[" * 1_000_000, "at most 100000 arrays"),
    (b'{"model": 1, "x"', "valid JSON"),
    (b'{"model": ' + b"9" * 5000 + b"}", "model: expected a string of at least 1 characters"),
    (b'{"thread": 1e999, "model": 5}', "thread: expected numbers within range, got 1e999"),
    (
        b'{"messages": [1], "messages": [], "prompt": [1.5], "prompt": [], "input":[1],"input":[]}',
        "duplicate keys",
    ),
]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("body", "words"), DOCUMENTS, ids=lambda value: repr(value)[:40])
async def test_document(client: aiohttp.ClientSession, path: str, body: bytes, words: str) -> None:
    """A body that is no fit document is refused with what is wrong with it."""
    headers = {"Content-Type": "application/json"}
    async with client.post(path, data=body, headers=headers) as answer:
        error = (await answer.json())["error"]

    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    known = "thread" not in words or path in {CLAUDE, COUNT}
    assert not known or words in error["message"]


@pytest.mark.parametrize("path", BODIES)
async def test_trailing_bytes(client: aiohttp.ClientSession, path: str) -> None:
    """A good document with something behind it is no document."""
    body = json.dumps(BODIES[path]).encode() + b" {}"
    headers = {"Content-Type": "application/json"}

    async with client.post(path, data=body, headers=headers) as answer:
        assert answer.status == 400
        assert "valid JSON" in await answer.text()


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "😀", "\x7f", "\ufffd"])
async def test_text_is_text(client: aiohttp.ClientSession, desk: FakeDesk, text: str) -> None:
    """What only looks like a NUL or half a pair is passed on as it is."""
    async with client.post(TEXT, json=BODIES[TEXT] | {"prompt": text}) as answer:
        assert answer.status == 200

    assert desk.generation.prompt == TextPrompt(text)


@pytest.mark.parametrize("path", BODIES)
async def test_nul_beside_what_was_passed_over(client: aiohttp.ClientSession, path: str) -> None:
    """A NUL is refused even where what nobody reads is broken, or its key is endless."""
    body = json.dumps(BODIES[path] | {"model": "\0"}).encode()
    for key in (b"\xff", b"k" * 10_000):
        spoiled = b'{"' + key + b'": {"\\u0000": "\\u0000"}, ' + body[1:]
        headers = {"Content-Type": "application/json"}
        async with client.post(path, data=spoiled, headers=headers) as answer:
            assert answer.status == 400
            assert len(await answer.text()) < 500

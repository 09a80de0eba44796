"""Bodies that are large, or small and many values: they cost their sender time, and nobody else."""

import asyncio
import gc
import io
import json
import threading
import time
from collections.abc import Awaitable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from semantic_actors.api import Bounds
from semantic_actors.api.body import Bodies
from semantic_actors.api.decode import built, check_values, decode
from semantic_actors.domain import limits
from semantic_actors.domain.errors import InvalidRequest
from tests.api.fakes import ANSWERING, BODIES, HI, FakeDesk

BLINK_S = 0.1
"""What a body may hold the event loop for, at most."""

ATTEMPTS = 5
"""A shared machine may take longer once; a step that holds the loop does each time."""

EMPTY: list[Any] = [[]] * (limits.MAX_JSON_CONTAINERS - 20)
PAIRS = [{"a": 1}] * (limits.MAX_JSON_CONTAINERS - 20)
CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": PAIRS}}
FUNCTION = {"name": "f", "arguments": json.dumps({"x": EMPTY})}
TOOL = {"name": "f", "input_schema": {"enum": EMPTY}}
ONE = {"model": "any", "max_tokens": 9}
WORST: list[tuple[str, int, dict[str, Any]]] = [
    ("/v1/messages", 200, {"messages": [HI, {"role": "assistant", "content": [CALL]}]}),
    ("/v1/messages", 200, {"messages": [HI], "tools": [TOOL]}),
    ("/v1/messages", 400, {"messages": [HI], "thread": EMPTY}),
    ("/v1/messages", 400, {"messages": [HI], "zz": EMPTY * 27}),
    ("/v1/messages", 200, {"messages": [{"role": "user", "content": '\\u0000"' * 900_000}]}),
    ("/v1/messages/count_tokens", 200, {"messages": [HI], "tools": [TOOL]}),
    (
        "/v1/chat/completions",
        200,
        {
            "messages": [
                HI,
                {"role": "assistant", "tool_calls": [{"id": "a", "function": FUNCTION}]},
            ]
        },
    ),
    ("/v1/chat/completions", 400, {"messages": [HI], "functions": EMPTY}),
    ("/v1/completions", 200, {"prompt": [12345] * limits.MAX_PROMPT_TOKENS}),
    ("/v1/completions", 400, {"prompt": [[1]] * limits.MAX_PROMPT_TOKENS}),
    ("/v1/responses", 200, {"input": "hi", "text": {"zz": EMPTY}}),
    ("/v1/responses", 400, {"input": "hi", "tools": [{"type": "mcp", "zz": EMPTY * 27}]}),
    ("/v1/responses", 200, {"input": [{"type": "function_call", "call_id": "a"} | FUNCTION, HI]}),
    ("/v1/responses/input_tokens", 200, {"input": "hi", "tools": [{"type": "mcp", "zz": EMPTY}]}),
]
"""Of each endpoint what takes long to read, and the status of the answer."""


async def longest_hold(doing: Awaitable[None]) -> float:
    """Measure for how long at a stretch the loop does nothing else meanwhile.

    In seconds of this process on a processor: what others do on this machine does not count.
    """
    clock = time.process_time
    task = asyncio.ensure_future(doing)
    longest, seen = 0.0, clock()
    while not task.done():
        await asyncio.sleep(0)
        longest, seen = max(longest, clock() - seen), clock()
    await task
    return longest


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "status", "body"),
    WORST,
    ids=[f"{path}-{index}" for index, (path, *_) in enumerate(WORST)],
)
async def test_loop_is_free(
    client: aiohttp.ClientSession, path: str, status: int, body: dict[str, Any]
) -> None:
    """While the worst of bodies is read, whoever else is served hardly notices."""
    content = json.dumps(ONE | body, separators=(",", ":")).encode()
    assert len(content) <= limits.MAX_BODY_BYTES

    async def send() -> None:
        headers = {"Content-Type": "application/json"}
        async with client.post(path, data=io.BytesIO(content), headers=headers) as answer:
            assert answer.status == status
            await answer.read()

    holds = [await longest_hold(send()) for _ in range(ATTEMPTS)]

    assert min(holds) < BLINK_S


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ANSWERING)
async def test_large_body(client: aiohttp.ClientSession, desk: FakeDesk, path: str) -> None:
    """A body that is read beside the loop is answered, or refused, like any other."""
    said = "word " * 10**5
    field = "prompt" if path == "/v1/completions" else "input"
    named = {"messages": [{"role": "user", "content": said}]}
    body = BODIES[path] | (named if "messages" in BODIES[path] else {field: said})

    async with client.post(path, json=body) as answer:
        assert answer.status == 200
    assert said in repr(desk.generation.prompt)

    async with client.post(path, json=body | {"temperature": 9}) as answer:
        assert answer.status == 400
        assert "temperature: expected a number >= 0 and <= 2" in await answer.text()


@pytest.mark.parametrize(
    "inner",
    [
        b"[" + b",".join([b"[]"] * 100_000) + b"]",
        b"[" + b",".join([b"{}"] * 100_000) + b"]",
        b"[" + b",".join([b"1"] * 250_002) + b"]",
        b"[" + b",".join([b'"\\\\"'] * 250_002) + b"]",
    ],
)
def test_too_many_values(inner: bytes) -> None:
    """So many values are refused before one is built, also where nobody would read them."""
    with pytest.raises(InvalidRequest, match="at most 100000 arrays and objects, and 250000 val"):
        decode(b'{"nobody": ' + inner + b"}", dict)


@pytest.mark.parametrize("text", ["[{,", '\\"[{,', '\\\\"[,', "\\\\\\\\{"])
def test_marks_in_strings(text: str) -> None:
    """Brackets and commas of a text are no values, whatever stands before them."""
    escaped = json.dumps({"x": text * 300_000, "y": [1]})

    check_values(escaped.encode(), "x")
    assert decode(escaped.encode(), dict)["y"] == [1]


def test_token_ids() -> None:
    """Token ids, of which a prompt may be made, do not count as values."""
    ids = [1] * limits.MAX_PROMPT_TOKENS

    decoded = decode(json.dumps(ids).encode(), list, token_ids=limits.MAX_PROMPT_TOKENS)

    assert decoded == ids


@pytest.mark.asyncio
async def test_beside_the_loop() -> None:
    """What is large is understood on another thread, one at a time, and what is small at once."""
    bodies = Bodies(Bounds())
    try:
        here = threading.get_ident()
        threads = {await bodies.beside(2**20, threading.get_ident) for _ in range(3)}

        assert len(threads) == 1
        assert here not in threads
        assert await bodies.beside(2**10, threading.get_ident) == here
    finally:
        await bodies.close(web.Application())


def test_the_search_for_garbage_goes_on_after_two_at_once() -> None:
    """Who begins while another has it off, and ends later, has it on again."""
    gc.disable()
    try:
        built(b"[]", list)
        assert gc.isenabled()
    finally:
        gc.enable()

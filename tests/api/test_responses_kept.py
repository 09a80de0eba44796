"""Responses that are kept: gone on from, shown, listed, deleted; by their principal alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
from yarl import URL

from semantic_actors.api import Access, Bounds, HttpServer
from semantic_actors.domain.errors import TurnFailed, Unavailable
from semantic_actors.domain.ids import Principal, SessionId
from semantic_actors.domain.request import ChatMessage
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Failed,
    Finished,
    Started,
    TextDelta,
)
from semantic_actors.sessions import Responses
from tests.api.fakes import ANSWERED, ASKED, GREETING, FakeDesk, frames, serving
from tests.api.responses_kept import (
    ERRAND,
    HELLO,
    HI,
    LOOK,
    PATH,
    PATIENCE_S,
    UNKNOWN,
    made,
    messages,
    sdk,
)

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_is_gone_on_from(
    gpt: openai.AsyncOpenAI, desk: FakeDesk, *, stream: bool
) -> None:
    """The next request need only send what is new; it is answered by the same session."""
    desk.script = ERRAND
    first = await made(gpt, stream=stream, input="hi", instructions="Be brief.")
    desk.script = GREETING
    output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "a.txt"}
    second = await made(gpt, stream=stream, input=[output], previous_response_id=first)
    asked = messages(desk)
    await made(gpt, stream=stream, input="more", previous_response_id=second)

    errand = ChatMessage("assistant", "I look.", (LOOK,), reasoning="hm")
    assert asked == (HI, errand, ChatMessage("tool", "a.txt", tool_call_id="call_1"))
    assert messages(desk) == (*asked, HELLO, ChatMessage("user", "more"))
    assert [identity.session for identity, _ in desk.asked] == [None, "s", "s"]


async def test_a_response_may_be_gone_on_from_twice(
    gpt: openai.AsyncOpenAI, desk: FakeDesk
) -> None:
    """Each time from where it ended, whatever was said elsewhere."""
    first = await made(gpt, input="hi")
    for text in ("one", "two"):
        await made(gpt, input=text, previous_response_id=first)
        assert messages(desk) == (HI, HELLO, ChatMessage("user", text))


async def test_a_chain_needs_none_of_its_links(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """What was deleted on the way is still part of what came after it."""
    first = await made(gpt, input="hi")
    second = await made(gpt, input="more", previous_response_id=first)
    await gpt.responses.delete(first)
    await made(gpt, input="still?", previous_response_id=second)

    assert [message.content for message in messages(desk)] == [
        *("hi", "Hello", "more", "Hello", "still?")
    ]


async def test_a_cut_call_is_no_part_of_what_comes_after(
    gpt: openai.AsyncOpenAI, desk: FakeDesk
) -> None:
    """A response that is incomplete can be gone on from like any other."""
    call = (CallStarted("call_1", "look"), ArgumentsDelta('{"a'))
    desk.script = (Started(ASKED), TextDelta("I"), *call, Finished("length", ANSWERED))
    first = await made(gpt, input="hi")
    desk.script = GREETING
    await made(gpt, input="go on", previous_response_id=first)

    assert messages(desk)[1] == ChatMessage("assistant", "I")


async def test_instructions_are_not_carried_over(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """Those of the request hold, and no others."""
    first = await made(gpt, input="hi", instructions="Be brief.")
    await made(gpt, input="a", instructions="Be long.", previous_response_id=first)

    assert messages(desk)[0] == ChatMessage("system", "Be long.")
    assert [message.role for message in messages(desk)].count("system") == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_not_stored_is_not_known(
    gpt: openai.AsyncOpenAI, client: aiohttp.ClientSession, desk: FakeDesk, *, stream: bool
) -> None:
    """Neither what its client wants forgotten, nor what failed."""
    unstored = await made(gpt, stream=stream, input="hi", store=False)
    desk.script = (Started(ASKED), TextDelta("a"), Failed(TurnFailed("no")))
    async with client.post(PATH, json={"input": "hi", "stream": True}) as answer:
        failed = frames(await answer.text())[0][1]["response"]["id"]
    desk.script = GREETING

    for name in (unstored, failed):
        with pytest.raises(openai.NotFoundError):
            await gpt.responses.retrieve(name)
        with pytest.raises(openai.BadRequestError) as raised:
            await gpt.responses.create(input="more", previous_response_id=name)
        assert raised.value.code == "previous_response_not_found"
        assert raised.value.param == "previous_response_id"


async def test_a_kept_response_is_shown_as_it_was_told(gpt: openai.AsyncOpenAI) -> None:
    """Field by field."""
    told = await gpt.responses.create(model="any", input="hi", metadata={"a": "b"})

    assert (await gpt.responses.retrieve(told.id)).to_dict() == told.to_dict()


async def test_a_deleted_response_is_unknown(
    gpt: openai.AsyncOpenAI, client: aiohttp.ClientSession
) -> None:
    """It is said that it is gone; then it is not there."""
    name = await made(gpt, input="hi")
    async with client.delete(f"{PATH}/{name}") as answer:
        assert await answer.json() == {"id": name, "object": "response", "deleted": True}

    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")]:
        async with client.request(method, f"{PATH}/{name}{path}") as answer:
            assert answer.status == 404
            assert name in (await answer.json())["error"]["message"]


async def test_counting(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """The same conversation as would be answered, without an answer."""
    first = await made(gpt, input="hi")
    counted = await gpt.responses.input_tokens.count(
        model="any", input="more", previous_response_id=first, instructions="Be brief."
    )

    assert (counted.input_tokens, counted.object) == (42, "response.input_tokens")
    told = (ChatMessage("system", "Be brief."), HI, HELLO, ChatMessage("user", "more"))
    assert desk.counted[0].messages == told
    assert len(desk.asked) == 1


async def test_another_principals_response_is_unknown(desk: FakeDesk) -> None:
    """By every way that leads to one."""
    access = Access(keys={"alice": "key of alice", "bob": "key of bob"})
    async with (
        serving(desk, access) as port,
        sdk(port, "key of alice") as alice,
        sdk(port, "key of bob") as bob,
    ):
        first = await alice.responses.create(input="hi")
        tries: tuple[Callable[[openai.AsyncOpenAI], Any], ...] = (
            lambda who: who.responses.retrieve(first.id),
            lambda who: who.responses.input_items.list(first.id),
            lambda who: who.responses.cancel(first.id),
            lambda who: who.responses.create(input="a", previous_response_id=first.id),
            lambda who: who.responses.input_tokens.count(input="a", previous_response_id=first.id),
            lambda who: who.responses.create(input=[{"id": str(first.output[0].id)}]),
            lambda who: who.responses.delete(first.id),
        )
        for attempt in tries:
            with pytest.raises((openai.NotFoundError, openai.BadRequestError), match="no such"):
                await attempt(bob)
        await alice.responses.create(input="a", previous_response_id=first.id)

    assert len(desk.asked) == 2
    assert {identity.principal for identity, _ in desk.asked} == {"alice"}


@pytest.mark.parametrize("name", [UNKNOWN, "resp_..%2f..%2fx", "resp_%00", "resp_" + "a" * 7000])
async def test_ids_that_nobody_knows(client: aiohttp.ClientSession, port: int, name: str) -> None:
    """Whatever an id looks like, it is unknown."""
    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")]:
        url = URL(f"http://127.0.0.1:{port}{PATH}/{name}{path}", encoded=True)
        async with client.request(method, url) as answer:
            assert answer.status in (400, 404)
            assert len(await answer.text()) < 1000
    body = {"input": "hi", "previous_response_id": name}
    async with client.post(PATH, json=body) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (400, "previous_response_not_found")
        assert len(error["message"]) < 500


async def test_what_is_not_offered(gpt: openai.AsyncOpenAI, client: aiohttp.ClientSession) -> None:
    """Cancelling, compacting and streaming again are refused in plain words."""
    name = await made(gpt, input="hi")
    for method, path, words in [
        ("POST", f"{PATH}/{name}/cancel", "only responses in the background"),
        ("POST", f"{PATH}/compact", "compaction is not supported"),
        ("GET", f"{PATH}/{name}?stream=true", "stream: true is not supported"),
    ]:
        async with client.request(method, path) as answer:
            assert answer.status == 400
            assert words in (await answer.json())["error"]["message"]


class Slow(Responses):
    """Keeps nothing before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.told = asyncio.Event()

    async def keep(
        self, principal: Principal, session: SessionId, response: str, content: bytes
    ) -> None:
        """Keep it, later."""
        self.asked.set()
        await self.told.wait()
        await super().keep(principal, session, response, content)


class Broken(Responses):
    """Cannot look anything up."""

    async def find(self, principal: Principal, response: str) -> bytes | None:  # noqa: ARG002
        """Fail."""
        message = "not now"
        raise Unavailable(message, retry_after_s=3)


@asynccontextmanager
async def keeping(
    desk: FakeDesk, responses: Responses, ping_interval_s: float = 60.0
) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve with these responses; yield a client."""
    bounds = Bounds(ping_interval_s=ping_interval_s)
    server = HttpServer(desk, Access(), bounds, responses)
    port = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        await server.stop(1.0)


async def test_the_end_is_told_once_it_is_kept(desk: FakeDesk) -> None:
    """A client that has read that a response is complete can go on from it."""
    responses = Slow()
    async with (
        asyncio.timeout(PATIENCE_S),
        keeping(desk, responses) as client,
        client.post(PATH, json={"input": "hi", "stream": True}) as answer,
    ):
        received = b""
        while b"Hello" not in received:
            received += await answer.content.readany()
        await responses.asked.wait()
        assert b"response.completed" not in received
        responses.told.set()
        assert b"response.completed" in await answer.content.read()


async def test_keeping_does_not_silence_a_stream(desk: FakeDesk) -> None:
    """While it takes its time there are keep-alives, and the end is still told, once."""
    responses = Slow()
    async with (
        asyncio.timeout(PATIENCE_S),
        keeping(desk, responses, ping_interval_s=0.005) as client,
        client.post(PATH, json={"input": "hi", "stream": True}) as answer,
    ):
        told = frames((await answer.content.read()).decode())

    assert [name for name, _ in told].count("response.completed") == 1
    assert told[-1][0] == "response.completed"


async def test_what_cannot_be_looked_up_now_is_not_called_unknown(desk: FakeDesk) -> None:
    """The client is to try again, not to give up its conversation."""
    async with (
        keeping(desk, Broken()) as client,
        client.post(PATH, json={"input": "a", "previous_response_id": UNKNOWN}) as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
    assert not desk.asked

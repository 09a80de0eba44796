"""What a kept response was made of: listed, paged, and referred to."""

from typing import Any

import aiohttp
import openai
import pytest

from semantic_actors.domain import limits
from semantic_actors.domain.request import ChatMessage
from tests.api.fakes import GREETING, FakeDesk
from tests.api.responses_kept import ERRAND, HI, LOOK, PATH, made, messages

pytestmark = pytest.mark.asyncio

ITEMS: list[Any] = [
    {"role": "developer", "content": "d"},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    {"type": "reasoning", "id": "rs_mine", "summary": []},
    {"role": "assistant", "content": "a"},
    {"type": "function_call", "call_id": "c", "name": "f", "namespace": "n", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "o"},
    {"type": "web_search_call", "id": "ws", "status": "completed"},
    {"type": "custom_tool_call", "call_id": "u", "name": "p", "input": "x"},
    {"type": "custom_tool_call_output", "call_id": "u", "output": "y"},
    {
        "type": "local_shell_call",
        "id": "l",
        "call_id": "l",
        "action": {"type": "exec", "command": [], "env": {}},
    },
    {"type": "local_shell_call_output", "id": "l_out", "call_id": "l", "output": "z"},
]
KINDS = [item.get("type", "message") for item in ITEMS if item.get("id") != "ws"]


async def test_input_items(gpt: openai.AsyncOpenAI) -> None:
    """All that a response was made of, in one form, each with an id; its own output is not."""
    name = await made(gpt, input=ITEMS)
    listed: Any = await gpt.responses.input_items.list(name, order="asc")
    again = await gpt.responses.input_items.list(name, order="asc")
    later = await made(gpt, input="more", previous_response_id=name)
    after = await gpt.responses.input_items.list(later, order="asc")

    assert [item.type for item in listed.data] == KINDS
    ids = [item.id for item in listed.data]
    assert len({*ids}) == len(ids)
    assert (ids[2], ids[8]) == ("rs_mine", "l")
    assert ids == [item.id for item in again.data]
    assert [item.type for item in after.data] == [*KINDS, "message", "message"]
    assert [item.id for item in after.data][: len(ids)] == ids
    assert (listed.first_id, listed.last_id, listed.has_more) == (ids[0], ids[-1], False)


async def test_input_items_are_paged(gpt: openai.AsyncOpenAI) -> None:
    """The newest first unless asked otherwise, so many at a time; the SDK turns the pages."""
    name = await made(gpt, input=[{"role": "user", "content": str(n)} for n in range(45)])
    pages: Any = gpt.responses.input_items

    for order, limit in (("asc", 7), ("desc", 7), ("asc", 45), ("desc", 20), ("asc", 100)):
        listed = pages.list(name, order=order, limit=limit)
        texts = [item.content[0].text async for item in listed]
        numbers = [str(n) for n in range(45)]
        assert texts == (numbers if order == "asc" else numbers[::-1])
    first = await pages.list(name)
    assert (len(first.data), first.has_more) == (20, True)
    assert (await pages.list(name, after=first.last_id, limit=25)).has_more is False
    last = (await pages.list(name, order="asc", limit=100)).last_id
    assert (await pages.list(name, order="asc", after=last)).data == []


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("limit=0", 400, "limit"),
        ("limit=101", 400, "limit"),
        ("limit=-1", 400, "limit"),
        ("limit=1.5", 400, "limit"),
        ("limit=" + "9" * 5000, 400, "limit"),
        ("limit=", 400, "limit"),
        ("limit=²", 400, "limit"),
        ("order=up", 400, "order"),
        ("after=msg_unknown", 404, None),
    ],
)
async def test_pages_that_are_refused(
    gpt: openai.AsyncOpenAI,
    client: aiohttp.ClientSession,
    query: str,
    status: int,
    param: str | None,
) -> None:
    """With the parameter and its bound."""
    name = await made(gpt, input="hi")
    async with client.get(f"{PATH}/{name}/input_items?{query}") as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (status, param)


async def test_items_are_referred_to(gpt: openai.AsyncOpenAI, desk: FakeDesk) -> None:
    """By their ids alone, those that were sent and those that were told."""
    desk.script = ERRAND
    first = await gpt.responses.create(input="hi")
    sent = (await gpt.responses.input_items.list(first.id)).data[0].id
    desk.script = GREETING
    told: list[Any] = [{"type": "item_reference", "id": item.id} for item in first.output]
    told.append({"type": "function_call_output", "call_id": "call_1", "output": "a"})
    second = await gpt.responses.create(input=[{"id": sent}, *told])
    asked = messages(desk)
    listed = await gpt.responses.input_items.list(second.id, order="asc")
    await gpt.responses.create(input=[{"type": "item_reference", "id": listed.data[-1].id}])

    errand = ChatMessage("assistant", "I look.", (LOOK,), reasoning="hm")
    assert asked == (HI, errand, ChatMessage("tool", "a", tool_call_id="call_1"))
    assert [item.id for item in listed.data][:4] == [sent, *(item.id for item in first.output)]
    assert messages(desk) == asked[-1:]


async def test_items_that_nobody_knows(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """A reference to nothing is a 404, whatever it looks like."""
    for item in ("msg_" + "0" * 24 + "_0", "msg_1", "../../x", "\x7f", "é" * 9000):
        body = {"input": [{"type": "item_reference", "id": item}]}
        async with client.post(PATH, json=body) as answer:
            assert answer.status == 404
            assert "no such item" in (await answer.json())["error"]["message"]
    assert not desk.asked


async def test_references_are_bounded(client: aiohttp.ClientSession) -> None:
    """Each may be a file to be read; items that are kept together are one look."""
    items = []
    for _ in range(limits.MAX_REFERENCED_RESPONSES + 1):
        async with client.post(PATH, json={"input": "hi"}) as answer:
            items.append({"id": (await answer.json())["output"][0]["id"]})

    for wanted, status in ((items[1:], 200), (items[:1] * 500, 200), (items, 400)):
        async with client.post(PATH, json={"input": wanted}) as answer:
            assert answer.status == status
            assert (status == 400) == ("items of at most 64 responses" in await answer.text())

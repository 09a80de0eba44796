"""What responses are made of, kept by their ids, so that the next one need not send it again.

A response is kept with its whole conversation: the items it went on from, its own and its answer.
The ids of items name the response they are kept with, so a reference to one needs no index.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec

from semantic_actors.api.body import Bodies
from semantic_actors.api.choices import Choice
from semantic_actors.api.decode import built
from semantic_actors.api.fields import Attachments, JsonObject
from semantic_actors.api.refusals import (
    FieldRefused,
    NoSuchItem,
    NoSuchResponse,
    PreviousResponseNotFound,
)
from semantic_actors.api.responses_items import Item, settled
from semantic_actors.api.responses_wire import PromptRequest, new_items
from semantic_actors.domain.ids import Principal, SessionId
from semantic_actors.domain.limits import MAX_REFERENCED_RESPONSES
from semantic_actors.domain.stream import Finished
from semantic_actors.sessions.responses import Responses
from semantic_actors.sessions.turn import Turn

_RESPONSE: Final = re.compile(r"resp_[0-9a-f]{24}")
_ITEM: Final = re.compile(r"[a-z]+_([0-9a-f]{24})_i?\d{1,5}")

_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "local_shell_call": "lsh",
    "local_shell_call_output": "lsho",
}


class Record(msgspec.Struct, frozen=True):
    """A response as it is kept. `items` are all that came before its output."""

    session: str
    items: list[JsonObject]
    response: JsonObject

    @property
    def conversation(self) -> list[JsonObject]:
        """All items, those of the answer too."""
        return [*self.items, *self.response["output"]]


class Conversation(msgspec.Struct, frozen=True):
    """What a request goes on from and adds, settled; `session` gave the answer before, if any.

    `size_bytes` are those of the JSON that it was made of.
    """

    items: list[JsonObject]
    size_bytes: int
    session: SessionId | None = None


class History:
    """The kept responses of all principals."""

    def __init__(self, responses: Responses, bodies: Bodies, attachments: Attachments) -> None:
        self._responses = responses
        self._bodies = bodies
        self._attachments = attachments

    async def show(self, principal: Principal, response: str) -> Record:
        """Return a kept response. Raises NoSuchResponse, or Unavailable."""
        found, _ = await self._find(principal, response)
        if found is None:
            raise NoSuchResponse(response)
        return found

    async def drop(self, principal: Principal, response: str) -> None:
        """Forget a response. Raises NoSuchResponse, or Unavailable."""
        known = _RESPONSE.fullmatch(response) is not None
        if not known or not await self._responses.drop(principal, response):
            raise NoSuchResponse(response)

    async def conversation(
        self, principal: Principal, body: PromptRequest, size_bytes: int
    ) -> Conversation:
        """Put together what a request of so many bytes is about. Raises a `Rejected`."""
        added = new_items(body)
        before = Conversation([], size_bytes)
        if body.previous_response_id is not None:
            found, found_bytes = await self._find(principal, body.previous_response_id)
            if found is None:
                raise PreviousResponseNotFound(body.previous_response_id)
            session = SessionId(found.session)
            before = Conversation(found.conversation, size_bytes + found_bytes, session)
        referenced = await self._referenced(principal, added, before.items)
        items = await self._bodies.beside(
            size_bytes, lambda: [*before.items, *settled(added, referenced, self._attachments)]
        )
        return msgspec.structs.replace(before, items=items)

    async def keep(
        self,
        principal: Principal,
        session: SessionId,
        conversation: Conversation,
        response: JsonObject,
    ) -> None:
        """Keep a response with the items before its output."""
        content = await self._bodies.beside(
            conversation.size_bytes, lambda: _recorded(session, conversation.items, response)
        )
        await self._responses.keep(principal, session, response["id"], content)

    async def _find(self, principal: Principal, response: str) -> tuple[Record | None, int]:
        """Look for a response, and say how many bytes it takes."""
        known = _RESPONSE.fullmatch(response) is not None
        content = await self._responses.find(principal, response) if known else None
        if content is None:
            return None, 0
        found = await self._bodies.beside(len(content), lambda: built(content, Record))
        return found, len(content)

    async def _referenced(
        self, principal: Principal, added: list[Item], before: Iterable[JsonObject]
    ) -> Mapping[str, JsonObject]:
        """Look up what is referred to, the last first: what it is kept with has those before it."""
        wanted = [item.id or "" for item in added if item.kind == "item_reference"]
        known = {item["id"]: item for item in before} if wanted else {}
        looked_up = 0
        for item in reversed(wanted):
            if item in known:
                continue
            looked_up += 1
            if looked_up > MAX_REFERENCED_RESPONSES:
                bound = f"references to items of at most {MAX_REFERENCED_RESPONSES} responses"
                raise FieldRefused(field="input", expected=bound, got="more")
            place = _ITEM.fullmatch(item)
            found, _ = await self._find(principal, f"resp_{place[1]}" if place else "")
            known |= {one["id"]: one for one in found.conversation} if found else {}
            if item not in known:
                raise NoSuchItem(item)
        return known


class KeptTurn(AsyncIterator[Choice]):
    """A turn whose end is told once `keep` has returned. Cancelling a wait loses nothing."""

    def __init__(self, turn: Turn, keep: Callable[[Finished], Awaitable[None]]) -> None:
        self._turn = turn
        self._keep = keep
        self._finished: Finished | None = None
        self._told = False

    async def __anext__(self) -> Choice:
        """Wait for the next event, one of the only choice."""
        if self._told:
            raise StopAsyncIteration
        if self._finished is None:
            event = await anext(self._turn)
            if not isinstance(event, Finished):
                return 0, event
            self._finished = event
            await self._keep(event)
        self._told = True
        return 0, self._finished


def _recorded(session: SessionId, items: Iterable[JsonObject], response: JsonObject) -> bytes:
    name = response["id"].removeprefix("resp_")
    named = [_named(item, name, number) for number, item in enumerate(items)]
    return msgspec.json.encode(Record(session, named, response))


def _named(item: JsonObject, response: str, number: int) -> JsonObject:
    """Give an item an id, unless it has one."""
    if "id" in item:
        return item
    return {"id": f"{_PREFIXES[item['type']]}_{response}_i{number}", **item}

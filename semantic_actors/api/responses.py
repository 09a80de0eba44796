"""The endpoints of OpenAI's Responses API: make one, and look after those that are kept."""

from typing import Final

from aiohttp import web

from semantic_actors.api.answer import Answering
from semantic_actors.api.body import Bodies
from semantic_actors.api.bounds import Bounds
from semantic_actors.api.decode import decode
from semantic_actors.api.identity import identify
from semantic_actors.api.models import called
from semantic_actors.api.refusals import Unsupported
from semantic_actors.api.reply import EndMissing, envelope
from semantic_actors.api.responses_encode import Echo, Head
from semantic_actors.api.responses_history import Conversation, History, KeptTurn
from semantic_actors.api.responses_output import Output
from semantic_actors.api.responses_page import page
from semantic_actors.api.responses_reply import ResponseReply
from semantic_actors.api.responses_wire import (
    Offer,
    PromptRequest,
    ResponsesRequest,
    chat_prompt,
    generation,
    offered,
)
from semantic_actors.api.visit import VISIT
from semantic_actors.api.wire import document
from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.stream import Failed, Finished
from semantic_actors.sessions.desk import Desk, Identity

_CODEX_HINTS: Final = ("thread-id", "session-id")
"""Headers that name the agent where the body does not."""


class ResponsesEndpoints:
    """Responses of one desk."""

    def __init__(self, desk: Desk, bounds: Bounds, bodies: Bodies, history: History) -> None:
        self._desk = desk
        self._bodies = bodies
        self._answering = Answering(desk, bounds)
        self._history = history

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation, of which all but the end may be kept here."""

        def understand(content: bytes) -> tuple[ResponsesRequest, Echo, Offer, int]:
            body = decode(content, ResponsesRequest)
            return body, decode(content, Echo), offered(body), len(content)

        body, echo, offer, size_bytes = await self._bodies.read(request, understand)
        served = self._served(body)
        principal = request[VISIT].principal
        conversation = await self._history.conversation(principal, body, size_bytes)
        asked = await self._bodies.beside(
            conversation.size_bytes,
            lambda: generation(body, chat_prompt(body, conversation.items, offer), offer),
        )
        sealed = envelope("resp_", served, request[VISIT])
        reply = ResponseReply(Head(sealed, echo), Output(sealed.id, offer.names))
        turn = await self._desk.begin(_identity(request, body, conversation), asked)

        async def keep(finished: Finished) -> None:
            reply.end(finished)
            if body.store is not False:
                await self._history.keep(principal, turn.session, conversation, reply.response)

        try:
            told = KeptTurn(turn, keep)
            if body.stream:
                return await self._answering.stream(request, told, reply)
            return await self._whole(request, told, reply)
        finally:
            turn.cancel()

    def _served(self, body: PromptRequest) -> str:
        """Return the model's name; a request need not name it. Raises NoSuchModel."""
        model = self._desk.model
        return model.name if body.model is None else called(model, body.model)

    async def _whole(
        self, request: web.Request, turn: KeptTurn, reply: ResponseReply
    ) -> web.StreamResponse:
        async for _, event in turn:
            request[VISIT].note(event)
            if isinstance(event, Failed):
                raise event.error
            reply.write(event)
        if not reply.response:
            raise EndMissing
        return document(reply.response)

    async def count(self, request: web.Request) -> web.StreamResponse:
        """Count the tokens of a conversation without answering it."""

        def understand(content: bytes) -> tuple[PromptRequest, Offer, int]:
            body = decode(content, PromptRequest)
            return body, offered(body), len(content)

        body, offer, size_bytes = await self._bodies.read(request, understand)
        self._served(body)
        conversation = await self._history.conversation(request[VISIT].principal, body, size_bytes)
        prompt = await self._bodies.beside(
            conversation.size_bytes, lambda: chat_prompt(body, conversation.items, offer)
        )
        tokens = await self._desk.count_tokens(prompt)
        return document({"object": "response.input_tokens", "input_tokens": tokens})

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Show a kept response."""
        if request.query.get("stream", "false").lower() not in ("false", "0"):
            raise Unsupported(field="stream", got=request.query["stream"], allowed="false")
        record = await self._history.show(request[VISIT].principal, _named_in(request))
        return document(record.response)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Forget a kept response."""
        name = _named_in(request)
        await self._history.drop(request[VISIT].principal, name)
        return document({"id": name, "object": "response", "deleted": True})

    async def items(self, request: web.Request) -> web.StreamResponse:
        """List what a kept response was made of."""
        record = await self._history.show(request[VISIT].principal, _named_in(request))
        return document(page(record.items, request.query))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Refuse: a response is made while its client waits, who only has to leave."""
        await self._history.show(request[VISIT].principal, _named_in(request))
        message = "only responses in the background can be cancelled: close the connection instead"
        raise InvalidRequest(message)

    async def compact(self, _: web.Request) -> web.StreamResponse:
        """Refuse: there is nothing here that would sum up a conversation."""
        message = "compaction is not supported: ask for a summary in a response"
        raise InvalidRequest(message)


def _named_in(request: web.Request) -> str:
    return request.match_info["id"]


def _identity(request: web.Request, body: ResponsesRequest, conversation: Conversation) -> Identity:
    """Go on in the session that gave the response before, else in the one that is named."""
    principal = request[VISIT].principal
    if conversation.session is not None:
        return Identity(principal, conversation.session)
    hint: tuple[str, str | None] = ("prompt_cache_key", body.prompt_cache_key)
    for header in _CODEX_HINTS:
        if not hint[1]:
            hint = (header, request.headers.get(header))
    return identify(request.headers, principal, hint)

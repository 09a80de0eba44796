"""The endpoints that read a conversation: decode, identify, answer."""

from aiohttp import web

from semantic_actors.api import anthropic_wire, chat_wire, completion_wire
from semantic_actors.api.answer import Answering
from semantic_actors.api.anthropic_encode import MessageReply
from semantic_actors.api.body import read_body
from semantic_actors.api.bounds import Bounds
from semantic_actors.api.chat_encode import ChatReply
from semantic_actors.api.completion_encode import CompletionReply
from semantic_actors.api.decode import decode
from semantic_actors.api.identity import identify, user_session
from semantic_actors.api.models import called
from semantic_actors.api.refusals import NoEmbeddings
from semantic_actors.api.reply import envelope
from semantic_actors.api.visit import VISIT
from semantic_actors.api.wire import document
from semantic_actors.sessions.desk import Desk, Identity


class GeneratingEndpoints:
    """Messages, chat completions and text completions of one desk."""

    def __init__(self, desk: Desk, bounds: Bounds) -> None:
        self._desk = desk
        self._bounds = bounds
        self._answering = Answering(desk, bounds)

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation of Anthropic's Messages API."""
        body = decode(await read_body(request, self._bounds), anthropic_wire.MessagesRequest)
        served = called(self._desk.model, body.model)
        user = user_session(body.metadata.user_id if body.metadata else None)
        return await self._answering.give(
            request,
            _identity(request, "metadata.user_id", user),
            anthropic_wire.generation(body, self._bounds.attachments),
            MessageReply(envelope("msg_", served, request[VISIT])),
            stream=bool(body.stream),
        )

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        """Count the tokens of a conversation without answering it."""
        body = decode(await read_body(request, self._bounds), anthropic_wire.CountTokensRequest)
        called(self._desk.model, body.model)
        prompt = anthropic_wire.chat_prompt(body, self._bounds.attachments)
        tokens = await self._desk.count_tokens(prompt)
        return document({"input_tokens": tokens})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation of OpenAI's Chat Completions API."""
        body = decode(await read_body(request, self._bounds), chat_wire.ChatRequest)
        sealed = envelope("chatcmpl-", called(self._desk.model, body.model), request[VISIT])
        return await self._answering.give_choices(
            request,
            _identity(request, "prompt_cache_key", body.prompt_cache_key),
            chat_wire.generations(body, self._bounds.attachments),
            ChatReply(sealed, n=body.n or 1, include_usage=body.wants_usage),
            stream=bool(body.stream),
        )

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """Continue texts."""
        body = decode(await read_body(request, self._bounds), completion_wire.CompletionRequest)
        generations = completion_wire.generations(body)
        n = body.n or 1
        reply = CompletionReply(
            envelope("cmpl-", called(self._desk.model, body.model), request[VISIT]),
            prompts=len(generations) // n,
            n=n,
            echoes=completion_wire.echoes(body),
            include_usage=body.wants_usage,
        )
        return await self._answering.give_choices(
            request,
            _identity(request, "prompt_cache_key", body.prompt_cache_key),
            generations,
            reply,
            stream=bool(body.stream),
        )

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """Refuse to embed: the served model generates, and that is all it does."""
        await read_body(request, self._bounds)
        raise NoEmbeddings(self._desk.model.name)


def _identity(request: web.Request, field: str, value: str | None) -> Identity:
    return identify(request.headers, request[VISIT].principal, (field, value))

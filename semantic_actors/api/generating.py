"""The endpoints that read a conversation: decode, identify, answer."""

from aiohttp import web

from semantic_actors.api import anthropic_wire, chat_wire, completion_wire
from semantic_actors.api.answer import Answering
from semantic_actors.api.anthropic_encode import MessageReply
from semantic_actors.api.anthropic_wire import CountTokensRequest, MessagesRequest
from semantic_actors.api.body import Bodies
from semantic_actors.api.bounds import Bounds
from semantic_actors.api.chat_encode import ChatReply
from semantic_actors.api.chat_wire import ChatRequest
from semantic_actors.api.completion_encode import CompletionReply
from semantic_actors.api.completion_wire import CompletionRequest
from semantic_actors.api.decode import decode
from semantic_actors.api.identity import identify, user_session
from semantic_actors.api.models import called
from semantic_actors.api.refusals import NoEmbeddings
from semantic_actors.api.reply import envelope
from semantic_actors.api.visit import VISIT
from semantic_actors.api.wire import document
from semantic_actors.domain.limits import MAX_PROMPT_TOKENS
from semantic_actors.domain.request import ChatPrompt, Generation
from semantic_actors.sessions.desk import Desk, Identity


class GeneratingEndpoints:
    """Messages, chat completions and text completions of one desk."""

    def __init__(self, desk: Desk, bounds: Bounds, bodies: Bodies) -> None:
        self._desk = desk
        self._attachments = bounds.attachments
        self._bodies = bodies
        self._answering = Answering(desk, bounds)

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation of Anthropic's Messages API."""

        def understand(content: bytes) -> tuple[MessagesRequest, Generation]:
            body = decode(content, MessagesRequest)
            return body, anthropic_wire.generation(body, self._attachments)

        body, generation = await self._bodies.read(request, understand)
        served = called(self._desk.model, body.model)
        user = user_session(body.metadata.user_id if body.metadata else None)
        return await self._answering.give(
            request,
            _identity(request, "metadata.user_id", user),
            generation,
            MessageReply(envelope("msg_", served, request[VISIT])),
            stream=bool(body.stream),
        )

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        """Count the tokens of a conversation without answering it."""

        def understand(content: bytes) -> tuple[str, ChatPrompt]:
            body = decode(content, CountTokensRequest)
            return body.model, anthropic_wire.chat_prompt(body, self._attachments)

        model, prompt = await self._bodies.read(request, understand)
        called(self._desk.model, model)
        tokens = await self._desk.count_tokens(prompt)
        return document({"input_tokens": tokens})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation of OpenAI's Chat Completions API."""

        def understand(content: bytes) -> tuple[ChatRequest, tuple[Generation, ...]]:
            body = decode(content, ChatRequest)
            return body, chat_wire.generations(body, self._attachments)

        body, generations = await self._bodies.read(request, understand)
        sealed = envelope("chatcmpl-", called(self._desk.model, body.model), request[VISIT])
        return await self._answering.give_choices(
            request,
            _identity(request, "prompt_cache_key", body.prompt_cache_key),
            generations,
            ChatReply(sealed, n=body.n or 1, include_usage=body.wants_usage),
            stream=bool(body.stream),
        )

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """Continue texts."""

        def understand(content: bytes) -> tuple[CompletionRequest, tuple[Generation, ...]]:
            body = decode(content, CompletionRequest, token_ids=MAX_PROMPT_TOKENS)
            return body, completion_wire.generations(body)

        body, generations = await self._bodies.read(request, understand)
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
        await self._bodies.read(request, bytes)
        raise NoEmbeddings(self._desk.model.name)


def _identity(request: web.Request, field: str, value: str | None) -> Identity:
    return identify(request.headers, request[VISIT].principal, (field, value))

"""Streams of OpenAI's API as a client hears them, each piece with the time of its arrival.

Nothing is parsed before a stream is over: the client shares its cores with the server it measures.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp

from bench.models import CONTEXT
from bench.report import WARM_STEPS
from bench.servers import Server

COMPLETIONS: Final = "/v1/completions"
CHAT: Final = "/v1/chat/completions"
COUNT_TOKENS: Final = "/v1/messages/count_tokens"

ENDLESS: Final = CONTEXT // 2
"""Tokens of a stream that is to go on until it is hung up on."""

LET_GO_S: Final = 30

LEAST_OVERLAP: Final = 0.5
"""Streams that decode together for less of their tokens than this do not give a steady rate."""


class Delta(NamedTuple):
    """A piece of an answer's text; each token is a word with a space before it."""

    at: float
    text: str


class Heard:
    """One answer as it came. `began` is set once there is anything of it, or never will be."""

    def __init__(self) -> None:
        self.asked_at = time.perf_counter()
        self.began = asyncio.Event()
        self._pieces: list[tuple[float, bytes]] = []

    def add(self, piece: bytes) -> None:
        """Take down what arrived just now."""
        self._pieces.append((time.perf_counter(), piece))
        if b"data: " in piece:
            self.began.set()

    @cached_property
    def deltas(self) -> list[Delta]:
        """The text so far; look only when no more comes."""
        return [Delta(at, text) for at, event in self._events() if (text := _text(event))]

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(delta.text for delta in self.deltas)

    @property
    def first_s(self) -> float:
        """Seconds to the first token."""
        return self.deltas[0].at - self.asked_at

    def gaps_s(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Seconds between tokens, of those gaps that touch the given time."""
        times = [delta.at for delta in self.deltas]
        return [b - a for a, b in itertools.pairwise(times) if b > since and a < until]

    def tokens(self, since: float, until: float) -> int:
        """Tokens that came in the given time."""
        return sum(delta.text.count(" ") for delta in self.deltas if since < delta.at <= until)

    def _events(self) -> Iterator[tuple[float, Any]]:
        rest = b""
        for at, piece in self._pieces:
            *frames, rest = (rest + piece).split(b"\n\n")
            for frame in frames:
                if frame.startswith(b"data: {"):
                    yield at, json.loads(frame[6:])


class Client:
    """Connections to one server. `session` names an agent session; only ours cares."""

    def __init__(self, http: aiohttp.ClientSession, server: Server) -> None:
        self._http = http
        self._server = server

    async def complete(self, prompt: str, tokens: int, *, session: str | None = None) -> Heard:
        """Continue a text by so many tokens."""
        return await self._ask(COMPLETIONS, {"prompt": prompt}, tokens, session)

    async def chat(self, messages: list[dict[str, str]], tokens: int, **more: Any) -> Heard:
        """Answer a conversation; `more` are further fields of the request."""
        return await self._ask(CHAT, {"messages": messages, **more}, tokens)

    async def count_tokens(self, text: str) -> None:
        """Have a text tokenized, and nothing else."""
        body = {"model": self._server.model, "messages": [{"role": "user", "content": text}]}
        async with self._http.post(f"{self._server.url}{COUNT_TOKENS}", json=body) as answer:
            answer.raise_for_status()

    async def counters(self) -> dict[str, float]:
        """Read what the server counts; theirs counts nothing."""
        async with self._http.get(f"{self._server.url}/health") as answer:
            counters: dict[str, float] = (await answer.json()).get("counters", {})
            return counters

    @contextlib.asynccontextmanager
    async def talking(self, *prompts: str) -> AsyncIterator[list[Heard]]:
        """Have streams going meanwhile; they are hung up on at the end, and must not end before."""
        heard = [Heard() for _ in prompts]
        streams = [
            asyncio.ensure_future(self._ask(COMPLETIONS, {"prompt": prompt}, ENDLESS, heard=one))
            for prompt, one in zip(prompts, heard, strict=True)
        ]
        try:
            yield heard
            ended = [stream for stream in streams if stream.done()]
            if ended:
                message = f"{len(ended)} streams ended before what they were to accompany"
                raise RuntimeError(message) from ended[0].exception()
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.wait(streams)
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until the server has let go of those who hung up; theirs does not say when."""
        for _ in range(LET_GO_S):
            await asyncio.sleep(1.0)
            counters = await self.counters()
            if not counters.get("running") and not counters.get("waiting"):
                return
        message = "the server is still busy with streams that were hung up on"
        raise RuntimeError(message)

    async def _ask(
        self,
        path: str,
        body: dict[str, Any],
        tokens: int,
        session: str | None = None,
        heard: Heard | None = None,
    ) -> Heard:
        whole = body | {
            "model": self._server.model,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
        }
        headers = {"X-Session-Id": session} if session else {}
        heard = heard or Heard()
        try:
            async with self._http.post(
                self._server.url + path, json=whole, headers=headers
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    message = f"{answer.status}: {await answer.text()}"
                    raise RuntimeError(message)
                async for piece in answer.content.iter_any():
                    heard.add(piece)
        finally:
            heard.began.set()
        return heard


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Client]:
    """Open as many connections as are wanted."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as http:
        yield Client(http, server)


def steady_rate(streams: Iterable[Heard]) -> float:
    """Tokens per second of all streams, from soon after all have begun to the first one's end."""
    heard = list(streams)
    began = max(stream.deltas[0].at for stream in heard)
    later = [delta.at for delta in heard[0].deltas if delta.at >= began]
    since = later[WARM_STEPS] if len(later) > WARM_STEPS else began
    until = min(stream.deltas[-1].at for stream in heard)
    tokens = sum(stream.tokens(since, until) for stream in heard)
    if tokens < LEAST_OVERLAP * sum(len(stream.deltas) for stream in heard):
        message = f"{len(heard)} streams hardly overlap: they need more tokens"
        raise RuntimeError(message)
    return tokens / (until - since)


def _text(event: dict[str, Any]) -> str:
    match event:
        case {"error": error}:
            raise RuntimeError(error)
        case {"choices": [{"text": str(text)}]} | {"choices": [{"delta": {"content": str(text)}}]}:
            return text
        case _:
            return ""

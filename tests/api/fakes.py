"""A desk that follows a script, and a server in front of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from semantic_actors.api import Access, Bounds, HttpServer
from semantic_actors.domain.ids import SessionId, TurnId
from semantic_actors.domain.request import ChatPrompt, Generation, ToolCall
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    TurnEvent,
)
from semantic_actors.domain.usage import Miss, Usage
from semantic_actors.sessions.desk import Health, Identity, ModelCard
from semantic_actors.sessions.turn import Turn

ASKED = Usage(prompt_tokens=10, cached_tokens=4)
ANSWERED = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=3, thinking_tokens=2)
MISS = Miss("changed", "message 3 (user)", 4, 5, "the da", "te is 1", "te is 2")
MISSED = {
    "kind": "changed",
    "part": "message 3 (user)",
    "position": 4,
    "tokens_lost": 5,
    "text_before": "the da",
    "text_was": "te is 1",
    "text_now": "te is 2",
}
CALL = ToolCall("call_1", "read", '{"path": "a.txt", "n": 1}')

GREETING: tuple[TurnEvent, ...] = (
    Started(ASKED),
    TextDelta("Hel"),
    TextDelta("lo"),
    Finished("stop", ANSWERED),
)
DISAPPOINTMENT: tuple[TurnEvent, ...] = (
    Started(Usage(10, 4, miss=MISS)),
    TextDelta("Hello"),
    Finished("stop", Usage(10, 4, 3, MISS, thinking_tokens=2)),
)
"""A greeting whose prompt was not found as it should have been."""


def called(call: ToolCall) -> tuple[TurnEvent, ...]:
    """Return the events of a call that arrives whole."""
    return CallStarted(call.id, call.name), ArgumentsDelta(call.arguments), ToolCalled(call)


ERRAND: tuple[TurnEvent, ...] = (
    Started(ASKED),
    TextDelta("I look."),
    *called(CALL),
    *called(ToolCall("call_2", "list", "{}")),
    Finished("tool_calls", ANSWERED),
)

PONDERED: tuple[TurnEvent, ...] = (
    Started(ASKED),
    ThinkingDelta("Let me "),
    ThinkingDelta("see."),
    TextDelta("I look."),
    CallStarted(CALL.id, CALL.name),
    ArgumentsDelta(CALL.arguments[:9]),
    ArgumentsDelta(CALL.arguments[9:]),
    ToolCalled(CALL),
    ThinkingDelta("And?"),
    TextDelta("Done."),
    Finished("tool_calls", ANSWERED),
)
"""Thinking, text and a call that arrives in pieces, and again."""

CUT: tuple[TurnEvent, ...] = (
    Started(ASKED),
    TextDelta("I look."),
    CallStarted(CALL.id, CALL.name),
    ArgumentsDelta('{"path": "a.t'),
    Finished("length", ANSWERED),
)
"""A call that the end of the answer cut off."""


class FakeDesk:
    """Answers every request with `script`, or raises `refusal`; remembers what it was asked."""

    def __init__(self) -> None:
        self.aliases: tuple[str, ...] = ("*",)
        self.script: Iterable[TurnEvent] = GREETING
        self.refusal: Exception | None = None
        counters: dict[str, int | float] = {"waiting": 2, "tokens_total": 7}
        self.house = Health(ready=True, reasons=(), counters=counters, warnings=("memory is low",))
        self.asked: list[tuple[Identity, Generation]] = []
        self.counted: list[ChatPrompt] = []
        self.probes: list[bool] = []
        self.turns: list[Turn] = []
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    @property
    def model(self) -> ModelCard:
        """The served model."""
        return ModelCard("pocket", 4096, 1_760_000_000, self.aliases)

    @property
    def identity(self) -> Identity:
        """Who asked last."""
        return self.asked[-1][0]

    @property
    def generation(self) -> Generation:
        """What was asked last."""
        return self.asked[-1][1]

    async def begin(self, identity: Identity, generation: Generation) -> Turn:
        """Start an answer."""
        self.asked.append((identity, generation))
        if self.refusal is not None:
            raise self.refusal
        turn = Turn(TurnId(len(self.turns)), SessionId("s"), self.cancelled.set)
        self.turns.append(turn)
        for event in self.script:
            turn.put(event)
        self.begun.set()
        return turn

    async def count_tokens(self, prompt: ChatPrompt) -> int:
        """Count."""
        self.counted.append(prompt)
        return 42

    async def health(self, *, probe: bool = False) -> Health:
        """Look at the house."""
        self.probes.append(probe)
        return self.house


@contextlib.asynccontextmanager
async def serving(
    desk: FakeDesk, access: Access | None = None, bounds: Bounds | None = None
) -> AsyncIterator[int]:
    """Serve `desk` on loopback; yield the port."""
    server = HttpServer(desk, access or Access(), bounds)
    port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop(1.0)


def frames(stream: str) -> list[tuple[str | None, Any]]:
    """Read a stream as (event name, JSON or text) pairs; a comment is a pair of its own."""
    read = []
    for block in stream.removesuffix("\n\n").split("\n\n"):
        name, _, data = block.rpartition("data: ")
        event = name.removeprefix("event: ").strip() or None
        read.append((event, json.loads(data) if data.startswith("{") else data))
    return read


HI = {"role": "user", "content": "hi"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {"model": "any", "max_tokens": 9, "messages": [HI]},
    "/v1/messages/count_tokens": {"model": "any", "messages": [HI]},
    "/v1/chat/completions": {"model": "any", "messages": [HI]},
    "/v1/completions": {"model": "any", "prompt": "Once"},
    "/v1/responses": {"model": "any", "input": [HI]},
    "/v1/responses/input_tokens": {"model": "any", "input": [HI]},
}
"""The smallest good body of every endpoint that takes one."""

ANSWERING = [path for path in BODIES if not path.endswith("_tokens")]
"""The endpoints that answer with a turn."""

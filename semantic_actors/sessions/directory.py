"""The directory: which actor answers for which session. Implements `Desk`.

A session is found by the name its client gave; without one by its conversation: the session that
gave the last answer in the message list is the one to go on. Else a new session is made.

State: the table of sessions, in order of last use, and the digests they can continue. Owner: this
object, on the event loop.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import count

import structlog

from semantic_actors.actors import (
    ActorError,
    ActorRef,
    ActorStopped,
    AskTimeout,
    ChildSpec,
    SupervisorStatistics,
)
from semantic_actors.domain.errors import Draining, Overloaded
from semantic_actors.domain.ids import Principal, SessionId, TurnId
from semantic_actors.domain.request import ChatPrompt, Generation, Prompt
from semantic_actors.scheduling import Inspect, Probe, SchedulerMessage, Snapshot, counters
from semantic_actors.sessions.desk import Health, Identity, ModelCard
from semantic_actors.sessions.messages import Begin, CutTurns, Retire, SessionMessage
from semantic_actors.sessions.session import Session
from semantic_actors.sessions.transcript import Digest, digests
from semantic_actors.sessions.turn import Turn
from semantic_actors.text import Codec

MAX_SESSIONS = 4_096
"""Session actors kept; the least recently used idle one leaves first."""

MAX_DIGESTS = 65_536
"""Conversations known by their messages alone; the oldest are forgotten first."""

BEGIN_TIMEOUT_S = 120.0
"""Seconds for tokenizing and queueing a prompt, a restart of the scheduler included."""

PROBE_AFTER_S = 30.0
"""A step within this many seconds proves that the engine works."""

FULL = 0.9
"""Share of the pool referenced or reserved above which the house is degraded."""

Key = tuple[Principal, SessionId]

log = structlog.get_logger(__name__)


class Directory:
    """The house as the API sees it; see the module."""

    def __init__(
        self,
        *,
        spawn: Callable[[ChildSpec], ActorRef[SessionMessage]],
        statistics: Callable[[], SupervisorStatistics],
        scheduler: ActorRef[SchedulerMessage],
        codec: Codec,
        text_thread: Executor,
        model: ModelCard,
    ) -> None:
        self._spawn_child = spawn
        self._statistics = statistics
        self._scheduler = scheduler
        self._codec = codec
        self._text_thread = text_thread
        self._model = model
        self._sessions: OrderedDict[Key, ActorRef[SessionMessage]] = OrderedDict()
        self._conversations: OrderedDict[tuple[Principal, Digest], SessionId] = OrderedDict()
        self._turns = count(1)
        self._names = count(1)
        self._draining = False

    @property
    def model(self) -> ModelCard:
        """The served model."""
        return self._model

    async def begin(self, identity: Identity, generation: Generation) -> Turn:
        """Start an answer; see `Desk`."""
        if self._draining:
            raise Draining
        name = identity.session or await self._recognise(identity.principal, generation.prompt)
        key = (identity.principal, name)
        try:
            return await self._ask(key, Begin(generation))
        except ActorStopped:  # it was retired or has crashed: a new one takes its place
            self._sessions.pop(key, None)
            if self._draining:
                raise Draining from None
            return await self._ask(key, Begin(generation))

    async def count_tokens(self, prompt: ChatPrompt) -> int:
        """Count on the text thread; the engine is not asked."""
        loop = asyncio.get_running_loop()
        return len(await loop.run_in_executor(self._text_thread, self._codec.render, prompt))

    async def health(self, *, probe: bool = False) -> Health:
        """Look at the house; see `Desk`."""
        try:
            snapshot = await self._scheduler.ask(Inspect(), timeout=2.0)
            if probe and snapshot.seconds_since_step > PROBE_AFTER_S:
                await self._scheduler.ask(Probe(), timeout=10.0)
        except ActorError as error:
            return Health(ready=False, reasons=(f"scheduler: {error}",), counters={})
        reasons = self._reasons(snapshot)
        return Health(ready=not reasons, reasons=reasons, counters=self._counters(snapshot))

    # For the daemon

    def refuse(self) -> None:
        """Take no more requests: the daemon is draining."""
        self._draining = True

    def cut(self) -> None:
        """End every open turn with a reason."""
        for actor in list(self._sessions.values()):
            try:
                actor.tell(CutTurns(Draining()))
            except ActorError as error:
                log.warning("session_not_cut", session=actor.name, error=str(error))

    # Inside

    async def _recognise(self, principal: Principal, prompt: Prompt) -> SessionId:
        """Find the session that gave the last answer in the conversation, or name a new one."""
        if isinstance(prompt, ChatPrompt) and len(prompt.messages) > 1:
            loop = asyncio.get_running_loop()
            chain = await loop.run_in_executor(self._text_thread, digests, prompt.messages)
            for digest in reversed(chain):
                session = self._conversations.get((principal, digest))
                if session is not None:
                    return session
        return SessionId(f"anonymous-{secrets.token_hex(8)}")

    async def _ask(self, key: Key, request: Begin) -> Turn:
        if key not in self._sessions:
            self._sessions[key] = self._spawn(*key)
            self._thin_out()
        self._sessions.move_to_end(key)
        try:
            return await self._sessions[key].ask(request, timeout=BEGIN_TIMEOUT_S)
        except AskTimeout:
            message = f"the prompt was not accepted within {BEGIN_TIMEOUT_S:.0f} s"
            raise Overloaded(message, retry_after_s=10) from None

    def _spawn(self, principal: Principal, session: SessionId) -> ActorRef[SessionMessage]:
        def remembered(digest: Digest) -> None:
            self._conversations[principal, digest] = session
            if len(self._conversations) > MAX_DIGESTS:
                self._conversations.popitem(last=False)

        def make() -> Session:
            return Session(
                session,
                principal,
                codec=self._codec,
                text_thread=self._text_thread,
                scheduler=self._scheduler,
                context=self._model.context,
                next_turn=lambda: TurnId(next(self._turns)),
                remembered=remembered,
            )

        name = f"session-{next(self._names)}"
        return self._spawn_child(ChildSpec(name, make, restart="temporary"))

    def _thin_out(self) -> None:
        """Retire the least recently used; one with an open turn stays alive, but forgotten."""
        while len(self._sessions) > MAX_SESSIONS:
            _, actor = self._sessions.popitem(last=False)
            try:
                actor.tell(Retire())
            except ActorError as error:
                log.info("session_already_gone", session=actor.name, error=str(error))

    def _reasons(self, snapshot: Snapshot) -> tuple[str, ...]:
        reasons = []
        if self._draining:
            reasons.append("draining")
        share = snapshot.pool_pinned_bytes / snapshot.pool_budget_bytes
        if share > FULL:
            reasons.append(f"degraded: {share:.0%} of the KV pool is referenced or reserved")
        return tuple(reasons)

    def _counters(self, snapshot: Snapshot) -> dict[str, int | float]:
        statistics = self._statistics()
        return {
            **counters(snapshot),
            "sessions": len(self._sessions),
            "restarts_total": statistics.restarts,
            "dead_letters_total": statistics.dead_letters,
        }

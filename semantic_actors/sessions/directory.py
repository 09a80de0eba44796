"""The directory: which actor answers for which session. Implements `Desk`.

A session is found by the name its client gave; without one by its conversation: the session that
gave the last answer in the message list is the one to go on. Else a new session is made.

State: the table of sessions, in order of last use, and the digests they can continue. Owner: this
object, on the event loop.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from itertools import count

import msgspec

from semantic_actors.actors import (
    ActorError,
    ActorRef,
    ActorStopped,
    AskTimeout,
    ChildSpec,
    SupervisorStatistics,
)
from semantic_actors.domain.errors import Draining, Overloaded, SemanticActorsError
from semantic_actors.domain.ids import Principal, SessionId, TurnId
from semantic_actors.domain.limits import (
    MAX_CONVERSATIONS,
    MAX_PROMPTS_IN_HAND,
    MAX_SESSIONS,
)
from semantic_actors.domain.request import ChatPrompt, Generation, Prompt
from semantic_actors.persistence.messages import InspectStore, Recognise, StoreMessage
from semantic_actors.scheduling import (
    Board,
    Inspect,
    Probe,
    SchedulerMessage,
    Snapshot,
    counters,
)
from semantic_actors.sessions.desk import Health, Identity, ModelCard, Surroundings
from semantic_actors.sessions.messages import Begin, CancelTurn, CutTurns, Retire, SessionMessage
from semantic_actors.sessions.session import Session
from semantic_actors.sessions.transcript import Digest, digests
from semantic_actors.sessions.turn import Turn
from semantic_actors.text import Codec

BEGIN_TIMEOUT_S = 120.0
"""Seconds for tokenizing and queueing a prompt, a restart of the scheduler included."""

RECOGNISE_TIMEOUT_S = 1.0
"""A store that takes longer is not waited for: the conversation is a new session's."""

PROBE_AFTER_S = 30.0
"""A step within this many seconds proves that the engine works."""

FULL = 0.9
"""Share of the pool referenced or reserved above which the house is degraded."""

Key = tuple[Principal, SessionId]


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
        store: ActorRef[StoreMessage] | None = None,
        board: Board | None = None,
        surroundings: Callable[[], Surroundings] = Surroundings,
    ) -> None:
        self._spawn_child = spawn
        self._statistics = statistics
        self._scheduler = scheduler
        self._codec = codec
        self._text_thread = text_thread
        self._model = model
        self._store = store
        self._board = board or Board()
        self._surroundings = surroundings
        self._sessions: OrderedDict[Key, ActorRef[SessionMessage]] = OrderedDict()
        self._alive: set[ActorRef[SessionMessage]] = set()
        self._conversations: OrderedDict[tuple[Principal, Digest], SessionId] = OrderedDict()
        self._turns = count(1)
        self._prompts = count(1)
        self._names = count(1)
        self._beginning: set[int] = set()
        self._draining = False

    @property
    def model(self) -> ModelCard:
        """The served model."""
        return self._model

    async def begin(self, identity: Identity, generation: Generation) -> Turn:
        """Start an answer; see `Desk`."""
        with self._place() as number:
            self._look_ahead(number)
            name = identity.session
            if name is None:
                name = await self._recognise(identity.principal, generation.prompt)
            key = (identity.principal, name)
            try:
                return await self._ask(key, generation)
            except ActorStopped:  # it has retired or crashed: a new one takes its place
                self._sessions.pop(key, None)
                return await self._ask(key, generation)

    async def count_tokens(self, prompt: ChatPrompt) -> int:
        """Count on the text thread; the engine is not asked."""
        with self._place():
            loop = asyncio.get_running_loop()
            return len(await loop.run_in_executor(self._text_thread, self._codec.render, prompt))

    async def health(self, *, probe: bool = False) -> Health:
        """Look at the house; see `Desk`."""
        around = self._surroundings()
        try:
            snapshot = await self._scheduler.ask(Inspect(), timeout=2.0)
            if probe and not snapshot.stepping and snapshot.seconds_since_step > PROBE_AFTER_S:
                await self._scheduler.ask(Probe(), timeout=10.0)
        except (ActorError, SemanticActorsError) as error:
            reasons: tuple[str, ...] = (f"scheduler: {error}",)
            return Health(
                ready=False,
                reasons=reasons,
                counters={**around.counters},
                warnings=around.warnings,
            )
        reasons = self._reasons(snapshot)
        stored, degraded = await self._stored()
        counters = {**self._counters(snapshot), **stored, **around.counters}
        warnings = (*around.warnings, *degraded)
        return Health(ready=not reasons, reasons=reasons, counters=counters, warnings=warnings)

    async def _stored(self) -> tuple[dict[str, int | float], tuple[str, ...]]:
        """Ask for the store's figures, and for what is wrong with it."""
        if self._store is None:
            return {}, ()
        try:
            statistics = await self._store.ask(InspectStore(), timeout=2.0)
        except (ActorError, SemanticActorsError) as error:
            return {}, (f"persistence degraded: {error}",)
        figures = msgspec.structs.asdict(statistics)
        reason = figures.pop("degraded")
        counted = {f"store_{name}": value for name, value in figures.items()}
        return counted, (f"persistence degraded: {reason}",) if reason else ()

    @property
    def actors(self) -> Mapping[Key, ActorRef[SessionMessage]]:
        """Who answers for which session, the least recently used first."""
        return self._sessions

    # For the daemon

    def refuse(self) -> None:
        """Take no more requests: the daemon is draining."""
        self._draining = True

    def cut(self) -> None:
        """End every open turn with a reason, and begin no more."""
        self._draining = True
        for actor in self._alive:
            with suppress(ActorStopped):
                actor.post(CutTurns(Draining()))

    # Inside

    @contextmanager
    def _place(self) -> Iterator[int]:
        """Bound the prompts that wait for the text thread; each may hold a whole body.

        Yields the number of this one; those in hand with a lower one came before.
        """
        if self._draining:
            raise Draining
        if len(self._beginning) >= MAX_PROMPTS_IN_HAND:
            message = f"{len(self._beginning)} prompts are being read already"
            raise Overloaded(message, retry_after_s=1)
        number = next(self._prompts)
        self._beginning.add(number)
        try:
            yield number
        finally:
            self._beginning.discard(number)

    def _look_ahead(self, number: int) -> None:
        """Refuse before any work what the queue would refuse after it.

        One that was queued a moment ago counts twice until it is known to be: of a crowd, a few too
        many may be sent away.
        """
        vacancies = self._board.vacancies
        if vacancies is None:
            return  # nobody has been served yet
        before = sum(other < number for other in self._beginning)
        if vacancies.places <= before:
            message = f"{max(0, vacancies.places)} places are left, {before} prompts come before"
            raise Overloaded(message, retry_after_s=vacancies.retry_after_s)

    async def _recognise(self, principal: Principal, prompt: Prompt) -> SessionId:
        """Find the session that gave the last answer in the conversation, or name a new one."""
        if isinstance(prompt, ChatPrompt) and len(prompt.messages) > 1:
            loop = asyncio.get_running_loop()
            chain = await loop.run_in_executor(self._text_thread, digests, prompt.messages)
            for digest in reversed(chain):
                session = self._conversations.get((principal, digest))
                if session is not None:
                    return session
            if self._store is not None and (
                session := await _recognised(self._store, principal, chain[::-1])
            ):
                return session
        return SessionId(f"anonymous-{secrets.token_hex(8)}")

    async def _ask(self, key: Key, generation: Generation) -> Turn:
        if self._draining:
            raise Draining
        actor = self._sessions.get(key) or self._spawn(key)
        self._sessions.move_to_end(key)
        turn = TurnId(next(self._turns))
        try:
            return await actor.ask(Begin(turn, generation), timeout=BEGIN_TIMEOUT_S)
        except BaseException as error:
            # The turn may have begun all the same: nobody would read it.
            with suppress(ActorStopped):
                actor.post(CancelTurn(turn))
            if isinstance(error, AskTimeout):
                message = f"the prompt was not accepted within {BEGIN_TIMEOUT_S:.0f} s"
                raise Overloaded(message, retry_after_s=10) from None
            raise

    def _spawn(self, key: Key) -> ActorRef[SessionMessage]:
        principal, session = key

        def remembered(digest: Digest) -> None:
            self._conversations[principal, digest] = session
            if len(self._conversations) > MAX_CONVERSATIONS:
                self._conversations.popitem(last=False)

        def ended() -> None:
            self._alive.discard(actor)
            if self._sessions.get(key) == actor:
                del self._sessions[key]

        def make() -> Session:
            return Session(
                session,
                principal,
                codec=self._codec,
                text_thread=self._text_thread,
                scheduler=self._scheduler,
                store=self._store,
                context=self._model.context,
                remembered=remembered,
                ended=ended,
            )

        name = f"session-{next(self._names)}"
        actor = self._spawn_child(ChildSpec(name, make, restart="temporary"))
        self._alive.add(actor)
        self._sessions[key] = actor
        if len(self._sessions) > MAX_SESSIONS:
            _, oldest = self._sessions.popitem(last=False)
            with suppress(ActorStopped):
                oldest.post(Retire())
        return actor

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


async def _recognised(
    store: ActorRef[StoreMessage], principal: Principal, chain: list[Digest]
) -> SessionId | None:
    """Ask the store whose conversation this is, one of its last messages at least."""
    try:
        wanted = Recognise(principal, tuple(chain))
        return await store.ask(wanted, timeout=RECOGNISE_TIMEOUT_S)
    except (ActorError, SemanticActorsError):
        return None

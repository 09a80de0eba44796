"""The scheduler actor: owns the batch, the pool and the engine's attention.

It hands the engine one plan at a time and hears of each step by one message. Decisions are the
batch's; this actor performs them and tells the submitters. An instance is an *epoch*: it begins
with an empty pool and an engine without caches. When it dies, or the engine thread does, the
supervisor starts the next one and whoever watches submits again.

Tokens that a submitter's full mailbox refuses wait here and go with the next ones, so a slow
submitter delays nobody.
"""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

import msgspec
import structlog

from semantic_actors.actors import Actor, ActorStopped, Deferred, MailboxFull
from semantic_actors.domain.errors import Rejected, SemanticActorsError
from semantic_actors.domain.ids import LOCAL, SequenceId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine.protocol import Engine, EngineDied, StepOutput
from semantic_actors.kv import Pool
from semantic_actors.scheduling.batch import (
    AdmittedNotice,
    Batch,
    BatchLimits,
    FailedNotice,
    Notice,
    TokenNotice,
)
from semantic_actors.scheduling.messages import (
    Abort,
    Accepted,
    Admitted,
    EngineLost,
    Generated,
    Inspect,
    Probe,
    Redeliver,
    Refused,
    SchedulerMessage,
    SequenceFailed,
    StepDone,
    Submit,
    SubscriberMessage,
)
from semantic_actors.scheduling.sequence import Sequence, new_sequence_id
from semantic_actors.scheduling.snapshot import Snapshot

log = structlog.get_logger(__name__)


class EngineFailure(SemanticActorsError):
    """The engine thread died; the scheduler cannot go on without it."""


_EPOCHS = itertools.count(1)

REDELIVERY_S = 0.02
"""Seconds until a full mailbox is tried again."""


@dataclass(slots=True)
class _Outlet:
    """Where news of a sequence goes, and what could not be delivered yet, in order."""

    tell: Callable[[SubscriberMessage], None]
    held: deque[SubscriberMessage] = field(default_factory=deque)
    ended: bool = False
    started_at: float = field(default_factory=time.monotonic)


class Scheduler(Actor[SchedulerMessage]):
    """See the module. `engine` outlives its schedulers."""

    mailbox_capacity = 1024

    def __init__(self, engine: Engine, limits: BatchLimits, pool_bytes: int) -> None:
        self._epoch = next(_EPOCHS)
        self._engine = engine
        self._limits = limits
        self._batch = Batch(Pool(pool_bytes), engine.info.footprint, limits)
        self._outlets: dict[SequenceId, _Outlet] = {}
        self._steps = self._generated = self._prefilled = self._cached = 0
        self._last_step = -math.inf
        self._mean_turn_s = 1.0
        self._redelivering = False

    async def on_start(self) -> None:
        """Begin an epoch."""
        self._engine.attach(self._deliver)

    async def on_message(self, message: SchedulerMessage) -> object:
        """Do what the message says, then keep the engine busy."""
        match message:
            case Submit():
                self._submit(message)
            case Abort(sequence=sequence):
                self._outlets.pop(sequence, None)
                self._batch.abort(sequence)
            case StepDone() | EngineLost() if message.epoch != self._epoch:
                log.info("step_outlived_its_epoch", epoch=message.epoch)
            case StepDone(output=output):
                self._step_done(output)
            case EngineLost(reason=reason):
                raise EngineFailure(reason)
            case Inspect():
                return self._snapshot()
            case Probe():
                self._probe(self.defer())
            case Redeliver():
                self._redeliver()
            case _:
                assert_never(message)
        self._pump()
        return None

    def _deliver(self, outcome: StepOutput | EngineDied) -> None:
        try:
            if isinstance(outcome, EngineDied):
                self.ref.tell(EngineLost(self._epoch, outcome.reason))
            else:
                self.ref.tell(StepDone(self._epoch, outcome))
        except ActorStopped:
            log.info("step_outlived_scheduler")

    def _submit(self, message: Submit) -> None:
        sequence = Sequence(
            id=message.sequence,
            principal=message.principal,
            tokens=list(message.tokens),
            prompt_tokens=len(message.tokens),
            max_tokens=message.max_tokens,
            stop_ids=message.stop_ids,
            sampling=message.sampling,
        )
        self._queue(sequence, message.reply_to.tell)

    def _probe(self, reply: Deferred[None]) -> None:
        sequence = Sequence(
            id=new_sequence_id(),
            principal=LOCAL,
            tokens=[0],
            prompt_tokens=1,
            max_tokens=1,
            stop_ids=frozenset(),
            sampling=GREEDY,
        )

        def heard(news: SubscriberMessage) -> None:
            if isinstance(news, Generated | Refused):  # a full queue is alive, too
                reply.resolve(None)

        self._queue(sequence, heard)

    def _queue(self, sequence: Sequence, tell: Callable[[SubscriberMessage], None]) -> None:
        self._outlets[sequence.id] = _Outlet(tell)
        wait = self._mean_turn_s * (len(self._batch.waiting) + 1) / self._limits.max_running
        try:
            self._batch.submit(sequence, expected_wait_s=wait)
        except Rejected as error:
            self._tell(Refused(sequence.id, error), last=True)
        else:
            self._tell(Accepted(sequence.id))

    def _step_done(self, output: StepOutput) -> None:
        self._steps += 1
        self._last_step = time.monotonic()
        self._prefilled += self._batch.stepping_tokens
        for notice in self._batch.apply(output):
            self._report(notice)

    def _pump(self) -> None:
        if self._batch.stepping:
            return
        plan, notices = self._batch.next_plan()
        for notice in notices:
            self._report(notice)
        if plan is not None:
            self._engine.submit(plan)
        else:
            self._batch.check_integrity()

    def _report(self, notice: Notice) -> None:
        match notice:
            case AdmittedNotice(sequence=sequence, cached=cached):
                self._cached += cached
                news: SubscriberMessage = Admitted(sequence, cached)
            case TokenNotice(sequence=sequence, token=token, finish=finish):
                self._generated += token is not None
                news = Generated(sequence, () if token is None else (token,), finish)
            case FailedNotice(sequence=sequence, reason=reason):
                log.warning("sequence_failed", sequence=sequence, reason=reason)
                news = SequenceFailed(sequence, reason)
            case _:
                assert_never(notice)
        self._tell(news, last=notice.last)

    def _tell(self, news: SubscriberMessage, *, last: bool = False) -> None:
        outlet = self._outlets.get(news.sequence)
        if outlet is not None:
            outlet.held.append(news)
            outlet.ended = last
            self._flush(news.sequence, outlet)

    def _flush(self, sequence: SequenceId, outlet: _Outlet) -> None:
        """Hand over what is held, as far as the mailbox takes it."""
        try:
            while outlet.held:
                outlet.tell(outlet.held[0])
                outlet.held.popleft()
        except MailboxFull:
            if not self._redelivering:
                self._redelivering = True
                self.after(REDELIVERY_S, Redeliver())
            return
        except ActorStopped:
            self._batch.abort(sequence)
            outlet.ended = True
        if outlet.ended:
            del self._outlets[sequence]
            took = time.monotonic() - outlet.started_at
            self._mean_turn_s += 0.2 * (took - self._mean_turn_s)

    def _redeliver(self) -> None:
        self._redelivering = False
        for sequence, outlet in list(self._outlets.items()):
            if outlet.held:
                self._flush(sequence, outlet)

    def _snapshot(self) -> Snapshot:
        pool = self._batch.pool
        return Snapshot(
            pool_budget_bytes=pool.budget_bytes,
            pool_used_bytes=pool.used_bytes,
            pool_pinned_bytes=pool.pinned_bytes,
            caches=len(pool),
            waiting=len(self._batch.waiting),
            running=len(self._batch.running),
            parked=self._batch.parked,
            steps_total=self._steps,
            tokens_generated_total=self._generated,
            tokens_prefilled_total=self._prefilled,
            tokens_cached_total=self._cached,
            seconds_since_step=time.monotonic() - self._last_step,
        )


def counters(snapshot: Snapshot) -> dict[str, int | float]:
    """Flatten a snapshot for `/health` and `/metrics`."""
    return msgspec.structs.asdict(snapshot)

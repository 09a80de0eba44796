"""The scheduler actor: owns the batch, the pool and the engine's attention.

It hands the engine one plan at a time and hears of each step by one message. Decisions are the
batch's; this actor performs them and tells the submitters. An instance is an *epoch*: it begins
with an empty pool and an engine without caches. When it dies, or the engine thread does, the
supervisor starts the next one and whoever watches submits again.

News is posted: a submitter that is slow to read delays nobody, and loses nothing.
"""

import asyncio
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import structlog

from semantic_actors.actors import Actor, ActorStopped, Deferred
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
    Refused,
    SchedulerMessage,
    SequenceFailed,
    StepDone,
    Submit,
    SubscriberMessage,
)
from semantic_actors.scheduling.sequence import Sequence, new_sequence_id
from semantic_actors.scheduling.snapshot import Snapshot

_EPOCHS = itertools.count(1)

log = structlog.get_logger(__name__)


class EngineFailure(SemanticActorsError):
    """The engine thread died; the scheduler cannot go on without it."""


@dataclass(slots=True)
class _Outlet:
    """Where news of a sequence goes. `admitted_at` in loop time, for the mean length of a turn."""

    post: Callable[[SubscriberMessage], None]
    admitted_at: float | None = None


class Scheduler(Actor[SchedulerMessage]):
    """See the module. `engine` outlives its schedulers."""

    mailbox_capacity = 1024

    def __init__(self, engine: Engine, limits: BatchLimits, pool_bytes: int) -> None:
        self._epoch = next(_EPOCHS)
        self._engine = engine
        self._limits = limits
        self._batch = Batch(Pool(pool_bytes), engine.info.footprint, limits)
        self._outlets: dict[SequenceId, _Outlet] = {}
        self._steps = self._generated = self._fed = self._cached = 0
        self._last_step = -math.inf
        self._mean_turn_s = 1.0

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
            case _:
                assert_never(message)
        self._pump()
        return None

    def _deliver(self, outcome: StepOutput | EngineDied) -> None:
        try:
            if isinstance(outcome, EngineDied):
                self.ref.post(EngineLost(self._epoch, outcome.reason))
            else:
                self.ref.post(StepDone(self._epoch, outcome))
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
            deaths=message.deaths,
        )
        self._queue(sequence, message.reply_to.post, resumed=message.resumed)

    def _probe(self, reply: Deferred[None]) -> None:
        sequence = Sequence(
            id=new_sequence_id(),
            principal=LOCAL,
            tokens=[0],
            prompt_tokens=1,
            max_tokens=1,
            stop_ids=frozenset(),
            sampling=GREEDY,
            keep=False,
        )

        def heard(news: SubscriberMessage) -> None:
            match news:
                case Generated() | Refused():  # a full queue is alive, too
                    reply.resolve(None)
                case SequenceFailed(reason=reason):
                    reply.reject(EngineFailure(reason))
                case _:
                    pass

        self._queue(sequence, heard)

    def _queue(
        self,
        sequence: Sequence,
        post: Callable[[SubscriberMessage], None],
        *,
        resumed: bool = False,
    ) -> None:
        self._outlets[sequence.id] = _Outlet(post)
        wait = self._mean_turn_s * (len(self._batch.waiting) + 1) / self._limits.max_running
        try:
            self._batch.submit(sequence, resumed=resumed, expected_wait_s=wait)
        except Rejected as error:
            self._post(Refused(sequence.id, error), last=True)
        else:
            self._post(Accepted(sequence.id))

    def _step_done(self, output: StepOutput) -> None:
        self._steps += 1
        self._last_step = _now()
        self._fed += self._batch.stepping_tokens
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
        self._post(news, last=notice.last)

    def _post(self, news: SubscriberMessage, *, last: bool = False) -> None:
        outlet = self._outlets.get(news.sequence)
        if outlet is None:
            return
        now = _now()
        if isinstance(news, Admitted):
            outlet.admitted_at = now
        elif last and outlet.admitted_at is not None:
            self._mean_turn_s += 0.2 * (now - outlet.admitted_at - self._mean_turn_s)
        if last:
            del self._outlets[news.sequence]
        try:
            outlet.post(news)
        except ActorStopped:
            self._outlets.pop(news.sequence, None)
            self._batch.abort(news.sequence)

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
            stepping=self._batch.stepping,
            steps_total=self._steps,
            tokens_generated_total=self._generated,
            tokens_fed_total=self._fed,
            tokens_cached_total=self._cached,
            seconds_since_step=_now() - self._last_step,
        )


def _now() -> float:
    """Loop time, which tests can make virtual."""
    return asyncio.get_running_loop().time()

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
from collections.abc import Callable, Iterable
from typing import Any, assert_never

import structlog

from semantic_actors.actors import Actor, ActorRef, ActorStopped, Deferred
from semantic_actors.domain.errors import Rejected, SemanticActorsError
from semantic_actors.domain.ids import LOCAL, SequenceId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine.protocol import Engine, EngineDied, StepOutput
from semantic_actors.kv import Pool
from semantic_actors.persistence.messages import (
    Fetched,
    Saved,
    StoreMessage,
)
from semantic_actors.scheduling.batch import Batch, BatchLimits
from semantic_actors.scheduling.board import Board, Vacancies
from semantic_actors.scheduling.messages import (
    Abort,
    Accepted,
    Admitted,
    AskResidents,
    EngineLost,
    Flush,
    Generated,
    Inspect,
    Leave,
    LookedUp,
    Probe,
    Refused,
    SchedulerMessage,
    SequenceFailed,
    StepDone,
    StoreRestarted,
    Submit,
    SubscriberMessage,
    Warm,
)
from semantic_actors.scheduling.notices import (
    AdmittedNotice,
    FailedNotice,
    FetchNotice,
    Notice,
    SaveNotice,
    TokenNotice,
)
from semantic_actors.scheduling.residence import Leaving, residents, warming
from semantic_actors.scheduling.sequence import Sequence, new_sequence_id
from semantic_actors.scheduling.snapshot import Snapshot
from semantic_actors.scheduling.store_port import look_up, pass_on
from semantic_actors.scheduling.turnover import Turnover

LOOK_UP_TIMEOUT_S = 1.0
"""A store that takes longer to look into its index is not waited for."""

_EPOCHS = itertools.count(1)

log = structlog.get_logger(__name__)


class EngineFailure(SemanticActorsError):
    """The engine thread died; the scheduler cannot go on without it."""


class Scheduler(Actor[SchedulerMessage]):
    """See the module. `engine` outlives its schedulers."""

    mailbox_capacity = 1024

    def __init__(
        self,
        engine: Engine,
        limits: BatchLimits,
        pool_bytes: int,
        store: ActorRef[StoreMessage] | None = None,
        board: Board | None = None,
    ) -> None:
        self._epoch = next(_EPOCHS)
        self._engine = engine
        self._limits = limits
        layout = engine.info.layout if store is not None else None
        self._store = store if layout is not None else None
        pool = Pool(pool_bytes, share=engine.info.footprint.share)
        self._batch = Batch(pool, engine.info.footprint, limits, layout)
        self._outlets: dict[SequenceId, Callable[[SubscriberMessage], None]] = {}
        self._turnover = Turnover()
        self._board = board or Board()
        self._flushes: list[Deferred[None]] = []
        self._leaving: list[Leaving] = []
        self._steps = self._generated = self._cached = 0
        self._last_step = -math.inf

    async def on_start(self) -> None:
        """Begin an epoch."""
        self._engine.attach(self._deliver)
        self._write_board()
        if self._store is not None:
            self._store.watch(self.ref, StoreRestarted())

    async def on_message(self, message: SchedulerMessage) -> object:
        """Do what the message says, then keep the engine busy."""
        match message:
            case Submit():
                self._submit(message)
            case Abort(sequence=sequence):
                self._abort(sequence)
            case StepDone() | EngineLost():
                self._heard_of_engine(message)
            case Inspect():
                return self._snapshot()
            case AskResidents():
                return residents(self._batch)
            case Probe() | Flush() | Leave() | Warm():
                self._begin(message, self.defer())
            case LookedUp() | Fetched() | Saved() | StoreRestarted():
                self._heard_of_store(message)
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

    def _heard_of_engine(self, message: StepDone | EngineLost) -> None:
        if message.epoch != self._epoch:
            log.info("step_outlived_its_epoch", epoch=message.epoch)
        elif isinstance(message, EngineLost):
            raise EngineFailure(message.reason)
        else:
            self._step_done(message.output)

    def _submit(self, message: Submit) -> None:
        sequence = Sequence(
            id=message.sequence,
            principal=message.principal,
            tokens=list(message.tokens),
            prompt_tokens=len(message.tokens) - message.generated,
            max_tokens=message.max_tokens,
            stop_ids=message.stop_ids,
            sampling=message.sampling,
            grammar=message.grammar,
            deaths=message.deaths,
            session=message.session,
        )
        self._queue(sequence, message.reply_to.post, resumed=message.resumed)

    def _begin(self, message: Probe | Flush | Leave | Warm, reply: Deferred[Any]) -> None:
        match message:
            case Probe():
                self._probe(reply)
            case Flush():
                self._flushes.append(reply)
            case Leave():
                self._leaving.append(Leaving(message, reply, self._batch))
            case Warm():
                self._queue(*warming(message, reply))
            case _:
                assert_never(message)

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
                case Admitted():
                    self._turnover.forget(sequence.id)
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
        self._outlets[sequence.id] = post
        retry_after_s = self._turnover.retry_after_s(len(self._batch.waiting), _now())
        try:
            self._batch.submit(sequence, resumed=resumed, retry_after_s=retry_after_s)
        except Rejected as error:
            self._post(Refused(sequence.id, error), last=True)
        else:
            self._post(Accepted(sequence.id))
            if self._store is not None and sequence.keep:
                self._look_up(sequence, self._store)

    def _look_up(self, sequence: Sequence, store: ActorRef[StoreMessage]) -> None:
        """Ask the store what it has of a sequence, which waits for the answer."""
        sequence.stored = None
        self.pipe(
            store.ask(look_up(sequence), timeout=LOOK_UP_TIMEOUT_S),
            lambda stored: LookedUp(sequence.id, stored),
            lambda _: LookedUp(sequence.id, 0),
        )

    def _heard_of_store(self, message: LookedUp | Fetched | Saved | StoreRestarted) -> None:
        match message:
            case LookedUp(sequence=sequence, stored=stored):
                self._batch.looked_up(sequence, stored)
            case Saved(save=save, reason=reason):
                self._batch.keeping.saved(save, kept=not reason)
            case Fetched(fetch=fetch, rows=rows, reason=reason):
                if reason:
                    log.warning("fetch_ended_early", fetch=fetch, reason=reason)
                self._report_all(self._batch.restorer.arrived(fetch, rows))
            case StoreRestarted():
                self._report_all(self._batch.store_lost())
            case _:
                assert_never(message)

    def _write_board(self) -> None:
        waiting = len(self._batch.waiting)
        retry_after_s = self._turnover.retry_after_s(waiting, _now())
        self._board.vacancies = Vacancies(self._batch.vacancies, retry_after_s)

    def _step_done(self, output: StepOutput) -> None:
        self._steps += 1
        self._last_step = _now()
        self._report_all(self._batch.apply(output))

    def _pump(self) -> None:
        """Keep the engine busy, a step ahead where that can be."""
        self._leaving = [one for one in self._leaving if not one.advance()]
        while self._batch.ready:
            plan, notices = self._batch.next_plan()
            self._report_all(notices)
            if plan is not None:
                self._engine.submit(plan)
            elif not notices:
                break
        self._write_board()
        if self._batch.stepping:
            return
        self._batch.check_integrity()
        if not self._batch.running and self._batch.keeping.clean:
            while self._flushes:
                self._flushes.pop().resolve(None)

    def _report_all(self, notices: Iterable[Notice]) -> None:
        for notice in notices:
            self._report(notice)

    def _report(self, notice: Notice) -> None:
        if isinstance(notice, FetchNotice | SaveNotice):
            assert self._store is not None, "nobody else is asked for rows"
            pass_on(self._store, notice, self.ref)
            return
        match notice:
            case AdmittedNotice(sequence=sequence, cached=cached):
                self._cached += cached
                news: SubscriberMessage = Admitted(sequence, cached)
            case TokenNotice(sequence=sequence, token=token, finish=finish, logprobs=logprobs):
                self._generated += token is not None
                tokens = () if token is None else (token,)
                news = Generated(sequence, tokens, finish, () if logprobs is None else (logprobs,))
            case FailedNotice(sequence=sequence, reason=reason, permanent=permanent):
                log.warning("sequence_failed", sequence=sequence, reason=reason)
                news = SequenceFailed(sequence, reason, permanent)
            case _:
                assert_never(notice)
        self._post(news, last=notice.last)

    def _post(self, news: SubscriberMessage, *, last: bool = False) -> None:
        post = self._outlets.get(news.sequence)
        if isinstance(news, Admitted):
            self._turnover.admitted(news.sequence, _now())
        if last:
            self._turnover.left(news.sequence, _now())
            self._outlets.pop(news.sequence, None)
        try:
            if post is not None:
                post(news)
        except ActorStopped:
            self._abort(news.sequence)

    def _abort(self, sequence: SequenceId) -> None:
        self._outlets.pop(sequence, None)
        self._turnover.left(sequence, _now())
        self._batch.abort(sequence)

    def _snapshot(self) -> Snapshot:
        pool = self._batch.pool
        return Snapshot(
            pool_budget_bytes=pool.budget_bytes,
            pool_used_bytes=pool.used_bytes,
            pool_pinned_bytes=pool.pinned_bytes,
            caches=len(pool),
            waiting=len(self._batch.waiting),
            following=self._batch.following,
            running=len(self._batch.running),
            parked=self._batch.parked,
            stepping=self._batch.stepping,
            steps_total=self._steps,
            tokens_generated_total=self._generated,
            tokens_fed_total=self._batch.fed_total,
            tokens_cached_total=self._cached,
            tokens_restored_total=self._batch.restorer.restored_total,
            tokens_lost_total=self._batch.keeping.lost_tokens,
            dirty_bytes=self._batch.keeping.dirty_bytes,
            seconds_since_step=_now() - self._last_step,
        )


def _now() -> float:
    """Loop time, which tests can make virtual."""
    return asyncio.get_running_loop().time()

"""The batch: waiting and running sequences, the pool, and the bookkeeping of each step.

A synchronous state machine without I/O: `submit` and `abort` at any time, `next_plan` when `ready`,
`apply` with what the engine answered, in order. What the outside must hear of is returned as
`Notice`s.

While a step that only decodes is under way, the next is planned on the tokens it will draw: the
engine goes from one to the other without waiting. A sequence that turns out to have ended is fed
once too often then, its last token; it leaves when that step has ended, too.

Law, checked at run time: tokens found in a cache + tokens fed == the sequence's tokens, exactly.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

import msgspec

from semantic_actors.domain.errors import Overloaded, SemanticActorsError
from semantic_actors.domain.ids import CacheId, SequenceId
from semantic_actors.engine.protocol import (
    Fed,
    Feed,
    FeedFailed,
    Footprint,
    Load,
    Plan,
    Shrink,
    Start,
    StepOutput,
)
from semantic_actors.kv import Pool
from semantic_actors.kv.layout import Layout
from semantic_actors.scheduling.admission import check
from semantic_actors.scheduling.housing import Housing, cache_of
from semantic_actors.scheduling.keeping import Keeping, Outgoing
from semantic_actors.scheduling.notices import AdmittedNotice, FailedNotice, Notice, TokenNotice
from semantic_actors.scheduling.pace import Pace, Work
from semantic_actors.scheduling.plan import Admission, Decision, View, plan
from semantic_actors.scheduling.restoring import Restorer
from semantic_actors.scheduling.sequence import Sequence, SequenceFinish

FLIGHTS = 2
"""Steps under way at a time."""


class BatchLimits(msgspec.Struct, frozen=True):
    """Bounds of the batch loop. `context` in tokens per sequence, `vocabulary` in ids.

    `prefill_tokens` is the most that a step feeds of prompts, and what every step feeds where there
    is no `inter_token_target_s`, the seconds between two tokens of a stream. No more than
    `dirty_bytes` are on their way to the store at a time.
    """

    vocabulary: int
    context: int
    max_running: int
    max_waiting: int
    prefill_tokens: int
    inter_token_target_s: float = inf
    dirty_bytes: int = 256 << 20


class TruthBroken(SemanticActorsError):
    """The tokens in a cache are not those of its sequence: nothing more may be drawn from it."""

    def __init__(self, sequence: SequenceId, held: int, fed: int, wanted: int) -> None:
        super().__init__(
            f"sequence {sequence}: its cache holds {held} tokens, {fed} were counted, "
            f"{wanted} are its own"
        )


@dataclass(frozen=True, slots=True)
class _Flight:
    """A step under way."""

    step: int
    feeds: list[tuple[Sequence, Feed]]
    loads: list[tuple[Sequence, Load]]
    outgoing: list[Outgoing]
    work: Work


class Batch:
    """Owns every sequence and the pool of one epoch."""

    def __init__(
        self, pool: Pool, footprint: Footprint, limits: BatchLimits, layout: Layout | None = None
    ) -> None:
        self.pool = pool
        self.keeping = Keeping(pool, layout.row_bytes if layout else 0, limits.dirty_bytes)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.parked = 0
        self.following = 0
        self.fed_total = 0
        self.pace = Pace(limits.inter_token_target_s, limits.prefill_tokens)
        self._housing = Housing(pool, self.keeping, footprint)
        self.restorer = Restorer(self.running, self._housing, layout)
        self._footprint = footprint
        self._limits = limits
        self._steps = itertools.count(1)
        self._flights: deque[_Flight] = deque()

    @property
    def stepping(self) -> bool:
        """Whether a step is under way."""
        return bool(self._flights)

    @property
    def ready(self) -> bool:
        """Whether the next step may be planned.

        Not behind one that feeds a prompt: it is long enough for the engine not to wait, and so
        long that who comes meanwhile would wait for two. Nor behind one that feeds nobody.
        """
        if not self._flights:
            return True
        last = self._flights[-1].work
        return len(self._flights) < FLIGHTS and last.decode_rows > 0 and last.prefill_tokens == 0

    @property
    def vacancies(self) -> int:
        """Sequences that may still be submitted; below zero after resumption."""
        places = self._limits.max_running + self._limits.max_waiting
        return places - len(self.running) - len(self.waiting)

    def submit(self, sequence: Sequence, *, resumed: bool = False, retry_after_s: int = 1) -> None:
        """Queue a sequence, or raise the `Rejected` that says why not.

        A `resumed` one had its place before an engine died, and is never one too many.
        """
        limits = self._limits
        check(
            sequence,
            self.pool,
            self._footprint,
            vocabulary=limits.vocabulary,
            context=limits.context,
        )
        if not resumed and self.vacancies <= 0:
            message = f"{len(self.waiting)} requests are waiting already"
            raise Overloaded(message, retry_after_s=retry_after_s)
        innocent = (at for at, other in enumerate(self.waiting) if other.deaths < sequence.deaths)
        self.waiting.insert(next(innocent, len(self.waiting)), sequence)

    def abort(self, sequence: SequenceId) -> None:
        """Stop a sequence now, or at the end of the step it is in; unknown ones are ignored."""
        for waiting in self.waiting:
            if waiting.id == sequence:
                self.waiting.remove(waiting)
                return
        for running in self.running:
            if running.id == sequence:
                self._leave(running)
                return

    def evict(self, cache: CacheId) -> None:
        """Drop an idle cache; the next step frees it."""
        assert not self.pool[cache].pinned, cache
        self._housing.drop(cache)

    def next_plan(self) -> tuple[Plan | None, list[Notice]]:
        """Decide and record the next step; without one and without notices there is nothing to do.

        With notices alone a sequence has ended, and may have left its place to another.
        """
        assert self.ready, "too many steps are under way"
        decision = plan(self._view())
        outgoing = self.keeping.choose(cache_of(one) for one in self.running if one.keep)
        self.parked = len(decision.parked)
        self.following = decision.following
        self._housing.drop(*decision.evicted)
        notices = list(self._exhaust(decision))
        self._preempt(decision)
        for grant in decision.granted:
            sequence = self._find(grant.sequence)
            sequence.reserved_tokens = grant.tokens
            self._housing.reserve(sequence)
        self._follow(decision)
        shrinks = self._housing.shrinks()
        starts = tuple(self._admit(admission) for admission in decision.admitted)
        notices += [self._begun(admission) for admission in decision.admitted]
        fed = [(self._find(share.sequence), share.tokens) for share in decision.shares]
        return self._plan(starts, shrinks, fed, outgoing), notices

    def apply(self, output: StepOutput) -> list[Notice]:
        """Record what the engine did."""
        flight = self._flights.popleft()
        assert output.step == flight.step, (output.step, flight.step)
        assert len(output.results) == len(flight.feeds), "the engine left feeds unanswered"
        if not flight.loads and not flight.outgoing:
            self.pace.observe(flight.work, output.seconds)
        self.fed_total += sum(feed.count for _, feed in flight.feeds)
        answered = zip(flight.feeds, output.results, strict=True)
        applied = (self._apply(sequence, feed, result) for (sequence, feed), result in answered)
        notices: list[Notice] = [notice for notice in applied if notice is not None]
        for (sequence, load), result in zip(flight.loads, output.loaded, strict=True):
            notices += self._loaded(sequence, load, result)
        return [*notices, *self.keeping.exported(flight.outgoing, output.exported)]

    def store_lost(self) -> Iterable[Notice]:
        """Record that the store will not answer any more what it was asked."""
        self.keeping.abandon()
        return self.restorer.lost()

    def looked_up(self, sequence: SequenceId, stored: int) -> None:
        """Record how much of a waiting sequence is in the store."""
        for one in self.waiting:
            if one.id == sequence:
                one.stored = stored

    def check_integrity(self) -> None:
        """Raise `AssertionError` where the books do not add up."""
        self._housing.check_integrity(self.running)

    def _view(self) -> View:
        return View(
            waiting=self.waiting,
            running=[one for one in self.running if not one.spent(self._limits.context)],
            room=self._limits.max_running - len(self.running),
            settled=not self._flights,
            pool=self.pool,
            footprint=self._footprint,
            context=self._limits.context,
            pace=self.pace,
        )

    def _find(self, sequence: SequenceId) -> Sequence:
        return next(s for s in itertools.chain(self.running, self.waiting) if s.id == sequence)

    def _exhaust(self, decision: Decision) -> Iterator[Notice]:
        for sequence in map(self._find, decision.exhausted):
            self._leave(sequence)
            yield TokenNotice(sequence.id, None, "context")

    def _follow(self, decision: Decision) -> None:
        following = {one.sequence: one.following for one in decision.followers}
        for sequence in self.waiting if following else ():
            sequence.follows = following.get(sequence.id, sequence.follows)

    def _preempt(self, decision: Decision) -> None:
        for sequence in map(self._find, decision.preempted):
            self.running.remove(sequence)
            self._housing.drop(cache_of(sequence))
            sequence.restart(None)
            self.waiting.appendleft(sequence)

    def _admit(self, admission: Admission) -> Start:
        sequence = self._find(admission.sequence)
        self.waiting.remove(sequence)
        self.running.append(sequence)
        return self._housing.open(sequence, admission, self.running)

    def _begun(self, admission: Admission) -> Notice:
        """Say that a sequence runs; one that is restored first is told about when it has been."""
        sequence = self._find(admission.sequence)
        if admission.restored:
            return self.restorer.begin(sequence, admission.restored)
        return AdmittedNotice(sequence.id, sequence.cached)

    def _plan(
        self,
        starts: tuple[Start, ...],
        shrinks: tuple[Shrink, ...],
        fed: list[tuple[Sequence, int]],
        outgoing: list[Outgoing],
    ) -> Plan | None:
        drops = self._housing.take_drops()
        loads = self.restorer.loads()
        if not (drops or shrinks or starts or fed or loads or outgoing):
            return None
        step = next(self._steps)
        feeds = [(sequence, sequence.feed(count)) for sequence, count in fed]
        self._housing.look_ahead(sequence for sequence, _ in fed)
        work = Work.of(feed for _, feed in feeds)
        self._flights.append(_Flight(step, feeds, loads, outgoing, work))
        return Plan(
            step,
            drops,
            starts,
            tuple(feed for _, feed in feeds),
            tuple(load for _, load in loads),
            tuple(export for one in outgoing for export in one.exports),
            shrinks,
        )

    def _apply(self, sequence: Sequence, feed: Feed, result: Fed | FeedFailed) -> Notice | None:
        sequence.flights -= 1
        sequence.awaited -= feed.sampling is not None
        if isinstance(result, FeedFailed):
            return self._failed(sequence, result)
        tokens = feed.tokens or (sequence.tokens[feed.position],)
        sequence.fed += feed.count
        self._housing.grow(result, tokens)
        self._housing.look_ahead([sequence] if sequence.flights else [])
        finish = None if result.token is None else self._drawn(sequence, result.token)
        silent = sequence.leaving or result.token is None
        if sequence.leaving or finish is not None:
            self._leave(sequence)
        return None if silent else TokenNotice(sequence.id, result.token, finish, result.logprobs)

    def _loaded(self, sequence: Sequence, load: Load, result: Fed) -> Iterable[Notice]:
        notices = self.restorer.loaded(sequence, load, result)
        if sequence.leaving:
            self._leave(sequence)
        return notices

    def _failed(self, sequence: Sequence, result: FeedFailed) -> Notice | None:
        """Drop the lost cache once no step under way feeds it; the first failure is told."""
        told, sequence.leaving, sequence.keep = sequence.leaving, True, False
        self._leave(sequence)
        return None if told else FailedNotice(sequence.id, result.reason, result.permanent)

    def _drawn(self, sequence: Sequence, token: int) -> SequenceFinish | None:
        self._check_truth(sequence)
        sequence.tokens.append(token)
        sequence.deaths = 0
        return sequence.finish_after(token, self._limits.context)

    def _check_truth(self, sequence: Sequence) -> None:
        """Cached + fed == the tokens; all compared at a cache's first draw, then counted."""
        held = self.pool[cache_of(sequence)].tokens
        counted = len(held) == sequence.fed == len(sequence.tokens)
        if not counted or (not sequence.checked and held != sequence.tokens):
            raise TruthBroken(sequence.id, len(held), sequence.fed, len(sequence.tokens))
        sequence.checked = True

    def _leave(self, sequence: Sequence) -> None:
        """Give the cache back, at the end of the last step that feeds it."""
        sequence.leaving = True
        if sequence.flights:
            return
        self.running.remove(sequence)
        self._housing.leave(sequence)

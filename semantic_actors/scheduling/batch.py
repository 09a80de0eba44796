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
    Plan,
    Start,
    StepOutput,
)
from semantic_actors.kv import Pool
from semantic_actors.scheduling.admission import check
from semantic_actors.scheduling.notices import AdmittedNotice, FailedNotice, Notice, TokenNotice
from semantic_actors.scheduling.pace import Load, Pace
from semantic_actors.scheduling.plan import Admission, Decision, View, plan
from semantic_actors.scheduling.sequence import Sequence, SequenceFinish

FLIGHTS = 2
"""Steps under way at a time."""

_CACHE_IDS = itertools.count(1)


class BatchLimits(msgspec.Struct, frozen=True):
    """Bounds of the batch loop. `context` in tokens per sequence, `vocabulary` in ids.

    `prefill_tokens` is the most that a step feeds of prompts, and what every step feeds where there
    is no `inter_token_target_s`, the seconds between two tokens of a stream.
    """

    vocabulary: int
    context: int
    max_running: int
    max_waiting: int
    prefill_tokens: int
    inter_token_target_s: float = inf


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
    load: Load


class Batch:
    """Owns every sequence and the pool of one epoch."""

    def __init__(self, pool: Pool, footprint: Footprint, limits: BatchLimits) -> None:
        self.pool = pool
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.parked = 0
        self.following = 0
        self.fed_total = 0
        self.pace = Pace(limits.inter_token_target_s, limits.prefill_tokens)
        self._footprint = footprint
        self._limits = limits
        self._steps = itertools.count(1)
        self._flights: deque[_Flight] = deque()
        self._drops: list[CacheId] = []

    @property
    def stepping(self) -> bool:
        """Whether a step is under way."""
        return bool(self._flights)

    @property
    def ready(self) -> bool:
        """Whether the next step may be planned.

        Not behind one that feeds a prompt: it is long enough for the engine not to wait, and so
        long that who comes meanwhile would wait for two.
        """
        if not self._flights:
            return True
        return len(self._flights) < FLIGHTS and self._flights[-1].load.prefill_tokens == 0

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

    def next_plan(self) -> tuple[Plan | None, list[Notice]]:
        """Decide and record the next step; None if there is nothing to do."""
        assert self.ready, "too many steps are under way"
        decision = plan(self._view())
        self.parked = len(decision.parked)
        self.following = decision.following
        self._drops += decision.evicted
        for cache in decision.evicted:
            self.pool.drop(cache)
        notices = list(self._exhaust(decision))
        self._preempt(decision)
        for grant in decision.granted:
            sequence = self._find(grant.sequence)
            sequence.reserved_tokens = grant.tokens
            self.pool.reserve(_cache(sequence), self._footprint.size_bytes(grant.tokens))
        self._follow(decision)
        starts = tuple(self._admit(admission) for admission in decision.admitted)
        notices += [
            AdmittedNotice(a.sequence, self._find(a.sequence).cached) for a in decision.admitted
        ]
        fed = [(self._find(share.sequence), share.tokens) for share in decision.shares]
        return self._plan(starts, fed), notices

    def apply(self, output: StepOutput) -> list[Notice]:
        """Record what the engine did."""
        flight = self._flights.popleft()
        assert output.step == flight.step, (output.step, flight.step)
        assert len(output.results) == len(flight.feeds), "the engine left feeds unanswered"
        self.pace.observe(flight.load, output.seconds)
        self.fed_total += sum(feed.count for _, feed in flight.feeds)
        answered = zip(flight.feeds, output.results, strict=True)
        notices = (self._apply(sequence, feed, result) for (sequence, feed), result in answered)
        return [notice for notice in notices if notice is not None]

    def check_integrity(self) -> None:
        """Raise `AssertionError` where the books do not add up."""
        self.pool.check_integrity()
        pinned = {_cache(sequence) for sequence in self.running}
        for sequence in self.running:
            entry = self.pool[_cache(sequence)]
            assert entry.pinned
            assert entry.tokens == sequence.tokens[: sequence.fed]
        assert len(self.pool) - len(list(self.pool.idle())) == len(pinned)

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
            self.pool.drop(_cache(sequence))
            self._drops.append(_cache(sequence))
            sequence.restart(None)
            self.waiting.appendleft(sequence)

    def _admit(self, admission: Admission) -> Start:
        sequence = self._find(admission.sequence)
        self.waiting.remove(sequence)
        self.running.append(sequence)
        match, cache = admission.match, CacheId(next(_CACHE_IDS))
        sequence.restart(cache, match.keep if match else 0)
        sequence.reserved_tokens = admission.tokens
        reserved = self._footprint.size_bytes(admission.tokens)
        if match is None:
            self.pool.open(cache, sequence.principal, reserved_bytes=reserved)
            return Start(cache, room=len(sequence.tokens))
        move = self.pool.take if admission.take else self.pool.copy
        move(match.cache, cache, match.keep, reserved_bytes=reserved)
        return Start(cache, match.cache, match.keep, admission.take, room=len(sequence.tokens))

    def _plan(self, starts: tuple[Start, ...], fed: list[tuple[Sequence, int]]) -> Plan | None:
        drops, self._drops = tuple(self._drops), []
        if not drops and not fed:
            return None
        step = next(self._steps)
        feeds = [(sequence, sequence.feed(count)) for sequence, count in fed]
        self._look_ahead(sequence for sequence, _ in fed)
        self._flights.append(_Flight(step, feeds, Load.of(feed for _, feed in feeds)))
        return Plan(step, drops, starts, tuple(feed for _, feed in feeds))

    def _apply(self, sequence: Sequence, feed: Feed, result: Fed | FeedFailed) -> Notice | None:
        sequence.flights -= 1
        sequence.awaited -= feed.sampling is not None
        if isinstance(result, FeedFailed):
            return self._failed(sequence, result)
        tokens = feed.tokens or (sequence.tokens[feed.position],)
        sequence.fed += feed.count
        self.pool.grow(result.cache, tokens, size_bytes=result.size_bytes, floor=result.floor)
        self._look_ahead([sequence] if sequence.flights else [])
        finish = None if result.token is None else self._drawn(sequence, result.token)
        silent = sequence.leaving or result.token is None
        if sequence.leaving or finish is not None:
            self._leave(sequence)
        return None if silent else TokenNotice(sequence.id, result.token, finish)

    def _look_ahead(self, fed: Iterable[Sequence]) -> None:
        """Let nobody copy a cache that can no longer be cut to what is known to be in it."""
        for sequence in fed:
            if sequence.planned >= self._footprint.cut_limit:
                self.pool.raise_floor(_cache(sequence), sequence.planned)

    def _failed(self, sequence: Sequence, result: FeedFailed) -> Notice | None:
        """Drop the lost cache once no step under way feeds it; the first failure is told."""
        told, sequence.leaving, sequence.keep = sequence.leaving, True, False
        self._leave(sequence)
        return None if told else FailedNotice(sequence.id, result.reason)

    def _drawn(self, sequence: Sequence, token: int) -> SequenceFinish | None:
        self._check_truth(sequence)
        sequence.tokens.append(token)
        sequence.deaths = 0
        return sequence.finish_after(token, self._limits.context)

    def _check_truth(self, sequence: Sequence) -> None:
        """Cached + fed == the tokens; all compared at a cache's first draw, then counted."""
        held = self.pool[_cache(sequence)].tokens
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
        cache = _cache(sequence)
        if sequence.keep and self.pool[cache].tokens:
            self.pool.release(cache)
        else:
            self.pool.drop(cache)
            self._drops.append(cache)


def _cache(sequence: Sequence) -> CacheId:
    assert sequence.cache is not None, sequence.id
    return sequence.cache

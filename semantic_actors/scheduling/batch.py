"""The batch: waiting and running sequences, the pool, and the bookkeeping of each step.

A synchronous state machine without I/O: `submit` and `abort` at any time, `next_plan` when the
engine is free, `apply` with what it answered. At most one step is under way. What the outside must
hear of is returned as `Notice`s.

Law, checked at run time: tokens found in a cache + tokens fed == the sequence's tokens, exactly.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from semantic_actors.domain.errors import (
    InvalidRequest,
    NeverFits,
    Overloaded,
    PromptTooLong,
    SemanticActorsError,
)
from semantic_actors.domain.ids import CacheId, SequenceId, TokenIds
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
from semantic_actors.scheduling.plan import Admission, Decision, View, plan, reservation
from semantic_actors.scheduling.sequence import Sequence, SequenceFinish

_CACHE_IDS = itertools.count(1)


class BatchLimits(msgspec.Struct, frozen=True):
    """Bounds of the batch loop. `context` in tokens per sequence, `vocabulary` in ids."""

    vocabulary: int
    context: int
    max_running: int
    max_waiting: int
    prefill_tokens: int


class AdmittedNotice(msgspec.Struct, frozen=True):
    """The sequence left the queue; `cached` tokens of it were found."""

    sequence: SequenceId
    cached: int
    last: ClassVar[bool] = False


class TokenNotice(msgspec.Struct, frozen=True):
    """A token was drawn; with `finish` it was the last."""

    sequence: SequenceId
    token: int | None
    finish: SequenceFinish | None

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.finish is not None


class FailedNotice(msgspec.Struct, frozen=True):
    """The engine could not go on with this sequence."""

    sequence: SequenceId
    reason: str
    last: ClassVar[bool] = True


Notice = AdmittedNotice | TokenNotice | FailedNotice


class TruthBroken(SemanticActorsError):
    """The tokens in a cache are not those of its sequence: nothing more may be drawn from it."""

    def __init__(self, sequence: SequenceId, held: int, fed: int, wanted: int) -> None:
        super().__init__(
            f"sequence {sequence}: its cache holds {held} tokens, {fed} were counted, "
            f"{wanted} are its own"
        )


class Batch:
    """Owns every sequence and the pool of one epoch."""

    def __init__(self, pool: Pool, footprint: Footprint, limits: BatchLimits) -> None:
        self.pool = pool
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.parked = 0
        self._footprint = footprint
        self._limits = limits
        self._steps = itertools.count(1)
        self._feeds: dict[CacheId, tuple[Sequence, Feed]] = {}
        self._step: int | None = None
        self._aborted: set[SequenceId] = set()
        self._drops: list[CacheId] = []

    @property
    def stepping(self) -> bool:
        """Whether a step is under way."""
        return self._step is not None

    @property
    def stepping_tokens(self) -> int:
        """Tokens fed by the step under way."""
        return sum(len(feed.tokens) for _, feed in self._feeds.values())

    def submit(
        self, sequence: Sequence, *, resumed: bool = False, expected_wait_s: float = 1.0
    ) -> None:
        """Queue a sequence, or raise the `Rejected` that says why not.

        A `resumed` one had its place before an engine died, and is never one too many.
        """
        if not sequence.tokens:
            message = "the prompt has no tokens"
            raise InvalidRequest(message)
        if max(sequence.tokens) >= self._limits.vocabulary:
            message = (
                f"the prompt has token {max(sequence.tokens)}, "
                f"the model knows {self._limits.vocabulary}: its tokenizer is not the model's own"
            )
            raise InvalidRequest(message)
        if len(sequence.tokens) >= self._limits.context:
            raise PromptTooLong(len(sequence.tokens), self._limits.context - 1)
        if reservation(sequence, self.pool, self._footprint, self._limits.context) is None:
            need = self._footprint.size_bytes(len(sequence.tokens) + 1)
            raise NeverFits(need, self.pool.budget_bytes)
        places = self._limits.max_running + self._limits.max_waiting
        if not resumed and len(self.running) + len(self.waiting) >= places:
            message = f"{len(self.waiting)} requests are waiting already"
            raise Overloaded(message, retry_after_s=max(1, math.ceil(expected_wait_s)))
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
                if running.cache in self._feeds:
                    self._aborted.add(sequence)
                else:
                    self._leave(running)
                return

    def next_plan(self) -> tuple[Plan | None, list[Notice]]:
        """Decide and record the next step; None if there is nothing to do."""
        assert not self.stepping, "a step is under way"
        decision = plan(self._view())
        self.parked = len(decision.parked)
        self._drops += decision.evicted
        for cache in decision.evicted:
            self.pool.drop(cache)
        notices = list(self._exhaust(decision))
        self._preempt(decision)
        for grant in decision.granted:
            sequence = self._find(grant.sequence)
            sequence.reserved_tokens = grant.tokens
            self.pool.reserve(_cache(sequence), self._footprint.size_bytes(grant.tokens))
        starts = tuple(self._admit(admission) for admission in decision.admitted)
        notices += [
            AdmittedNotice(a.sequence, self._find(a.sequence).cached) for a in decision.admitted
        ]
        for share in decision.shares:
            sequence = self._find(share.sequence)
            self._feeds[_cache(sequence)] = (sequence, _feed(sequence, share.tokens))
        return self._plan(starts), notices

    def apply(self, output: StepOutput) -> list[Notice]:
        """Record what the engine did."""
        assert output.step == self._step, (output.step, self._step)
        self._step = None
        notices = [
            notice
            for result in output.results
            if (notice := self._apply(*self._feeds.pop(result.cache), result)) is not None
        ]
        assert not self._feeds, "the engine left feeds unanswered"
        self._aborted.clear()
        return notices

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
            running=self.running,
            pool=self.pool,
            footprint=self._footprint,
            context=self._limits.context,
            max_running=self._limits.max_running,
            prefill_tokens=self._limits.prefill_tokens,
        )

    def _find(self, sequence: SequenceId) -> Sequence:
        return next(s for s in itertools.chain(self.running, self.waiting) if s.id == sequence)

    def _exhaust(self, decision: Decision) -> Iterator[Notice]:
        for sequence in map(self._find, decision.exhausted):
            self._leave(sequence)
            yield TokenNotice(sequence.id, None, "context")

    def _preempt(self, decision: Decision) -> None:
        for sequence in map(self._find, decision.preempted):
            self.running.remove(sequence)
            self.pool.drop(_cache(sequence))
            self._drops.append(_cache(sequence))
            sequence.cache = None
            sequence.fed = sequence.cached = sequence.reserved_tokens = 0
            self.waiting.appendleft(sequence)

    def _admit(self, admission: Admission) -> Start:
        sequence = self._find(admission.sequence)
        self.waiting.remove(sequence)
        self.running.append(sequence)
        sequence.cache = cache = CacheId(next(_CACHE_IDS))
        sequence.reserved_tokens = admission.tokens
        reserved = self._footprint.size_bytes(admission.tokens)
        match = admission.match
        if match is None:
            self.pool.open(cache, sequence.principal, reserved_bytes=reserved)
            return Start(cache)
        move = self.pool.take if admission.take else self.pool.copy
        move(match.cache, cache, match.keep, reserved_bytes=reserved)
        sequence.fed = sequence.cached = match.keep
        return Start(cache, match.cache, match.keep, admission.take)

    def _plan(self, starts: tuple[Start, ...]) -> Plan | None:
        drops, self._drops = tuple(self._drops), []
        feeds = tuple(feed for _, feed in self._feeds.values())
        if not drops and not feeds:
            return None
        self._step = next(self._steps)
        return Plan(self._step, drops, starts, feeds)

    def _apply(self, sequence: Sequence, feed: Feed, result: Fed | FeedFailed) -> Notice | None:
        if isinstance(result, FeedFailed):
            self.running.remove(sequence)
            self.pool.drop(result.cache)
            aborted = sequence.id in self._aborted
            return None if aborted else FailedNotice(sequence.id, result.reason)
        sequence.fed += len(feed.tokens)
        self.pool.grow(result.cache, feed.tokens, size_bytes=result.size_bytes, floor=result.floor)
        if sequence.id in self._aborted:
            self._leave(sequence)
            return None
        if result.token is None:
            return None
        return self._drawn(sequence, result.token)

    def _drawn(self, sequence: Sequence, token: int) -> Notice:
        self._check_truth(sequence)
        sequence.tokens.append(token)
        sequence.deaths = 0
        finish = sequence.finish_after(token, self._limits.context)
        if finish is not None:
            self._leave(sequence)
        return TokenNotice(sequence.id, token, finish)

    def _check_truth(self, sequence: Sequence) -> None:
        """Cached + fed == the tokens; all of them compared at the first draw, then counted."""
        held = self.pool[_cache(sequence)].tokens
        counted = len(held) == sequence.fed == len(sequence.tokens)
        if not counted or (not sequence.generated and held != sequence.tokens):
            raise TruthBroken(sequence.id, len(held), sequence.fed, len(sequence.tokens))

    def _leave(self, sequence: Sequence) -> None:
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


def _feed(sequence: Sequence, count: int) -> Feed:
    tokens: TokenIds = sequence.next_tokens(count)
    sampling = sequence.sampling if count == sequence.unfed else None
    return Feed(_cache(sequence), sequence.fed, tokens, sampling)

"""What the next step does: a pure function of the queue, the running sequences and the pool.

    View -> plan() -> Decision

Order of claims on memory: running sequences that need to grow, oldest first; then waiting ones,
first come first served. Idle caches are evicted to satisfy a claim, least recently used first. A
running sequence that cannot grow is *parked*: it keeps its cache and is left out of the step. While
anyone is parked nobody is admitted. If everyone is parked the youngest are *preempted*: their
caches are dropped and they wait at the head of the queue to be computed again. One that is alone
and still cannot grow is *exhausted*: the pool is its context, and it is full.

Suspects (they were running when an engine died) are admitted one at a time: the next when the last
has drawn a token. So the one that kills engines dies alone; who was there most often goes first.

Every sequence that is not parked makes progress in every step: decoding ones by a token, the
others by their share of the prefill budget.
"""

from collections.abc import Collection, Iterable
from functools import cached_property
from itertools import islice

import msgspec

from semantic_actors.domain.ids import CacheId, SequenceId
from semantic_actors.engine.protocol import Footprint
from semantic_actors.kv import Match, Pool
from semantic_actors.scheduling.sequence import Sequence

GROWTH_TOKENS = 256
"""Tokens by which a reservation is extended; caches grow in such steps."""

RESERVED_COMPLETION_TOKENS = 1024
"""Part of `max_tokens` that is reserved at admission; the rest is granted as it is needed."""


class View(msgspec.Struct, frozen=True):
    """What `plan` looks at; nothing in it is changed. `running` is oldest first."""

    waiting: Collection[Sequence]
    running: list[Sequence]
    pool: Pool
    footprint: Footprint
    context: int
    max_running: int
    prefill_tokens: int


class Grant(msgspec.Struct, frozen=True):
    """A running sequence may grow to `tokens` tokens."""

    sequence: SequenceId
    tokens: int


class Admission(msgspec.Struct, frozen=True):
    """A waiting sequence starts, on the first `match.keep` tokens of another cache if any."""

    sequence: SequenceId
    tokens: int
    match: Match | None = None
    take: bool = False


class Share(msgspec.Struct, frozen=True):
    """A sequence feeds its next `tokens` tokens in this step."""

    sequence: SequenceId
    tokens: int


class Decision(msgspec.Struct, frozen=True):
    """What to do, in this order; `parked` are left out."""

    evicted: tuple[CacheId, ...] = ()
    exhausted: tuple[SequenceId, ...] = ()
    preempted: tuple[SequenceId, ...] = ()
    granted: tuple[Grant, ...] = ()
    admitted: tuple[Admission, ...] = ()
    shares: tuple[Share, ...] = ()
    parked: tuple[SequenceId, ...] = ()


class _Ledger:
    """Scratch account of the pool while a plan is made."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.free = pool.free_bytes
        self.evicted: list[CacheId] = []
        self.taken: list[CacheId] = []

    @cached_property
    def idle(self) -> dict[CacheId, int]:
        """Bytes of the caches that may still be evicted; a step without claims never lists them."""
        return {entry.cache: entry.charged_bytes for entry in self._pool.idle()}

    def settle(self) -> None:
        """Evict what is idle while the pool is overdrawn: a cache may outgrow its reservation."""
        while self.free < 0 and self.idle:
            cache = next(iter(self.idle))
            self.free += self.idle.pop(cache)
            self.evicted.append(cache)

    def claim(self, need: int, *, keeping: CacheId | None = None) -> bool:
        """Set `need` bytes aside, evicting as far as necessary; on False nothing has changed."""
        free = self.free
        victims = []
        for cache, size in self.idle.items() if free < need else ():
            if free >= need:
                break
            if cache != keeping:
                victims.append(cache)
                free += size
        if free < need:
            return False
        for cache in victims:
            del self.idle[cache]
        self.evicted += victims
        self.free = free - need
        return True

    def claim_by_taking(self, need: int, source: CacheId) -> bool:
        """As `claim`, on top of an idle cache that is used up."""
        size = self.idle[source]
        if not self.claim(need - size, keeping=source):
            return False
        del self.idle[source]
        self.taken.append(source)
        return True


def plan(view: View) -> Decision:
    """Decide the next step."""
    ledger = _Ledger(view.pool)
    ledger.settle()
    growth = _grow(view, ledger)
    if growth.parked and len(growth.parked) == len(view.running):
        growth = _break_deadlock(view, ledger)
    stuck = growth.parked or growth.preempted or growth.exhausted
    admitted = [] if stuck else list(_admit(view, ledger))
    out = {*growth.parked, *growth.preempted, *growth.exhausted}
    unfed = {s.id: s.unfed for s in view.running if s.id not in out}
    for s, a in zip(view.waiting, admitted, strict=False):  # admissions are the queue's head
        unfed[s.id] = len(s.tokens) - (a.match.keep if a.match else 0)
    return msgspec.structs.replace(
        growth,
        evicted=tuple(ledger.evicted),
        admitted=tuple(admitted),
        shares=tuple(_shares(unfed, view.prefill_tokens)),
    )


def reservation(sequence: Sequence, pool: Pool, footprint: Footprint, context: int) -> int | None:
    """Tokens to reserve at admission; None if the sequence can never fit into the pool."""
    least = len(sequence.tokens) + 1
    remaining = sequence.max_tokens - sequence.generated
    usual = len(sequence.tokens) + min(remaining, RESERVED_COMPLETION_TOKENS)
    for tokens in (min(usual, context), least):
        if footprint.size_bytes(tokens) <= pool.budget_bytes:
            return tokens
    return None


def share_prefill(unfed: Iterable[int], budget: int) -> list[int]:
    """Divide `budget` tokens among prompts: equal shares, what one leaves goes to the others.

    Everyone gets at least one token, so no prompt stands still behind another.
    """
    wants = list(unfed)
    shares = [0] * len(wants)
    left = max(budget, len(wants))
    for position, index in enumerate(sorted(range(len(wants)), key=wants.__getitem__)):
        shares[index] = min(wants[index], left // (len(wants) - position))
        left -= shares[index]
    return shares


def _grow(view: View, ledger: _Ledger) -> Decision:
    granted: list[Grant] = []
    parked: list[SequenceId] = []
    for sequence in view.running:
        if len(sequence.tokens) <= sequence.reserved_tokens:
            continue
        grant = _growth(sequence, view, ledger)
        if grant is None:
            parked.append(sequence.id)
        else:
            granted.append(grant)
    return Decision(granted=tuple(granted), parked=tuple(parked))


def _growth(sequence: Sequence, view: View, ledger: _Ledger) -> Grant | None:
    size = view.footprint.size_bytes
    wanted = min(len(sequence.tokens) + GROWTH_TOKENS, view.context)
    for tokens in (wanted, len(sequence.tokens)):
        if ledger.claim(size(tokens) - size(sequence.reserved_tokens)):
            return Grant(sequence.id, tokens)
    return None


def _break_deadlock(view: View, ledger: _Ledger) -> Decision:
    """Recompute the youngest later, as many as the oldest needs to grow."""
    oldest, *younger = view.running
    preempted: list[SequenceId] = []
    grant = None
    while grant is None and younger:
        victim = younger.pop()
        assert victim.cache is not None
        ledger.free += view.pool[victim.cache].charged_bytes
        preempted.append(victim.id)
        grant = _growth(oldest, view, ledger)
    return Decision(
        granted=() if grant is None else (grant,),
        exhausted=() if grant is not None else (oldest.id,),
        preempted=tuple(preempted),
        parked=tuple(sequence.id for sequence in younger),
    )


def _admit(view: View, ledger: _Ledger) -> Iterable[Admission]:
    room = view.max_running - len(view.running)
    suspected = any(sequence.deaths for sequence in view.running)
    for sequence in islice(view.waiting, max(room, 0)):
        if sequence.deaths and suspected:
            return
        admission = _admission(sequence, view, ledger)
        if admission is None:
            return
        suspected = suspected or sequence.deaths > 0
        yield admission


def _admission(sequence: Sequence, view: View, ledger: _Ledger) -> Admission | None:
    tokens = reservation(sequence, view.pool, view.footprint, view.context)
    assert tokens is not None, "refused at submission"
    need = view.footprint.size_bytes(tokens)
    gone = frozenset((*ledger.evicted, *ledger.taken))
    match = view.pool.match(sequence.principal, sequence.tokens, without=gone)
    if match is None:
        return Admission(sequence.id, tokens) if ledger.claim(need) else None
    takeable = match.cache in ledger.idle  # it is not if another admission copies it
    if not (takeable and match.whole) and ledger.claim(need, keeping=match.cache):
        ledger.idle.pop(match.cache, None)
        return Admission(sequence.id, tokens, match)
    if takeable and ledger.claim_by_taking(need, match.cache):
        return Admission(sequence.id, tokens, match, take=True)
    return None


def _shares(unfed: dict[SequenceId, int], budget: int) -> Iterable[Share]:
    prefilling = {id_: count for id_, count in unfed.items() if count > 1}
    yield from (Share(id_, 1) for id_, count in unfed.items() if count == 1)
    yield from map(Share, prefilling, share_prefill(prefilling.values(), budget))

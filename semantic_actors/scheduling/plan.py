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

What the store has of a sequence and no cache has is restored before it is fed (`restoring`); who is
being looked up is passed by those behind, too.

A waiting sequence whose prefix is being computed right now follows the one that does (`sharing`):
it stays in the queue, and is passed by those behind it.

Every sequence that is not parked makes progress in every step: decoding ones by a token, the
others by their share of the prefill budget (`pace`).
"""

from collections.abc import Collection, Iterable
from functools import cached_property

import msgspec

from semantic_actors.domain.ids import CacheId, SequenceId
from semantic_actors.engine.protocol import Footprint
from semantic_actors.kv import Match, Pool
from semantic_actors.scheduling.admission import reservation
from semantic_actors.scheduling.ledger import Ledger
from semantic_actors.scheduling.pace import Pace, share_prefill
from semantic_actors.scheduling.sequence import Following, Sequence
from semantic_actors.scheduling.sharing import Leaders

GROWTH_TOKENS = 256
"""Tokens by which a reservation is extended; caches grow in such steps."""

LEAST_RESTORED = 32
"""Fewer tokens are computed sooner than they are asked for."""

LOOKS = 8
"""Prompts compared with the caches per plan, a millisecond each if they are long. The event loop
waits meanwhile; whoever comes next is looked at in the next step."""


class View(msgspec.Struct, frozen=True):
    """What `plan` looks at; nothing in it is changed.

    `running` are those that can be fed, oldest first; `room` is how many more may run. `settled`
    says that no step is under way, so that no memory is about to be given back.
    """

    waiting: Collection[Sequence]
    running: list[Sequence]
    room: int
    settled: bool
    pool: Pool
    footprint: Footprint
    context: int
    pace: Pace


class Grant(msgspec.Struct, frozen=True):
    """A running sequence may grow to `tokens` tokens."""

    sequence: SequenceId
    tokens: int


class Admission(msgspec.Struct, frozen=True):
    """A waiting sequence starts, on the first `match.keep` tokens of another cache if any.

    Its tokens up to `restored` come from the store, if that is not 0.
    """

    sequence: SequenceId
    tokens: int
    match: Match | None = None
    take: bool = False
    restored: int = 0


class Follower(msgspec.Struct, frozen=True):
    """A waiting sequence follows another from now on."""

    sequence: SequenceId
    following: Following


class Share(msgspec.Struct, frozen=True):
    """A sequence feeds its next `tokens` tokens in this step."""

    sequence: SequenceId
    tokens: int


class Decision(msgspec.Struct, frozen=True):
    """What to do, in this order; `parked` are left out. `following` counts all who do."""

    evicted: tuple[CacheId, ...] = ()
    exhausted: tuple[SequenceId, ...] = ()
    preempted: tuple[SequenceId, ...] = ()
    granted: tuple[Grant, ...] = ()
    admitted: tuple[Admission, ...] = ()
    followers: tuple[Follower, ...] = ()
    shares: tuple[Share, ...] = ()
    parked: tuple[SequenceId, ...] = ()
    following: int = 0


def plan(view: View) -> Decision:
    """Decide the next step."""
    ledger = Ledger(view.pool)
    ledger.settle()
    growth = _grow(view, ledger)
    if view.settled and growth.parked and len(growth.parked) == len(view.running):
        growth = _break_deadlock(view, ledger)
    stuck = growth.parked or growth.preempted or growth.exhausted
    queue = _Queue(view, ledger)
    if view.room > 0 and not stuck:
        queue.serve(view.room)
    out = {*growth.parked, *growth.preempted, *growth.exhausted}
    moving = [(one, one.planned) for one in view.running if one.id not in out and one.moving]
    return msgspec.structs.replace(
        growth,
        evicted=tuple(ledger.evicted),
        admitted=tuple(queue.admitted),
        followers=tuple(queue.followers),
        shares=tuple(_shares([*moving, *queue.moving], view.pace)),
        following=queue.following,
    )


def _grow(view: View, ledger: Ledger) -> Decision:
    granted: list[Grant] = []
    parked: list[SequenceId] = []
    for sequence in view.running:
        if sequence.length <= sequence.reserved_tokens:
            continue
        grant = _growth(sequence, view, ledger)
        if grant is None:
            parked.append(sequence.id)
        else:
            granted.append(grant)
    return Decision(granted=tuple(granted), parked=tuple(parked))


def _growth(sequence: Sequence, view: View, ledger: Ledger) -> Grant | None:
    assert sequence.cache is not None
    before = view.pool[sequence.cache].before
    reserved = view.footprint.size_bytes(sequence.reserved_tokens - before)
    wanted = min(sequence.length + GROWTH_TOKENS, view.context)
    for tokens in (wanted, sequence.length):
        if ledger.claim(view.footprint.size_bytes(tokens - before) - reserved):
            return Grant(sequence.id, tokens)
    return None


def _break_deadlock(view: View, ledger: Ledger) -> Decision:
    """Recompute the youngest later, as many as the oldest needs to grow."""
    oldest, *younger = view.running
    preempted: list[SequenceId] = []
    grant = None
    while grant is None and younger:
        victim = younger.pop()
        assert victim.cache is not None
        ledger.free += view.pool.freed_bytes(victim.cache)
        preempted.append(victim.id)
        grant = _growth(oldest, view, ledger)
    return Decision(
        granted=() if grant is None else (grant,),
        exhausted=() if grant is not None else (oldest.id,),
        preempted=tuple(preempted),
        parked=tuple(sequence.id for sequence in younger),
    )


class _Queue:
    """Admits from the queue, first come first served, as far as there is room and memory."""

    def __init__(self, view: View, ledger: Ledger) -> None:
        self._view = view
        self._ledger = ledger
        self.admitted: list[Admission] = []
        self.followers: list[Follower] = []
        self.following = 0
        self.moving: list[tuple[Sequence, int]] = []

    @cached_property
    def _leaders(self) -> Leaders:
        return Leaders(self._view.running, self._view.footprint.cut_limit)

    def serve(self, room: int) -> None:
        """Admit up to `room`, until someone must wait whom nobody may pass."""
        suspected = any(sequence.deaths for sequence in self._view.running)
        for sequence in self._view.waiting:
            if len(self.admitted) == room or (sequence.deaths and suspected):
                return
            if sequence.stored is None:
                continue
            if self._leaders.keep(sequence):
                self.following += 1
                continue
            if len(self.admitted) + len(self.followers) == LOOKS or not self._start(sequence):
                return
            begun = [one.sequence for one in self.admitted[-1:]]
            suspected = suspected or (sequence.deaths > 0 and sequence.id in begun)

    def _start(self, sequence: Sequence) -> bool:
        """Admit a sequence, or have it follow another; False if there is no memory for it."""
        view, ledger = self._view, self._ledger
        tokens = reservation(sequence, view.pool, view.footprint, view.context)
        assert tokens is not None, "refused at submission"
        gone = frozenset((*ledger.evicted, *ledger.taken))
        match = view.pool.match(sequence.principal, sequence.tokens, without=gone)
        found = match.keep if match else 0
        following = self._leaders.find(sequence, found)
        if following is not None:
            self.followers.append(Follower(sequence.id, following))
            self.following += 1
            return True
        source = _claim(view, tokens, match, ledger)
        if source is None:
            return False
        match, take = source
        found = match.keep if match else 0
        restored = _restored(sequence, found)
        self.admitted.append(Admission(sequence.id, tokens, match, take, restored))
        if not restored:
            self.moving.append((sequence, found))
        self._leaders.add(sequence, found)
        return True


def _restored(sequence: Sequence, found: int) -> int:
    """Tokens up to which it is worth while to ask the store, if `found` are in a cache."""
    stored = min(sequence.stored or 0, len(sequence.tokens) - 1)
    return stored if stored - found >= LEAST_RESTORED else 0


def _claim(
    view: View, tokens: int, match: Match | None, ledger: Ledger
) -> tuple[Match | None, bool] | None:
    """Set aside what so many tokens need, on what was found of them, or on nothing.

    Returns the match that is used, if any, and whether its cache is used up; None if there is no
    memory.
    """
    size, pool = view.footprint.size_bytes, view.pool
    if match is not None:
        takeable = match.cache in ledger.idle  # it is not if another admission copies it
        kept = pool.behind(match.cache, match.keep, fork=False)
        if takeable and match.whole and ledger.claim_by_taking(size(tokens - kept), match.cache):
            return match, True
        fork = size(tokens - pool.behind(match.cache, match.keep, fork=True))
        if ledger.claim(fork, keeping=match.cache):
            ledger.idle.pop(match.cache, None)
            return match, False
        if takeable and ledger.claim_by_taking(size(tokens - kept), match.cache):
            return match, True
    return (None, False) if ledger.claim(size(tokens)) else None


def _shares(moving: list[tuple[Sequence, int]], pace: Pace) -> Iterable[Share]:
    """One token for whoever decodes, a part of the budget for the others.

    `moving` are pairs of a sequence and the tokens that it has or is being fed.
    """
    wants = [(one.id, one.length - fed, fed) for one, fed in moving]
    yield from (Share(id_, 1) for id_, want, _ in wants if want == 1)
    prompts = [(id_, want, fed) for id_, want, fed in wants if want > 1]
    if not prompts:
        return
    depth = sum(fed for _, _, fed in prompts) / len(prompts)
    budget = pace.budget(len(wants) - len(prompts), depth)
    shares = share_prefill((want for _, want, _ in prompts), budget)
    for (id_, _, _), share in zip(prompts, shares, strict=True):
        yield Share(id_, share)

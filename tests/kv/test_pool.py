"""Laws of the pool, as a state machine against a plain model of it."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from semantic_actors.domain.ids import LOCAL, CacheId, Principal
from semantic_actors.kv import Pool, pool

OTHER = Principal("other")
tokens = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)
sizes = st.integers(0, 500)


class PoolMachine(RuleBasedStateMachine):
    """Caches are opened, copied, frozen, taken, grown, released and dropped in any order."""

    pinned = Bundle("pinned")
    idle = Bundle("idle")

    def __init__(self) -> None:
        super().__init__()
        self.usual = pool.LEAST_SHARED, pool.MOST_SPANS
        vars(pool).update(LEAST_SHARED=2, MOST_SPANS=3)
        self.pool = Pool(2_000, share=True)
        self.ids = itertools.count(1)
        self.held: dict[CacheId, tuple[int, ...]] = {}

    def teardown(self) -> None:
        """Give the bounds back."""
        least, most = self.usual
        vars(pool).update(LEAST_SHARED=least, MOST_SPANS=most)

    @rule(target=pinned, reserved=sizes, principal=st.sampled_from([LOCAL, OTHER]))
    def open(self, reserved: int, principal: Principal) -> CacheId:
        """Add an empty cache."""
        cache = CacheId(next(self.ids))
        self.pool.open(cache, principal, reserved_bytes=reserved)
        self.held[cache] = ()
        return cache

    @rule(cache=pinned, more=tokens, size=sizes)
    def grow(self, cache: CacheId, more: tuple[int, ...], size: int) -> None:
        """Feed a cache."""
        self.pool.grow(cache, more, size_bytes=size, floor=0)
        self.held[cache] += more

    @rule(cache=pinned, reserved=sizes)
    def reserve(self, cache: CacheId, reserved: int) -> None:
        """Change a reservation."""
        self.pool.reserve(cache, reserved)

    @rule(target=idle, cache=consumes(pinned))
    def release(self, cache: CacheId) -> CacheId:
        """Let a cache go idle."""
        self.pool.release(cache)
        return cache

    @rule(target=pinned, source=idle, reserved=sizes, data=st.data())
    def copy(self, source: CacheId, reserved: int, data: st.DataObject) -> CacheId:
        """Fork a cache at any of its tokens."""
        keep = data.draw(st.integers(0, len(self.held[source])))
        cache = CacheId(next(self.ids))
        promised = self.pool.behind(source, keep, fork=True)
        if self.pool.freezes(source, keep):
            self.pool.freeze(source, len(self.held[source]))
        behind = self.pool.behind(source, keep, fork=False)
        assert promised == behind
        self.pool.copy(source, cache, keep, behind=behind, reserved_bytes=reserved)
        self.held[cache] = self.held[source][:keep]
        assert self.pool[cache].before == behind
        return cache

    @rule(target=pinned, source=consumes(idle), reserved=sizes)
    def take(self, source: CacheId, reserved: int) -> CacheId:
        """Run on an idle cache again."""
        cache = CacheId(next(self.ids))
        keep = len(self.held[source])
        behind = self.pool.behind(source, keep, fork=False)
        self.pool.take(source, cache, keep, behind=behind, reserved_bytes=reserved)
        self.held[cache] = self.held.pop(source)
        return cache

    @rule(target=idle, cache=consumes(idle))
    def drop(self, cache: CacheId) -> object:
        """Evict."""
        freed = self.pool.freed_bytes(cache)
        before = self.pool.used_bytes
        self.pool.drop(cache)
        assert before - self.pool.used_bytes == freed
        del self.held[cache]
        return multiple()

    @rule()
    def shrink(self) -> None:
        """Shrink what nobody has much of; whoever is named has it there."""
        for cache, place, rows in self.pool.shrink():
            span = self.pool[cache].spans[place]
            assert max(span.users.values()) == span.rows == rows

    @rule(wanted=tokens, principal=st.sampled_from([LOCAL, OTHER]))
    def match(self, wanted: tuple[int, ...], principal: Principal) -> None:
        """A match is the longest prefix the principal has, less the token that must be fed."""
        match = self.pool.match(principal, wanted)

        best = 0
        for cache, held in self.held.items():
            if self.pool[cache].principal == principal:
                shared = [a == b for a, b in zip(held, wanted, strict=False)]
                shared.append(False)
                best = max(best, min(shared.index(False), len(wanted) - 1))
        assert best == (match.keep if match else 0)
        if match:
            assert self.held[match.cache][: match.keep] == wanted[: match.keep]

    @invariant()
    def books_add_up(self) -> None:
        """The production check holds and the tokens are those of the model."""
        self.pool.check_integrity()
        for cache, held in self.held.items():
            entry = self.pool[cache]
            assert list(held) == entry.tokens
            assert entry.before <= len(held)


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPool = PoolMachine.TestCase


def test_a_cache_that_cannot_be_cut_is_matched_whole_or_not_at_all() -> None:
    """A recurrent cache of four tokens serves a prompt that goes on from all four, no other."""
    pool = Pool(1_000)
    pool.open(CacheId(1), LOCAL, reserved_bytes=0)
    pool.grow(CacheId(1), (1, 2, 3, 4), size_bytes=10, floor=4)
    pool.release(CacheId(1))

    assert pool.match(LOCAL, (1, 2, 3, 9)) is None
    assert pool.match(LOCAL, (1, 2, 3, 4)) is None
    match = pool.match(LOCAL, (1, 2, 3, 4, 5))
    assert match is not None
    assert (match.keep, match.whole) == (4, True)


def test_a_path_has_few_spans_behind_it() -> None:
    """Where forks follow each other, the short ones are copied together."""
    chain = Pool(1 << 40, share=True)
    chain.open(CacheId(1), LOCAL, reserved_bytes=0)
    lengths = []
    for id_ in range(1, 60):
        chain.grow(
            CacheId(id_), (id_,) * 300, size_bytes=10, floor=0, frozen=chain[CacheId(id_)].before
        )
        keep = len(chain[CacheId(id_)].tokens)
        chain.freeze(CacheId(id_), keep)
        behind = chain.behind(CacheId(id_), keep, fork=False)
        chain.copy(CacheId(id_), CacheId(id_ + 1), keep, behind=behind, reserved_bytes=0)
        lengths.append(len(chain[CacheId(id_ + 1)].spans))

    assert max(lengths) <= pool.MOST_SPANS


def test_idle_caches_are_listed_least_recently_used_first() -> None:
    """Eviction order is the order of release."""
    pool = Pool(1_000)
    for id_ in (1, 2, 3):
        pool.open(CacheId(id_), LOCAL, reserved_bytes=0)
        pool.grow(CacheId(id_), (id_,), size_bytes=1, floor=0)
    for id_ in (2, 3, 1):
        pool.release(CacheId(id_))

    assert [entry.cache for entry in pool.idle()] == [2, 3, 1]

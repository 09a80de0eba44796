"""The caches of running sequences: how they are opened, grown, shared, kept and given back.

Keeps the pool's books in step with what the engine is told. State: the pool, what is kept of it,
and the caches to be dropped with the next step. Owner: the batch.
"""

import itertools
from collections.abc import Iterable

from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.engine.protocol import Fed, Footprint, Shrink, Start
from semantic_actors.kv import Match, Pool
from semantic_actors.scheduling.keeping import Keeping
from semantic_actors.scheduling.plan import Admission
from semantic_actors.scheduling.sequence import Sequence

_CACHE_IDS = itertools.count(1)


class Housing:
    """See the module."""

    def __init__(self, pool: Pool, keeping: Keeping, footprint: Footprint) -> None:
        self.pool = pool
        self.keeping = keeping
        self._footprint = footprint
        self._drops: list[CacheId] = []

    def open(self, sequence: Sequence, admission: Admission, running: Iterable[Sequence]) -> Start:
        """Give a sequence its cache, on what was found of it; `running` may be forked from."""
        match, cache = admission.match, CacheId(next(_CACHE_IDS))
        sequence.restart(cache, match.keep if match else 0)
        sequence.reserved_tokens = admission.tokens
        start = Start(cache, room=len(sequence.tokens))
        if match is None:
            self.pool.open(cache, sequence.principal, reserved_bytes=0)
        else:
            start = self._continued(start, match, running, take=admission.take)
        self.pool[cache].session = sequence.session
        self.reserve(sequence)
        return start

    def reserve(self, sequence: Sequence) -> None:
        """Set aside what the tail of a running sequence may grow to."""
        tokens = max(0, sequence.reserved_tokens - self.pool[cache_of(sequence)].before)
        self.pool.reserve(cache_of(sequence), self._footprint.size_bytes(tokens))

    def grow(self, result: Fed, tokens: TokenIds) -> None:
        """Record what a cache is after tokens were appended to it."""
        self.pool.grow(
            result.cache,
            tokens,
            size_bytes=result.size_bytes,
            floor=result.floor,
            frozen=result.frozen,
        )

    def look_ahead(self, fed: Iterable[Sequence]) -> None:
        """Let nobody copy a cache that can no longer be cut to what is known to be in it."""
        for sequence in fed:
            if sequence.planned >= self._footprint.cut_limit:
                self.pool.raise_floor(cache_of(sequence), sequence.planned)

    def leave(self, sequence: Sequence) -> None:
        """Leave a cache for reuse, and what it holds to the store, if it is of any use."""
        cache = cache_of(sequence)
        if not sequence.keep or not self.pool[cache].tokens:
            self.drop(cache)
            return
        self.pool.release(cache)
        self.keeping.ended(cache)

    def drop(self, *caches: CacheId) -> None:
        """Free caches, with the next step."""
        for cache in caches:
            self.keeping.forget(cache)
            self.pool.drop(cache)
            self._drops.append(cache)

    def take_drops(self) -> tuple[CacheId, ...]:
        """Return what the next step is to drop."""
        drops, self._drops = tuple(self._drops), []
        return drops

    def shrinks(self) -> tuple[Shrink, ...]:
        """Return what the next step is to shrink, now that others have left it."""
        return tuple(Shrink(*one) for one in self.pool.shrink())

    def check_integrity(self, running: Iterable[Sequence]) -> None:
        """Raise `AssertionError` where the books do not add up."""
        self.pool.check_integrity()
        pinned = set()
        for sequence in running:
            entry = self.pool[cache_of(sequence)]
            assert entry.pinned
            assert entry.tokens == sequence.tokens[: sequence.fed]
            pinned.add(entry.cache)
        assert len(self.pool) - len(list(self.pool.idle())) == len(pinned)

    def _continued(
        self, start: Start, match: Match, running: Iterable[Sequence], *, take: bool
    ) -> Start:
        """Open a cache on what another one holds, which is moved or forked."""
        freeze = not take and self._freeze(match, running)
        behind = self.pool.behind(match.cache, match.keep, fork=False)
        if take:
            self.keeping.forget(match.cache, lost=False)
        move = self.pool.take if take else self.pool.copy
        move(match.cache, start.cache, match.keep, behind=behind, reserved_bytes=0)
        return Start(
            start.cache, match.cache, match.keep, take, start.room, freeze=freeze, behind=behind
        )

    def _freeze(self, match: Match, running: Iterable[Sequence]) -> bool:
        """Freeze the tail of a cache that is forked, if that is worth it."""
        if not self.pool.freezes(match.cache, match.keep):
            return False
        owner = next((one for one in running if one.cache == match.cache), None)
        length = owner.planned if owner else len(self.pool[match.cache].tokens)
        self.pool.freeze(match.cache, length)
        if owner is not None:
            self.reserve(owner)
        return True


def cache_of(sequence: Sequence) -> CacheId:
    """Return the cache of a running sequence."""
    assert sequence.cache is not None, sequence.id
    return sequence.cache

"""The scratch account of the pool while a plan is made."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property

from semantic_actors.domain.ids import CacheId
from semantic_actors.kv import Entry, Pool
from semantic_actors.kv.pool import Span


class Ledger:
    """What is free, and what is evicted or taken to set more aside; the pool is not changed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._left: Counter[Span] = Counter()
        self.free = pool.free_bytes
        self.evicted: list[CacheId] = []
        self.taken: list[CacheId] = []

    @cached_property
    def idle(self) -> dict[CacheId, Entry]:
        """Caches that may still be evicted; a step without claims never lists them."""
        return {entry.cache: entry for entry in self._pool.idle()}

    def affords(self, need: int) -> bool:
        """Whether `need` bytes can be set aside, were every idle cache evicted for it."""
        if need <= self.free:
            return True
        return need <= self.free + sum(_freed(self.idle.values(), Counter(self._left)))

    def settle(self) -> None:
        """Evict what is idle while the pool is overdrawn: a cache may outgrow its reservation."""
        while self.free < 0 and self.idle:
            self._evict([next(iter(self.idle))])

    def claim(self, need: int, *, keeping: CacheId | None = None) -> bool:
        """Set `need` bytes aside, evicting as far as necessary; on False nothing has changed."""
        victims: list[CacheId] = []
        if self.free < need:
            free = self.free
            able = [entry for entry in self.idle.values() if entry.cache != keeping]
            for entry, freed in zip(able, _freed(able, Counter(self._left)), strict=True):
                if free >= need:
                    break
                victims.append(entry.cache)
                free += freed
            if free < need:
                return False
        self._evict(victims)
        self.free -= need
        return True

    def claim_by_taking(self, need: int, source: CacheId) -> bool:
        """As `claim`, on top of the tail of an idle cache, which is used up."""
        if not self.claim(need - self.idle[source].charged_bytes, keeping=source):
            return False
        del self.idle[source]
        self.taken.append(source)
        return True

    def _evict(self, victims: list[CacheId]) -> None:
        self.free += sum(_freed([self.idle.pop(victim) for victim in victims], self._left))
        self.evicted += victims


def _freed(entries: Iterable[Entry], left: Counter[Span]) -> Iterator[int]:
    """Bytes that become free with each cache; `left` counts how many have left each span."""
    for entry in entries:
        freed = entry.charged_bytes
        for span in entry.spans:
            left[span] += 1
            if left[span] == len(span.users):
                freed += span.size_bytes
        yield freed

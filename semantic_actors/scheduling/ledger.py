"""The scratch account of the pool while a plan is made."""

from functools import cached_property

from semantic_actors.domain.ids import CacheId
from semantic_actors.kv import Pool


class Ledger:
    """What is free, and what is evicted or taken to set more aside; the pool is not changed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.free = pool.free_bytes
        self.evicted: list[CacheId] = []
        self.taken: list[CacheId] = []

    @cached_property
    def idle(self) -> dict[CacheId, int]:
        """Bytes of the caches that may still be evicted; a step without claims never lists them."""
        return {entry.cache: entry.charged_bytes for entry in self._pool.idle()}

    def affords(self, need: int) -> bool:
        """Whether `need` bytes can be set aside, were every idle cache evicted for it."""
        return need <= self.free or need <= self.free + sum(self.idle.values())

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

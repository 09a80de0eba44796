"""The pool: a budget in bytes, and every KV cache that is charged to it.

A cache is *pinned* while a sequence runs on it and *idle* afterwards; idle ones are kept for reuse
and evicted least recently used first. A pinned cache is charged what was reserved for it or what
it occupies, whichever is more; an idle one what it occupies.

State: the table of entries, in order of last use. Owner: the scheduler actor. The pool knows
nothing of tensors or sequences; queries do not change it, commands do what they are told.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from semantic_actors.domain.ids import CacheId, Principal, TokenIds
from semantic_actors.kv.prefix import common_prefix


@dataclass(slots=True)
class Entry:
    """One cache. `floor` is the shortest prefix it can be cut back to.

    The first `saved` of its tokens are in the store, or on their way there.
    """

    cache: CacheId
    principal: Principal
    tokens: list[int]
    floor: int = 0
    size_bytes: int = 0
    reserved_bytes: int = 0
    pinned: bool = False
    saved: int = 0

    @property
    def charged_bytes(self) -> int:
        """What the pool counts for this cache."""
        return max(self.size_bytes, self.reserved_bytes) if self.pinned else self.size_bytes


class Match(msgspec.Struct, frozen=True):
    """The first `keep` tokens of a prompt are in `cache`; `idle` says nobody runs on it.

    `whole` says that nothing of the cache lies beyond them, so that taking it loses nothing.
    """

    cache: CacheId
    keep: int
    idle: bool
    whole: bool


class Pool:
    """All caches of the engine and their charge against `budget_bytes`."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._entries: dict[CacheId, Entry] = {}

    # Queries

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, cache: CacheId) -> bool:
        return cache in self._entries

    def __getitem__(self, cache: CacheId) -> Entry:
        return self._entries[cache]

    @property
    def free_bytes(self) -> int:
        """Budget not charged; negative when a cache outgrew its reservation."""
        return self.budget_bytes - self.used_bytes

    @property
    def pinned_bytes(self) -> int:
        """Charge of the caches that sequences run on: referenced and reserved."""
        return sum(entry.charged_bytes for entry in self._entries.values() if entry.pinned)

    def idle(self) -> Iterator[Entry]:
        """Caches that may be evicted, least recently used first."""
        return (entry for entry in self._entries.values() if not entry.pinned)

    def match(
        self, principal: Principal, tokens: Sequence[int], *, without: Container[CacheId] = ()
    ) -> Match | None:
        """Find the cache of `principal` that saves most of `tokens`; at least one stays to feed.

        Of equals, one that can be taken whole is preferred, then the most recently used.
        """
        best: Match | None = None
        for entry in self._entries.values():
            if entry.principal != principal or entry.cache in without:
                continue
            if best is not None and not _may_beat(best.keep, entry.tokens, tokens):
                continue
            keep = min(common_prefix(entry.tokens, tokens), len(tokens) - 1)
            if keep == 0 or keep < entry.floor:
                continue
            match = Match(entry.cache, keep, not entry.pinned, keep == len(entry.tokens))
            if best is None or _merit(match) >= _merit(best):
                best = match
        return best

    # Commands

    def open(self, cache: CacheId, principal: Principal, *, reserved_bytes: int) -> Entry:
        """Add an empty, pinned cache."""
        entry = Entry(cache, principal, [], reserved_bytes=reserved_bytes, pinned=True)
        self._entries[cache] = entry
        self.used_bytes += entry.charged_bytes
        return entry

    def copy(self, source: CacheId, cache: CacheId, keep: int, *, reserved_bytes: int) -> Entry:
        """Add a pinned cache holding the first `keep` tokens of `source`."""
        origin = self._entries[source]
        assert origin.floor <= keep <= len(origin.tokens), (origin.floor, keep)
        entry = self.open(cache, origin.principal, reserved_bytes=reserved_bytes)
        entry.tokens = origin.tokens[:keep]
        entry.saved = min(origin.saved, keep)
        return entry

    def take(self, source: CacheId, cache: CacheId, keep: int, *, reserved_bytes: int) -> Entry:
        """Turn the idle `source` into the pinned `cache`, cut back to `keep` tokens."""
        assert not self._entries[source].pinned, source
        entry = self.copy(source, cache, keep, reserved_bytes=reserved_bytes)
        self.drop(source)
        return entry

    def grow(self, cache: CacheId, tokens: TokenIds, *, size_bytes: int, floor: int) -> None:
        """Record that `tokens` were appended and what the cache occupies since."""
        entry = self._entries[cache]
        with _Recharge(self, entry):
            entry.tokens.extend(tokens)
            entry.size_bytes = size_bytes
            entry.floor = floor

    def raise_floor(self, cache: CacheId, floor: int) -> None:
        """Record that a step under way leaves the cache with this floor, beyond its tokens even."""
        self._entries[cache].floor = floor

    def reserve(self, cache: CacheId, reserved_bytes: int) -> None:
        """Change what is set aside for a pinned cache."""
        entry = self._entries[cache]
        with _Recharge(self, entry):
            entry.reserved_bytes = reserved_bytes

    def release(self, cache: CacheId) -> None:
        """Unpin: the cache stays for reuse as the most recently used."""
        entry = self._entries.pop(cache)
        self._entries[cache] = entry
        with _Recharge(self, entry):
            entry.pinned = False
            entry.reserved_bytes = 0

    def drop(self, cache: CacheId) -> None:
        """Forget a cache; the engine is told to free it by whoever calls this."""
        self.used_bytes -= self._entries.pop(cache).charged_bytes

    def check_integrity(self) -> None:
        """Raise `AssertionError` where the books do not add up."""
        charged = sum(entry.charged_bytes for entry in self._entries.values())
        assert charged == self.used_bytes, (charged, self.used_bytes)
        for entry in self._entries.values():
            assert entry.pinned or 0 <= entry.floor <= len(entry.tokens), entry.cache
            assert entry.pinned or entry.reserved_bytes == 0, entry.cache
            assert 0 <= entry.saved <= len(entry.tokens), entry.cache


def _may_beat(keep: int, held: Sequence[int], wanted: Sequence[int]) -> bool:
    """Look at one token: most caches share no more than what the best so far has."""
    return len(held) >= keep and (held[keep - 1] == wanted[keep - 1])


def _merit(match: Match) -> tuple[int, bool]:
    return match.keep, match.idle and match.whole


class _Recharge:
    """Keeps `used_bytes` true across a change of one entry."""

    def __init__(self, pool: Pool, entry: Entry) -> None:
        self._pool = pool
        self._entry = entry

    def __enter__(self) -> None:
        self._pool.used_bytes -= self._entry.charged_bytes

    def __exit__(self, *_: object) -> None:
        self._pool.used_bytes += self._entry.charged_bytes

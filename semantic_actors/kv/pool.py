"""The pool: a budget in bytes, and every KV cache that is charged to it.

A cache is *pinned* while a sequence runs on it and *idle* afterwards; idle ones are kept for reuse
and evicted least recently used first. A pinned cache is charged what was reserved for it or what
it occupies, whichever is more; an idle one what it occupies.

What a cache held when another was forked from it is *frozen*: a span, which both have behind them
and which is charged once, as long as anybody has it. A cache is charged for its tail only.

State: the table of entries, in order of last use. Owner: the scheduler actor. The pool knows
nothing of tensors or sequences; queries do not change it, commands do what they are told.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from semantic_actors.domain.ids import CacheId, Principal, TokenIds
from semantic_actors.kv.prefix import common_prefix

LEAST_SHARED: Final = 256
"""Tokens from which on a tail is frozen for who is forked from it; fewer are copied."""


@dataclass(slots=True, eq=False)
class Span:
    """Frozen tokens, which `users` caches have behind them."""

    size_bytes: int
    users: int = 1


@dataclass(slots=True)
class Entry:
    """One cache. `floor` is the shortest prefix it can be cut back to.

    The first `saved` of its tokens are in the store, or on their way there. `spans` are what it has
    behind it, with the number of tokens of each; `size_bytes` is that of its tail.
    """

    cache: CacheId
    principal: Principal
    tokens: list[int]
    floor: int = 0
    size_bytes: int = 0
    reserved_bytes: int = 0
    pinned: bool = False
    saved: int = 0
    spans: tuple[tuple[Span, int], ...] = ()

    @property
    def before(self) -> int:
        """Tokens in spans."""
        return sum(rows for _, rows in self.spans)

    @property
    def charged_bytes(self) -> int:
        """What the pool counts for its tail."""
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
    """All caches of the engine and their charge against `budget_bytes`.

    With `share` forks have spans behind them; else all is copied.
    """

    def __init__(self, budget_bytes: int, *, share: bool = False) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._share = share
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
        pinned = [entry for entry in self._entries.values() if entry.pinned]
        spans = {span for entry in pinned for span, _ in entry.spans}
        charged = sum(entry.charged_bytes for entry in pinned)
        return charged + sum(span.size_bytes for span in spans)

    @property
    def span_bytes(self) -> int:
        """Charge of all spans."""
        spans = {span for entry in self._entries.values() for span, _ in entry.spans}
        return sum(span.size_bytes for span in spans)

    def freed_bytes(self, cache: CacheId) -> int:
        """Charge that ends when this cache is dropped now."""
        entry = self._entries[cache]
        alone = sum(span.size_bytes for span, _ in entry.spans if span.users == 1)
        return entry.charged_bytes + alone

    def freezes(self, source: CacheId, keep: int) -> bool:
        """Whether the tail of `source` is frozen for a fork of its first `keep` tokens."""
        return self._share and keep - self._entries[source].before >= LEAST_SHARED

    def shared_by(self, source: CacheId, keep: int) -> int:
        """Tokens that a fork of the first `keep` of `source` is not charged for."""
        return keep if self.freezes(source, keep) else min(keep, self._entries[source].before)

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

    def freeze(self, cache: CacheId, length: int) -> None:
        """Turn the tail of a cache of `length` tokens into a span; nothing is reserved then."""
        entry = self._entries[cache]
        assert self._share, cache
        span = Span(entry.size_bytes)
        with _Recharge(self, entry):
            entry.spans = (*entry.spans, (span, length - entry.before))
            entry.size_bytes = entry.reserved_bytes = 0
        self.used_bytes += span.size_bytes

    def copy(self, source: CacheId, cache: CacheId, keep: int, *, reserved_bytes: int) -> Entry:
        """Add a pinned cache holding the first `keep` tokens of `source`."""
        origin = self._entries[source]
        assert origin.floor <= keep <= len(origin.tokens), (origin.floor, keep)
        entry = self.open(cache, origin.principal, reserved_bytes=reserved_bytes)
        entry.tokens = origin.tokens[:keep]
        entry.saved = min(origin.saved, keep)
        entry.spans = tuple(_cut(origin.spans, keep))
        for span, _ in entry.spans:
            span.users += 1
        return entry

    def take(self, source: CacheId, cache: CacheId, keep: int, *, reserved_bytes: int) -> Entry:
        """Turn the idle `source` into the pinned `cache`, cut back to `keep` tokens."""
        assert not self._entries[source].pinned, source
        entry = self.copy(source, cache, keep, reserved_bytes=reserved_bytes)
        self.drop(source)
        return entry

    def grow(
        self, cache: CacheId, tokens: TokenIds, *, size_bytes: int, floor: int, frozen: int = 0
    ) -> None:
        """Record that `tokens` were appended and what the tail occupies since.

        It was that behind `frozen` tokens: the size means nothing if more are frozen by now.
        """
        entry = self._entries[cache]
        with _Recharge(self, entry):
            entry.tokens.extend(tokens)
            entry.floor = floor
            if frozen == entry.before:
                entry.size_bytes = size_bytes

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
        self.used_bytes -= self.freed_bytes(cache)
        for span, _ in self._entries.pop(cache).spans:
            span.users -= 1

    def check_integrity(self) -> None:
        """Raise `AssertionError` where the books do not add up."""
        charged = sum(entry.charged_bytes for entry in self._entries.values())
        users = Counter(span for entry in self._entries.values() for span, _ in entry.spans)
        charged += sum(span.size_bytes for span in users)
        assert charged == self.used_bytes, (charged, self.used_bytes)
        assert all(span.users == count for span, count in users.items()), users
        for entry in self._entries.values():
            assert entry.pinned or 0 <= entry.floor <= len(entry.tokens), entry.cache
            assert entry.pinned or entry.reserved_bytes == 0, entry.cache
            assert 0 <= entry.saved <= len(entry.tokens), entry.cache


def _cut(spans: Iterable[tuple[Span, int]], keep: int) -> Iterator[tuple[Span, int]]:
    for span, rows in spans:
        if keep <= 0:
            return
        yield span, min(rows, keep)
        keep -= rows


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

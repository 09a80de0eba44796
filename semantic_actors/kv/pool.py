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

from semantic_actors.domain.ids import CacheId, Principal, SessionId, TokenIds
from semantic_actors.kv.prefix import common_prefix

LEAST_SHARED: Final = 256
"""Tokens from which on a tail is frozen for who is forked from it; fewer are copied."""


MOST_SPANS: Final = 8
"""Behind one cache; what is over is copied to its tail, the shortest of them. Each is a call."""


@dataclass(slots=True, eq=False)
class Span:
    """Frozen tokens, and the caches that have some of them behind: how many each."""

    rows: int
    size_bytes: int
    users: dict[CacheId, int]


@dataclass(slots=True)
class Entry:
    """One cache. `floor` is the shortest prefix it can be cut back to.

    The first `saved` of its tokens are in the store, or on their way there. `spans` are what it has
    behind it; `size_bytes` is that of its tail. `session` is who ran on it last; others of the
    principal may take it all the same.
    """

    cache: CacheId
    principal: Principal
    tokens: list[int]
    floor: int = 0
    size_bytes: int = 0
    reserved_bytes: int = 0
    pinned: bool = False
    saved: int = 0
    spans: tuple[Span, ...] = ()
    session: SessionId | None = None

    @property
    def before(self) -> int:
        """Tokens in spans."""
        return sum(span.users[self.cache] for span in self.spans)

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
        self._loose: dict[Span, None] = {}

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
        spans = {span for entry in pinned for span in entry.spans}
        charged = sum(entry.charged_bytes for entry in pinned)
        return charged + sum(span.size_bytes for span in spans)

    @property
    def span_bytes(self) -> int:
        """Charge of all spans."""
        spans = {span for entry in self._entries.values() for span in entry.spans}
        return sum(span.size_bytes for span in spans)

    def freed_bytes(self, cache: CacheId) -> int:
        """Charge that ends when this cache is dropped now."""
        entry = self._entries[cache]
        alone = sum(span.size_bytes for span in entry.spans if len(span.users) == 1)
        return entry.charged_bytes + alone

    def freezes(self, source: CacheId, keep: int) -> bool:
        """Whether the tail of `source` is frozen for a fork of its first `keep` tokens."""
        return self._share and keep - self._entries[source].before >= LEAST_SHARED

    def behind(self, source: CacheId, keep: int, *, fork: bool) -> int:
        """Tokens in spans behind who goes on from the first `keep` of `source`; the rest is copied.

        In a `fork` those of the tail are among them, if it is frozen for that. Where there are too
        many spans the last ones are left out, until one is twice as long as all of those together.
        """
        entry = self._entries[source]
        spans = list(_cut((span.users[source] for span in entry.spans), keep))
        if fork and self.freezes(source, keep):
            spans.append(keep - entry.before)
        copied = 0
        if len(spans) > MOST_SPANS:
            copied = spans.pop()
            while len(spans) > 1 and spans[-1] < 2 * copied:
                copied += spans.pop()
        return sum(spans)

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
        rows = length - entry.before
        span = Span(rows, entry.size_bytes, {cache: rows})
        with _Recharge(self, entry):
            entry.spans = (*entry.spans, span)
            entry.size_bytes = entry.reserved_bytes = 0
        self.used_bytes += span.size_bytes

    def copy(
        self, source: CacheId, cache: CacheId, keep: int, *, behind: int, reserved_bytes: int
    ) -> Entry:
        """Add a pinned cache of the first `keep` tokens of `source`, `behind` of them in spans."""
        origin = self._entries[source]
        assert origin.floor <= keep <= len(origin.tokens), (origin.floor, keep)
        entry = self.open(cache, origin.principal, reserved_bytes=reserved_bytes)
        entry.tokens = origin.tokens[:keep]
        entry.saved = min(origin.saved, keep)
        shared = list(_cut((span.users[source] for span in origin.spans), behind))
        entry.spans = origin.spans[: len(shared)]
        for span, rows in zip(entry.spans, shared, strict=True):
            span.users[cache] = rows
        return entry

    def take(
        self, source: CacheId, cache: CacheId, keep: int, *, behind: int, reserved_bytes: int
    ) -> Entry:
        """Turn the idle `source` into the pinned `cache`, cut back to `keep` tokens; as `copy`."""
        assert not self._entries[source].pinned, source
        entry = self.copy(source, cache, keep, behind=behind, reserved_bytes=reserved_bytes)
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
        for span in self._entries.pop(cache).spans:
            del span.users[cache]
            self._loose[span] = None

    def shrink(self) -> Iterator[tuple[CacheId, int, int]]:
        """Shrink spans of which nobody has more than half any more.

        Yields a cache that has it, its place behind that, and the tokens that are left of it.
        """
        loose, self._loose = self._loose, {}
        for span in loose:
            left = max(span.users.values(), default=0)
            if not left or 2 * left > span.rows:
                continue
            cache = next(iter(span.users))
            smaller = span.size_bytes * left // span.rows
            self.used_bytes -= span.size_bytes - smaller
            span.rows, span.size_bytes = left, smaller
            yield cache, self._entries[cache].spans.index(span), left

    def check_integrity(self) -> None:
        """Raise `AssertionError` where the books do not add up."""
        charged = sum(entry.charged_bytes for entry in self._entries.values())
        charged += self.span_bytes
        assert charged == self.used_bytes, (charged, self.used_bytes)
        users = Counter(span for entry in self._entries.values() for span in entry.spans)
        assert all(len(span.users) == count for span, count in users.items()), users
        assert all(max(span.users.values()) <= span.rows for span in users), users
        for entry in self._entries.values():
            assert entry.pinned or 0 <= entry.floor <= len(entry.tokens), entry.cache
            assert entry.pinned or entry.reserved_bytes == 0, entry.cache
            assert 0 <= entry.saved <= len(entry.tokens), entry.cache


def _cut(lengths: Iterable[int], keep: int) -> Iterator[int]:
    for length in lengths:
        if keep <= 0:
            return
        yield min(length, keep)
        keep -= length


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

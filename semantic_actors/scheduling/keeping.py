"""What of the caches goes to the store next: write-behind, a bounded number of bytes at a time.

A block of a running sequence goes when it is full, the rest when the sequence ends. What is on its
way to the store is *dirty*; beyond the bound nothing more is copied out, and what is evicted
meanwhile is lost, and counted. The store's trouble is nobody's but its own: what it could not keep
is offered again when its cache ends the next time.

State: what is dirty, and which ended caches are not saved yet. Owner: the batch.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from semantic_actors.domain.ids import CacheId, Principal, TokenIds
from semantic_actors.engine.protocol import Export
from semantic_actors.kv import Entry, Pool
from semantic_actors.kv.blocks import BLOCK_TOKENS
from semantic_actors.kv.layout import Rows
from semantic_actors.scheduling.notices import SaveNotice

STEP_BYTES: Final = 16 << 20
"""Copied out by one step, which the others of the step wait for: a few milliseconds."""

_NUMBERS = itertools.count(1)


class Outgoing(msgspec.Struct, frozen=True):
    """Rows of one cache that a step copies out; `tokens` are the path up to the last of them."""

    number: int
    principal: Principal
    tokens: TokenIds
    exports: tuple[Export, ...]


class _Save(msgspec.Struct, frozen=True):
    cache: CacheId
    start: int
    size_bytes: int


class Keeping:
    """See the module. With `row_bytes` 0 nothing is kept."""

    def __init__(self, pool: Pool, row_bytes: int, bound_bytes: int) -> None:
        self.dirty_bytes = 0
        self.lost_tokens = 0
        self._pool = pool
        self._row_bytes = row_bytes
        self._bound_bytes = bound_bytes
        self._ended: dict[CacheId, None] = {}
        self._saves: dict[int, _Save] = {}

    @property
    def clean(self) -> bool:
        """Whether all that is to be kept has been."""
        return not self._saves and not self._ended

    def ended(self, cache: CacheId) -> None:
        """Nobody runs on the cache any more: all of it is kept."""
        if self._row_bytes and self._pool[cache].saved < len(self._pool[cache].tokens):
            self._ended[cache] = None

    def settled(self, cache: CacheId) -> bool:
        """Whether nothing of it is on its way to the store, or about to be."""
        under_way = any(save.cache == cache for save in self._saves.values())
        return cache not in self._ended and not under_way

    def forget(self, cache: CacheId, *, lost: bool = True) -> None:
        """The cache is about to go, and with it what is not saved, unless another one takes it."""
        if cache in self._ended:
            del self._ended[cache]
            entry = self._pool[cache]
            self.lost_tokens += lost * (len(entry.tokens) - entry.saved)

    def choose(self, running: Iterable[CacheId]) -> list[Outgoing]:
        """Choose what the next step copies out; it counts as saved from now on."""
        if not self._row_bytes:
            return []
        room = min(STEP_BYTES, self._bound_bytes - self.dirty_bytes)
        if not self.dirty_bytes:
            room = max(room, BLOCK_TOKENS * self._row_bytes)  # or a large block would never go
        chosen: list[Outgoing] = []
        wanted = [(cache, _full(self._pool[cache])) for cache in running]
        wanted += [(cache, len(self._pool[cache].tokens)) for cache in self._ended]
        for cache, stop in wanted:
            entry = self._pool[cache]
            exports = tuple(self._exports(entry, stop, room))
            if exports:
                room -= self._send(entry, exports, chosen)
        self._ended = {
            cache: None
            for cache in self._ended
            if self._pool[cache].saved < len(self._pool[cache].tokens)
        }
        return chosen

    def exported(
        self, outgoing: Iterable[Outgoing], buffers: Iterable[object]
    ) -> Iterator[SaveNotice]:
        """Say what to save, now that the engine has copied it out.

        What is not all numbers came without a buffer, and is not saved: it would last.
        """
        copies = iter(buffers)
        for one in outgoing:
            rows = tuple(Rows(part.start, part.stop, next(copies)) for part in one.exports)
            if any(part.data is None for part in rows):
                self.saved(one.number, kept=False)
            else:
                yield SaveNotice(one.number, one.principal, one.tokens, rows)

    def saved(self, number: int, *, kept: bool) -> None:
        """Record that the store has done what it could."""
        save = self._saves.pop(number, None)
        if save is None:
            return  # of another epoch
        self.dirty_bytes -= save.size_bytes
        if not kept and save.cache in self._pool:
            entry = self._pool[save.cache]
            entry.saved = min(entry.saved, save.start)

    def abandon(self) -> None:
        """Record that the store has lost all that was on its way."""
        for number in list(self._saves):
            self.saved(number, kept=False)

    def _exports(self, entry: Entry, stop: int, room: int) -> Iterator[Export]:
        start = entry.saved
        while start < stop:
            last = min(stop, (start // BLOCK_TOKENS + 1) * BLOCK_TOKENS)
            room -= (last - start) * self._row_bytes
            if room < 0:
                return
            yield Export(entry.cache, start, last)
            start = last

    def _send(self, entry: Entry, exports: tuple[Export, ...], chosen: list[Outgoing]) -> int:
        start, stop, number = exports[0].start, exports[-1].stop, next(_NUMBERS)
        size_bytes = (stop - start) * self._row_bytes
        chosen.append(Outgoing(number, entry.principal, tuple(entry.tokens[:stop]), exports))
        self._saves[number] = _Save(entry.cache, start, size_bytes)
        self.dirty_bytes += size_bytes
        entry.saved = stop
        return size_bytes


def _full(entry: Entry) -> int:
    """Tokens of its full blocks."""
    return len(entry.tokens) // BLOCK_TOKENS * BLOCK_TOKENS

"""What goes to the disk, one job after the other: saves, and what they leave behind.

Lives on the loop; what blocks is handed to the writing thread. A save is planned when its turn
comes, so what the one before it has written is not written again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog

from semantic_actors.actors import ActorStopped
from semantic_actors.kv.blocks import BLOCK_TOKENS, BlockHash, Piece
from semantic_actors.kv.layout import Layout, Rows
from semantic_actors.persistence.archive import Archive
from semantic_actors.persistence.breaker import Breaker
from semantic_actors.persistence.catalog import Changes, encode
from semantic_actors.persistence.errors import Flawed
from semantic_actors.persistence.format import Stored
from semantic_actors.persistence.fs import Buffer
from semantic_actors.persistence.inventory import Inventory, Rewrite
from semantic_actors.persistence.messages import Save, Saved
from semantic_actors.persistence.slices import cut
from semantic_actors.persistence.statistics import Counters

T = TypeVar("T")
Part = tuple[Stored, Callable[[], None]]
"""A piece, and what writes it."""

log = structlog.get_logger(__name__)


class Writer:
    """See the module. `now` is the store's clock."""

    def __init__(
        self,
        archive: Archive,
        inventory: Inventory,
        layout: Layout,
        *,
        thread: Executor,
        now: Callable[[], float],
        dirty_bytes: int,
    ) -> None:
        self.breaker = Breaker()
        self.counters = Counters()
        self.dirty_bytes = 0
        self.alone = asyncio.Lock()
        """Whoever plans on the inventory and then commits does so alone."""
        self._archive = archive
        self._inventory = inventory
        self._layout = layout
        self._thread = thread
        self._now = now
        self._most_dirty_bytes = dirty_bytes
        self._saves: deque[Save] = deque()
        self._in_hand: Save | None = None
        self._tidy = False

    @property
    def waiting(self) -> int:
        """Saves that are not answered yet."""
        return len(self._saves) + (self._in_hand is not None)

    def accept(self, save: Save, refusal: str) -> None:
        """Take a save for `run`, or answer it at once."""
        reason = refusal or self._refusal(save)
        if reason:
            self._answer(save, reason)
        else:
            self.dirty_bytes += _bytes(save)
            self._saves.append(save)

    def tidy(self) -> None:
        """Have `run` look for what is to leave, and commit what is only in memory."""
        self._tidy = True

    async def run(self) -> None:
        """Do all there is to do. Raises CatalogDamaged."""
        while self._saves or self._tidy:
            async with self.alone:
                await self._next()

    def abandon(self, reason: str) -> None:
        """Answer all that will not be done."""
        if self._in_hand is not None:
            self._done(self._in_hand, reason)
        while self._saves:
            self._done(self._saves.popleft(), reason)

    async def commit(
        self,
        parts: Sequence[Part],
        *,
        by: Callable[[Changes], None] | None = None,
        now: float | None = None,
    ) -> str:
        """Write pieces, used `now`, and make them count, all or none; return why not, or nothing.

        What is doomed goes with the same transaction, which is the archive's `commit` or `by`.
        """
        now = self._now() if now is None else now
        pieces = [stored for stored, _ in parts]
        changes = self._inventory.changes(pieces, now)
        published: list[BlockHash] = []
        try:
            for piece, write in parts:
                await self.call(write)
                published.append(piece.name)
            await self.call(partial(by or self._archive.commit, changes))
        except (OSError, Flawed) as error:
            await self.call(partial(self._archive.discard, published))
            if isinstance(error, OSError):
                self.failed(error)
            return str(error)
        self._inventory.committed(changes)
        self._inventory.written(pieces, now)
        self.counters.saved_bytes += sum(piece.size_bytes for piece in pieces)
        self.breaker.worked()
        return ""

    async def call(self, work: Callable[[], T]) -> T:
        """Have the writing thread do something."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def failed(self, error: Exception) -> None:
        """Record that the writing thread could not do something."""
        self.counters.write_failures += 1
        self.breaker.failed(self._now(), str(error))
        log.warning("write_failed", reason=str(error))

    def _refusal(self, save: Save) -> str:
        for rows in save.rows:
            same_block = rows.start // BLOCK_TOKENS == (rows.stop - 1) // BLOCK_TOKENS
            fits = 0 <= rows.start < rows.stop <= len(save.tokens) and same_block
            if not fits or not self._layout.holds(rows):
                return f"rows {rows.start} to {rows.stop} are not as they should be"
        if self.breaker.blocked(self._now()):
            return self.breaker.reason
        if self.dirty_bytes and self.dirty_bytes + _bytes(save) > self._most_dirty_bytes:
            return f"{self.dirty_bytes} bytes are waiting to be written"
        return ""

    async def _next(self) -> None:
        if self._saves:
            save = self._in_hand = self._saves.popleft()
            reason = await self._save(save)
            self._done(save, reason)
        tidy = self._tidy and not self._saves
        self._tidy &= not tidy
        self.counters.evicted += self._inventory.evict(self._now())
        if self._inventory.doomed or (tidy and self._inventory.unsettled):
            await self.commit([])

    async def _save(self, save: Save) -> str:
        """Write what is not stored of some rows; return why not, or nothing."""
        now = self._now()
        trail = self._inventory.trail(encode(save.principal), save.tokens)
        missing = list(self._inventory.missing(trail, save.rows))
        parts: list[Part] = [
            (
                self._archive.sized(piece),
                partial(self._archive.publish, piece, self._last(piece, rows)),
            )
            for piece, rows in missing
        ]
        if not self._inventory.has_room(trail, sum(stored.size_bytes for stored, _ in parts)):
            return "the disk budget is full of what must stay"
        self._inventory.use(trail, len(trail.tokens), now)
        reason = await self.commit(parts, now=now) if parts else ""
        if reason:
            return reason
        written = sum(piece.rows for piece, _ in missing)
        self.counters.saved_tokens += written
        self.counters.skipped_tokens += sum(r.stop - r.start for r in save.rows) - written
        for rewrite in list(self._inventory.to_rewrite(trail, save.rows)):
            await self._rewrite(rewrite, now)
        self._inventory.align(trail, now)
        return ""

    def _last(self, piece: Piece, rows: Rows) -> list[Buffer]:
        """Take the rows of a piece, which are the last of these."""
        count = rows.stop - rows.start
        if piece.rows == count:
            return [rows.data]
        return [*cut(self._layout, rows.data, count, count - piece.rows, count)]

    async def _rewrite(self, rewrite: Rewrite, now: float) -> None:
        stored = self._archive.sized(rewrite.piece)
        write = partial(self._archive.rewrite, rewrite.piece, rewrite.extents)
        reason = await self.commit([(stored, write)], now=now)
        if reason:
            log.warning("block_not_rewritten", reason=reason)
        else:
            self.counters.rewritten += 1

    def _done(self, save: Save, reason: str) -> None:
        self._in_hand = None
        self.dirty_bytes -= _bytes(save)
        self._answer(save, reason)

    def _answer(self, save: Save, reason: str) -> None:
        self.counters.refused_saves += bool(reason)
        with suppress(ActorStopped):
            save.reply_to.post(Saved(save.save, reason))


def _bytes(save: Save) -> int:
    return sum(memoryview(rows.data).nbytes for rows in save.rows)

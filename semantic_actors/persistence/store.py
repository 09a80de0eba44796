"""The store actor: keeps keys, values and sessions on disk, and finds them again.

It answers from memory what is stored, reads and writes on two threads of its own, and never
fails anybody: what cannot be written is answered with the reason, what cannot be verified is not
there. State: the inventory and what is under way, all of it touched on the loop's thread only,
where outcomes of the threads are taken in between messages.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, ParamSpec

import structlog

from semantic_actors.actors import Actor, Deferred, OwnThread, StopReason
from semantic_actors.kv.layout import Layout
from semantic_actors.persistence.archive import Archive
from semantic_actors.persistence.catalog import Catalog, encode
from semantic_actors.persistence.clerk import Clerk
from semantic_actors.persistence.errors import CatalogDamaged, CatalogTooNew, Flaw, Flawed
from semantic_actors.persistence.format import Stored
from semantic_actors.persistence.fs import Fs
from semantic_actors.persistence.inventory import Inventory
from semantic_actors.persistence.messages import (
    Ended,
    Failed,
    Fetch,
    InspectStore,
    ListSessions,
    LookUp,
    Recall,
    Reopen,
    Save,
    SessionsMessage,
    StoreMessage,
    Sweep,
)
from semantic_actors.persistence.reader import Reader
from semantic_actors.persistence.sqlite_catalog import open_catalog
from semantic_actors.persistence.statistics import StoreStatistics
from semantic_actors.persistence.writer import Writer

P = ParamSpec("P")

DIRTY_BYTES: Final = 1 << 30
"""Rows that may wait to be written; beyond that, saves are refused."""

SWEEP_INTERVAL_S: Final = 600.0
"""Between looks for what was not used for too long."""

QUARANTINE_SHARE: Final = 0.02
"""Part of the budget that files which failed verification may take besides."""

log = structlog.get_logger(__name__)


class Store(Actor[StoreMessage]):
    """See the module. `identity` names what computes keys and values, `layout` their shape.

    `fs` is an opened state directory (`open_state`); it outlives its stores, and so does its lock.
    What was not used for `ttl_s` seconds leaves.
    """

    mailbox_capacity = 1024

    def __init__(
        self,
        fs: Fs,
        identity: str,
        layout: Layout,
        budget_bytes: int,
        ttl_s: float | None = None,
        *,
        dirty_bytes: int = DIRTY_BYTES,
        open_catalog: Callable[[Fs], Catalog] = open_catalog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = Archive(fs, identity, layout, open_catalog)
        self._inventory = Inventory(identity, budget_bytes, ttl_s)
        self._writing = OwnThread("store-writer")
        self._reading = OwnThread("store-reader")
        self._writer = Writer(
            self._archive,
            self._inventory,
            layout,
            thread=self._writing,
            now=self._now,
            dirty_bytes=dirty_bytes,
        )
        self._reader = Reader(
            self._archive,
            self._inventory,
            self._writer.counters,
            thread=self._reading,
            flawed=self._flawed,
        )
        self._clerk = Clerk(self._archive, self._inventory, self._writer, self._now)
        self._clock = clock
        self._epoch = 0.0
        self._closed = "the store is not open yet"
        self._busy = 0
        self._pumping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def on_start(self) -> None:
        """Open the archive; without one, all answers are that nothing is stored."""
        await self._open()

    async def on_message(self, message: StoreMessage) -> object:
        """Answer from memory, or begin what the threads are needed for."""
        match message:
            case LookUp(principal=principal, tokens=tokens):
                return self._inventory.reach(encode(principal), tokens)
            case InspectStore():
                return self._statistics()
            case Fetch():
                self._go(self._reader.fetch, message, self._now())
            case Save():
                self._save(message)
            case Reopen():
                self._go(self._open)
            case Sweep():
                self._sweep()
            case Ended():
                pass
            case Failed(error=error):
                raise error
            case _:
                self._go(self._consult, message, self.defer())
        return None

    async def on_drain(self, deadline: float) -> None:
        """Write what was accepted."""
        self._writer.tidy()
        self._pump()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._idle.wait()

    async def on_stop(self, reason: StopReason) -> None:
        """Answer what will not be done, and let go of the threads after what they are doing."""
        why = f"the store stopped: {reason.value}"
        self._writer.abandon(why)
        self._reader.abandon(why)
        self._reading.shutdown(wait=False)
        try:
            await self._writer.call(self._archive.close)
        finally:
            self._writing.shutdown(wait=False)

    # What runs beside the actor

    def _go(self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs) -> None:
        self._busy += 1
        self._idle.clear()
        self.pipe(self._counted(work, *args, **kwargs), lambda _: Ended(), Failed)

    async def _counted(
        self, work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        try:
            await work(*args, **kwargs)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    def _pump(self) -> None:
        if not self._pumping and not self._closed:
            self._pumping = True
            self._go(self._run)

    async def _run(self) -> None:
        try:
            await self._writer.run()
        finally:
            self._pumping = False

    def _sweep(self) -> None:
        self.after(SWEEP_INTERVAL_S, Sweep())
        self._writer.tidy()
        self._pump()
        if not self._closed:
            self._go(self._expire)

    async def _expire(self) -> None:
        try:
            await self._clerk.expire()
        except OSError as error:
            self._writer.failed(error)

    # Opening

    async def _open(self) -> None:
        try:
            contents = await self._writer.call(partial(self._archive.open, self._clock()))
        except (OSError, Flawed, CatalogDamaged, CatalogTooNew) as error:
            self._closed = str(error)
            log.warning("store_not_opened", reason=self._closed)
            if not isinstance(error, CatalogTooNew):
                self.after(self._writer.breaker.failed(self._now(), self._closed), Reopen())
            return
        self._inventory.load(contents)
        newest = max((used for _, used in contents.pieces), default=0.0)
        self._epoch = max(self._clock(), newest) - asyncio.get_running_loop().time()
        self._closed = ""
        self._writer.breaker.worked()
        self.after(0.0, Sweep())

    # Flaws

    def _flawed(self, piece: Stored, flawed: Flawed) -> None:
        """See to it that a piece which failed verification is not found again."""
        log.warning("piece_flawed", piece=piece.name.hex(), reason=str(flawed))
        if flawed.flaw is Flaw.UNREADABLE or piece.name not in self._inventory.index:
            return
        self._inventory.lose(piece.name)
        if flawed.flaw is Flaw.MISSING:
            self._inventory.doom([piece.name])
        elif flawed.flaw is not Flaw.VERSION:
            self._writer.counters.quarantined += 1
            self._go(self._quarantine, piece)

    async def _quarantine(self, piece: Stored) -> None:
        most_bytes = int(self._inventory.budget_bytes * QUARANTINE_SHARE)
        try:
            await self._writer.call(partial(self._archive.quarantine, piece.name, most_bytes))
        except OSError as error:
            self._writer.failed(error)

    # Answers

    def _save(self, message: Save) -> None:
        self._writer.accept(message, self._closed)
        self._pump()

    async def _consult(self, message: SessionsMessage, reply: Deferred[Any]) -> None:
        """Ask the clerk; where the catalog fails, the answer is that nothing is known."""
        answer: object = () if isinstance(message, Recall | ListSessions) else None
        try:
            if not self._closed:
                answer = await self._clerk.answer(message)
        except OSError as error:
            self._writer.failed(error)
        reply.resolve(answer)

    def _statistics(self) -> StoreStatistics:
        index, counters = self._inventory.index, self._writer.counters
        return StoreStatistics(
            degraded=self._closed or self._writer.breaker.reason,
            pieces=len(index),
            size_bytes=index.size_bytes,
            budget_bytes=self._inventory.budget_bytes,
            dirty_bytes=self._writer.dirty_bytes,
            saves_waiting=self._writer.waiting,
            saved_bytes_total=counters.saved_bytes,
            saved_tokens_total=counters.saved_tokens,
            skipped_tokens_total=counters.skipped_tokens,
            fetched_bytes_total=counters.fetched_bytes,
            fetched_tokens_total=counters.fetched_tokens,
            write_failures_total=counters.write_failures,
            refused_saves_total=counters.refused_saves,
            quarantined_total=counters.quarantined,
            evicted_total=counters.evicted,
            rewritten_total=counters.rewritten,
        )

    def _now(self) -> float:
        """Wall clock, in seconds, that does not jump while the store lives."""
        return self._epoch + asyncio.get_running_loop().time()

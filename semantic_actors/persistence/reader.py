"""What comes from the disk: fetches, one after the other.

Lives on the loop; what blocks is handed to the reading thread.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

from semantic_actors.actors import ActorStopped
from semantic_actors.kv.layout import Rows
from semantic_actors.persistence.archive import Archive
from semantic_actors.persistence.catalog import encode
from semantic_actors.persistence.errors import Flawed
from semantic_actors.persistence.format import Stored
from semantic_actors.persistence.index import Extent
from semantic_actors.persistence.inventory import Inventory
from semantic_actors.persistence.messages import Fetch, Fetched
from semantic_actors.persistence.statistics import Counters

NOT_STORED = "it is not stored"


class Reader:
    """See the module. `flawed` is told of each piece that must not be used."""

    def __init__(
        self,
        archive: Archive,
        inventory: Inventory,
        counters: Counters,
        *,
        thread: Executor,
        flawed: Callable[[Stored, Flawed], None],
    ) -> None:
        self._archive = archive
        self._inventory = inventory
        self._counters = counters
        self._thread = thread
        self._flawed = flawed
        self._fetches: dict[int, Fetch] = {}

    async def fetch(self, message: Fetch, now: float) -> None:
        """Read rows and tell them to whoever asked."""
        self._fetches[id(message)] = message
        trail = self._inventory.trail(encode(message.principal), message.tokens)
        with self._inventory.reading(trail, message.start, message.stop, now) as extents:
            rows, reason = await self._gather(extents)
        if not reason and (not rows or rows[-1].stop < message.stop):
            reason = NOT_STORED
        self._answer(message, rows, reason)

    def abandon(self, reason: str) -> None:
        """Answer all that will not be read."""
        for message in list(self._fetches.values()):
            self._answer(message, (), reason)

    async def _gather(self, extents: tuple[Extent, ...]) -> tuple[tuple[Rows, ...], str]:
        loop = asyncio.get_running_loop()
        reads = [  # all at once, so that the thread waits for no loop
            loop.run_in_executor(self._thread, self._archive.take, extent) for extent in extents
        ]
        rows: list[Rows] = []
        try:
            for extent, read in zip(extents, reads, strict=True):
                rows.append(Rows(extent.first_row, extent.last_row, await read))
        except Flawed as flawed:
            self._flawed(extent.piece, flawed)
            return tuple(rows), str(flawed)
        finally:
            for read in reads:
                read.cancel()
        return tuple(rows), ""

    def _answer(self, message: Fetch, rows: tuple[Rows, ...], reason: str) -> None:
        del self._fetches[id(message)]
        self._counters.fetched_tokens += sum(one.stop - one.start for one in rows)
        self._counters.fetched_bytes += sum(len(one.data) for one in rows)
        with suppress(ActorStopped):
            message.reply_to.post(Fetched(message.fetch, rows, reason))

"""What the movement of a gigabyte costs everybody else: saved as it is computed, then restored.

A model with 32 KiB of keys and values a token reads new prompts, one after the other, and all of it
goes to the disk; then it is asked for them again, with RAM for three, so that each comes from the
disk. Meanwhile another process asks /livez at a steady pace, as in `gaps.py`, and the daemon
watches its own loop; at last a stream is listened to while the restores go on.
"""

import asyncio
import math
import time
from argparse import Namespace
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.client import Client, connected
from bench.gaps import P99_GATE_MS, ask, felt
from bench.models import SHAPES, write
from bench.report import Gate, Row, percentile
from bench.resuming import settled
from bench.servers import Server, ours
from bench.stall import PAUSE_S, SHORT, fresh_texts, idle

MODEL: Final = "wide"
SESSION: Final = 4_096
"""Tokens of each prompt: 134 MB."""

IN_RAM: Final = 3
RESERVED: Final = 1_536
"""Rows set aside for an answer, and what a cache has besides."""

BATCH: Final = 250
"""Requests of /livez at a time, one second's."""

LOOP_GATE_MS: Final = 10.0
SAVED: Final = "store_saved_bytes_total"
FETCHED: Final = "store_fetched_bytes_total"
SAVING: Final = "saving"
RESTORING: Final = "restoring"
STREAM: Final = "a stream"


async def _beside(
    client: Client, server: Server, work: Coroutine[Any, Any, None], total: str
) -> Row:
    """Ask /livez until `work` is done, and say how much was moved."""
    before, began = await client.counters(), time.perf_counter()
    working = asyncio.ensure_future(work)
    seconds: list[float] = []
    while not working.done():
        seconds += await ask(server, BATCH)
    working.result()
    figures = felt(seconds, await client.counters())
    took = await settled(client) - began
    moved = ((await client.counters())[total] - before[total]) / 1e6
    return {"MB": moved, "MB/s": moved / took, **figures}


async def _measured(server: Server, texts: list[str]) -> dict[str, Row]:
    fresh = fresh_texts("beside")

    async def read() -> None:
        for text in texts:
            await client.complete(text, 1)

    async with connected(server) as client:
        pause = await idle(client, fresh, SHORT)
        rows = {SAVING: await _beside(client, server, read(), SAVED)}
        rows[RESTORING] = await _beside(client, server, read(), FETCHED)
        async with client.talking(fresh(SHORT)) as [stream]:
            await stream.began.wait()
            since = time.perf_counter()
            await read()
            until = time.perf_counter()
    pauses = {"alone, p99": pause, "beside, p99": percentile(stream.gaps_s(since, until), 99)}
    rows[STREAM] = {name: 1e3 * value for name, value in pauses.items()}
    return rows


def moving(options: Namespace, scratch: Path) -> dict[str, Row]:
    """Measure once; rows by what goes on."""
    folder = write(scratch / f"moved-{MODEL}", MODEL)
    row_bytes = SHAPES[MODEL].row_bytes
    sessions = max(IN_RAM + 2, math.ceil(options.gigabytes * 1e9 / (SESSION * row_bytes)))
    fresh = fresh_texts("moved")
    budget = (IN_RAM * (SESSION + RESERVED) + RESERVED) * row_bytes
    with ours(folder, scratch, "--ram-budget", f"{budget}B") as server:
        return asyncio.run(_measured(server, [fresh(SESSION) for _ in range(sessions)]))


def tables(rows: Mapping[str, Row]) -> Iterator[tuple[str, dict[str, Row]]]:
    """Divide the rows by their columns, each with a title."""
    yield f"/livez, {MODEL}", {name: rows[name] for name in (SAVING, RESTORING)}
    yield f"pauses of it beside restores, {MODEL}, ms", {STREAM: rows[STREAM]}


def gates(rows: Mapping[str, Row]) -> Iterator[Gate]:
    """Say what must be reached."""
    for name in (SAVING, RESTORING):
        yield Gate(f"/livez p99, {name}, ms", rows[name]["p99, ms"], P99_GATE_MS)
        yield Gate(f"longest gap of the loop, {name}, ms", rows[name]["loop, ms"], LOOP_GATE_MS)
    pauses = rows[STREAM]
    bound = max(2 * pauses["alone, p99"], 1e3 * PAUSE_S)
    yield Gate("pause p99 beside restores, ms", pauses["beside, p99"], bound)

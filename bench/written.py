"""What a conversation costs the disk: bytes written for each byte of keys and values kept.

Ten turns of one session, each on disk before the next begins, so that each leaves pieces of blocks
behind. *Kept* are the rows of the whole path that are found again once the daemon has left, at
their bare size; *written* is the daemon's own count of all pieces' files, those that were rewritten
or made redundant included; and beside it what the system counts as written by the whole process:
catalog, journal, weights' digests, log.
"""

import asyncio
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.client import connected
from bench.models import SHAPES, Words, write
from bench.report import Gate, Row
from bench.resuming import ANSWERED, settled
from bench.servers import Server
from bench.shelf import opened
from bench.stall import fresh_texts
from tests.e2e.daemon import started

TURNS: Final = 10
GATES: Final = {1_000: 1.1, 50: 2.1}
"""Tokens of a turn, and times the bytes kept that may be written."""


def written(options: Namespace, scratch: Path) -> dict[int, Row]:
    """Measure each kind of conversation once: nothing in it is left to chance."""
    model = options.models[0]
    folder = write(scratch / f"written-{model}", model)
    return {tokens: _conversation(folder, model, tokens, scratch) for tokens in GATES}


def _conversation(folder: Path, model: str, tokens: int, scratch: Path) -> Row:
    state = scratch / f"written-{tokens}.state"
    flags = ("--model", str(folder), "--state-dir", str(state))
    with started(scratch / f"written-{tokens}.log", *flags) as daemon:
        text, counters = asyncio.run(_talk(Server(daemon.url, "any"), tokens))
        process = _written_by(daemon.process.pid)
    with opened(state) as shelf:
        path = Words().ids(text)
        kept = shelf.kept(path) * SHAPES[model].row_bytes
        files = shelf.size_bytes
    saved = counters["store_saved_bytes_total"]
    return {
        "tokens": len(path),
        "kept, MB": kept / 1e6,
        "written / kept": saved / kept,
        "on disk / kept": files / kept,
        "process / kept": process / kept,
        "blocks rewritten": counters["store_rewritten_total"],
    }


async def _talk(server: Server, tokens: int) -> tuple[str, Mapping[str, float]]:
    fresh, text = fresh_texts(f"{tokens} a turn"), ""
    async with connected(server) as client:
        for _ in range(TURNS):
            text += fresh(tokens - ANSWERED)
            text += (await client.complete(text, ANSWERED, session="the one")).text
            await settled(client)
        return text, await client.counters()


def _written_by(process: int) -> float:
    """Bytes that a process has caused to be written; not a number where nobody counts."""
    try:
        told = Path(f"/proc/{process}/io").read_text()
    except OSError:
        return float("nan")
    found = re.search(r"^write_bytes: (\d+)", told, re.MULTILINE)
    return float(found[1]) if found else float("nan")


def gates(rows: Mapping[int, Row]) -> Iterator[Gate]:
    """Say what must be reached."""
    for tokens, row in rows.items():
        name = f"written for each byte kept, {tokens} tokens a turn"
        yield Gate(name, row["written / kept"], GATES[tokens])

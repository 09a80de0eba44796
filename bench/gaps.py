"""Gaps of the daemon's event loop, as felt by /livez while each kind of work goes on.

A process of its own asks at a steady pace, with one thread, while the daemon idles, tokenizes
80 KB, reads a long prompt, or answers eight streams. Its slowest answer bounds the longest gap of
the loop from above. Beside it is the longest gap by the daemon's own watch, which is too small by
4 ms at most, and to which the asking process and its turns on a core add nothing.

Run: just bench-gaps
"""

import asyncio
import itertools
import json
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from bench.client import Client, connected
from bench.models import SHAPES, write
from bench.report import Gate, Row, arguments, finish, medians, percentile, show
from bench.servers import ROOT, Server, ours
from bench.stall import EQUALS, SHORT, Fresh, fresh_texts

TEXT_CHARS: Final = 80_000
TEXTS: Final = 8
P99_GATE_MS: Final = 10.0
ANSWER: Final = 256

Work = Callable[[], Awaitable[object]]
"""Does something once."""


async def asked(server: Server, count: int, work: Work) -> list[float]:
    """Ask /livez so many times while `work` is done again and again; seconds of each answer."""
    working = asyncio.ensure_future(_again(work))
    seconds = await ask(server, count)
    if working.done():
        working.result()
    working.cancel()
    await asyncio.wait([working])
    return seconds


async def ask(server: Server, count: int) -> list[float]:
    """Ask /livez so many times; seconds of each answer."""
    one_thread = os.environ | dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.livez", server.url, str(count)),
        cwd=ROOT,
        env=one_thread,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    seconds: list[float] = json.loads(out)
    return seconds


async def _again(work: Work) -> None:
    while True:
        await work()


def works(client: Client, fresh: Fresh, long: int) -> dict[str, Work]:
    """Everything that is asked beside."""
    texts = itertools.cycle([fresh(TEXT_CHARS)[:TEXT_CHARS] for _ in range(TEXTS)])

    async def streams() -> None:
        await asyncio.gather(*(client.complete(fresh(SHORT), ANSWER) for _ in range(EQUALS)))

    return {
        "idle": lambda: asyncio.sleep(1),
        "tokenizing 80 KB": lambda: client.count_tokens(next(texts)),
        "reading a long prompt": lambda: client.complete(fresh(long), 1),
        "eight streams": streams,
    }


async def measured(server: Server, salt: str, options: Namespace) -> dict[str, Row]:
    """Ask beside each kind of work; a row of milliseconds for each."""
    rows: dict[str, Row] = {}
    async with connected(server) as client:
        for name, work in works(client, fresh_texts(salt), options.long).items():
            await client.counters()  # from here on it looks for the longest gap anew
            seconds = await asked(server, options.count, work)
            rows[name] = felt(seconds, await client.counters())
            await client.quiet()
    return rows


def felt(seconds: list[float], counters: Mapping[str, float]) -> dict[str, float]:
    """Sum up what was felt outside, and what the daemon says itself; in milliseconds."""
    return {
        "p50, ms": 1e3 * percentile(seconds, 50),
        "p99, ms": 1e3 * percentile(seconds, 99),
        "max, ms": 1e3 * max(seconds),
        "loop, ms": 1e3 * counters["loop_gap_seconds_max"],
    }


def main() -> int:
    """Measure in rounds, print a table, return the exit code."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--model", choices=SHAPES, default="30M")
    parser.add_argument("--long", type=int, default=16_384, help="tokens of the long prompt")
    parser.add_argument("--count", type=int, default=2_000, help="requests beside each work")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name, options.model), options.model)
        with ours(folder, Path(name)) as server:
            rounds = [
                asyncio.run(measured(server, f"{turn}", options)) for turn in range(options.rounds)
            ]
    table = {work: medians([one[work] for one in rounds]) for work in rounds[0]}
    show(f"/livez, {options.model}", table)
    gates = [
        Gate(f"/livez p99, {work}, ms", row["p99, ms"], P99_GATE_MS) for work, row in table.items()
    ]
    return finish(gates, rounds, options.json)


if __name__ == "__main__":
    sys.exit(main())

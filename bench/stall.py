"""Stalls: what a long prompt costs those who are being answered, and itself, on one daemon.

A stream's pauses alone and beside a long prompt; that prompt's first token alone and beside the
stream; sessions that begin at once with one new prefix, against one of them alone; how evenly
equal sessions are served. No prompt is ever sent twice.

Run: just bench-stall
"""

import asyncio
import itertools
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.client import Client, connected
from bench.models import SHAPES, Words, write
from bench.report import Gate, Row, arguments, finish, medians, percentile, show
from bench.servers import Server, ours

Fresh = Callable[[int], str]
"""Makes a text of so many tokens that nobody has seen."""

SHORT: Final = 64
"""Tokens of a prompt that costs next to nothing."""

SUFFIX: Final = 32
SHARERS: Final = 4
EQUALS: Final = 8
SETTLE_S: Final = 0.5

PAUSE_S: Final = 0.1
PAUSE_GATE: Final = 1.2
"""Times twice the idle pause, or times `PAUSE_S` if that is more."""

LONG_GATE: Final = 1.3
SHARED_GATE: Final = 1.3
FAIRNESS_GATE: Final = 0.95


def fresh_texts(salt: str) -> Fresh:
    """Make a source of texts, another one for each salt."""
    words, seeds = Words(), itertools.count()
    return lambda tokens: words.text(tokens, f"{salt}/{next(seeds)}")


async def idle(client: Client, fresh: Fresh, tokens: int) -> float:
    """p99 of the pauses between the tokens of a stream that is alone, in seconds."""
    return percentile((await client.complete(fresh(SHORT), tokens)).gaps_s(), 99)


async def beside(client: Client, fresh: Fresh, long: int) -> tuple[float, float]:
    """p99 of a stream's pauses while a long prompt is read, and that one's first token, in s."""
    prompt = fresh(long)
    async with client.talking(fresh(SHORT)) as [stream]:
        await stream.began.wait()
        await asyncio.sleep(SETTLE_S)
        heard = await client.complete(prompt, 1)
    pauses = stream.gaps_s(heard.asked_at, heard.asked_at + heard.first_s)
    return percentile(pauses, 99), heard.first_s


async def together(client: Client, fresh: Fresh, prefix: int, sessions: int) -> float:
    """Seconds to the slowest first token of sessions that begin at once with one new prefix."""
    text = fresh(prefix)
    heard = await asyncio.gather(
        *(client.complete(text + fresh(SUFFIX), 1, session=fresh(4)) for _ in range(sessions))
    )
    return max(stream.first_s for stream in heard)


async def fairness(client: Client, fresh: Fresh, window_s: float) -> float:
    """Jain's index of the tokens that equal sessions receive in a window of time."""
    async with client.talking(*(fresh(SHORT) for _ in range(EQUALS))) as streams:
        since = time.perf_counter()
        await asyncio.sleep(window_s)
        until = time.perf_counter()
    tokens = [stream.tokens(since, until) for stream in streams]
    return sum(tokens) ** 2 / (EQUALS * sum(count**2 for count in tokens))


async def warm(server: Server, options: Namespace) -> None:
    """Let the server do everything once that it is slower at the first time."""
    fresh = fresh_texts("warm")
    async with connected(server) as client:
        await beside(client, fresh, options.prefix)


async def measured(server: Server, salt: str, options: Namespace) -> Row:
    """Measure everything once."""
    fresh = fresh_texts(salt)
    async with connected(server) as client:
        pause = await idle(client, fresh, options.tokens)
        alone = (await client.complete(fresh(options.long), 1)).first_s
        disturbed, long = await beside(client, fresh, options.long)
        return {
            "pause p99, idle, ms": 1e3 * pause,
            "pause p99 beside a long prompt, ms": 1e3 * disturbed,
            "long prompt's first token alone, s": alone,
            "the same beside a stream, s": long,
            "first token of a new prefix, s": await together(client, fresh, options.prefix, 1),
            "slowest of four with one, s": await together(client, fresh, options.prefix, SHARERS),
            "Jain's index of eight": await fairness(client, fresh, options.window),
        }


def gates(row: Row) -> list[Gate]:
    """Say what the medians must reach."""
    pause, disturbed, alone, long, one, four, index = row.values()
    bound = PAUSE_GATE * max(2 * pause, 1e3 * PAUSE_S)
    return [
        Gate("pause p99 beside a long prompt, ms", disturbed, bound),
        Gate("long prompt's first token, times alone", long / alone, LONG_GATE),
        Gate("slowest of four with one new prefix, times one", four / one, SHARED_GATE),
        Gate("Jain's index of eight", index, FAIRNESS_GATE, at_least=True),
    ]


def main() -> int:
    """Measure in rounds, print a table, return the exit code."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--model", choices=SHAPES, default="30M")
    parser.add_argument("--tokens", type=int, default=512, help="of the stream that is alone")
    parser.add_argument("--long", type=int, default=16_384, help="tokens of the long prompt")
    parser.add_argument("--prefix", type=int, default=1536, help="tokens of the shared prefix")
    parser.add_argument("--window", type=float, default=5.0, help="seconds of the eight sessions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name, options.model), options.model)
        with ours(folder, Path(name)) as server:
            asyncio.run(warm(server, options))
            rounds = [
                asyncio.run(measured(server, f"{turn}", options)) for turn in range(options.rounds)
            ]
    row = medians(rounds)
    show(options.model, {figure: {"median": value} for figure, value in row.items()})
    return finish(gates(row), rounds, options.json)


if __name__ == "__main__":
    sys.exit(main())

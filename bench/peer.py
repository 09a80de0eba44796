"""Our daemon and mlx-lm's server, on the same model, over HTTP, in alternating rounds.

First tokens of a new conversation and of its second turn, tokens per second of sessions that are
answered together, and a stream's pauses while a long prompt is read.

Run: just bench-peer
"""

import asyncio
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Final

from bench.client import Client, connected
from bench.models import SHAPES, write
from bench.report import Row, arguments, finish, medians, show
from bench.servers import Server, ours, stock
from bench.stall import SHORT, Fresh, beside, fresh_texts

SESSIONS: Final = (1, 4, 8)
ANSWER: Final = 32
"""Tokens of the answer between the first turn and the second."""


async def turns(client: Client, fresh: Fresh, prompt: int) -> tuple[float, float]:
    """Seconds to the first token of a new conversation, and of its second turn."""
    opening = {"role": "user", "content": fresh(prompt)}
    first = await client.chat([opening], ANSWER)
    # Theirs drops the first space of an answer: without it the second turn would be another text.
    answer = {"role": "assistant", "content": " " + first.text.lstrip()}
    question = {"role": "user", "content": fresh(SHORT)}
    second = await client.chat([opening, answer, question], ANSWER)
    return first.first_s, second.first_s


async def rate(client: Client, fresh: Fresh, sessions: int, options: Namespace) -> float:
    """Tokens per second of so many sessions, once all are being answered."""
    prompts = [fresh(options.prompt) for _ in range(sessions)]
    async with client.talking(*prompts) as streams:
        await asyncio.gather(*(stream.began.wait() for stream in streams))
        since = time.perf_counter()
        await asyncio.sleep(options.window)
        until = time.perf_counter()
    return sum(stream.tokens(since, until) for stream in streams) / (until - since)


async def measured(server: Server, salt: str, options: Namespace) -> Row:
    """Measure everything once; `/s` in a name says that more is better."""
    fresh = fresh_texts(salt)
    async with connected(server) as client:
        cold, hot = await turns(client, fresh, options.turn)
        rates = [await rate(client, fresh, sessions, options) for sessions in SESSIONS]
        pause, long = await beside(client, fresh, options.long)
    return {
        "first token, cold, ms": 1e3 * cold,
        "first token, second turn, ms": 1e3 * hot,
        **{f"tokens/s, {n} sessions": each for n, each in zip(SESSIONS, rates, strict=True)},
        "pause p99 beside a long prompt, ms": 1e3 * pause,
        "long prompt's first token, s": long,
    }


async def warm(server: Server) -> None:
    """Have a server do everything once that it does more slowly the first time."""
    fresh = fresh_texts("warm")
    async with connected(server) as client:
        await turns(client, fresh, SHORT)


def compared(mine: Row, theirs: Row) -> dict[str, dict[str, float | str]]:
    """Put both side by side; `gain` is how many times better ours is."""
    table: dict[str, dict[str, float | str]] = {}
    for line, value in mine.items():
        more_is_better = "/s" in line
        gain = value / theirs[line] if more_is_better else theirs[line] / value
        verdict = "won" if gain >= 1 else "LOST"
        table[line] = {"ours": value, "mlx-lm's": theirs[line], "gain": gain, "": verdict}
    return table


def main() -> int:
    """Measure in rounds, print a table and which lines are lost."""
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--model", choices=SHAPES, default="30M")
    parser.add_argument("--turn", type=int, default=1536, help="tokens of a first turn")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the sessions' prompts")
    parser.add_argument("--window", type=float, default=4.0, help="seconds they are listened to")
    parser.add_argument("--long", type=int, default=8192, help="tokens of the long prompt")
    options = parser.parse_args()
    rounds: dict[str, list[Row]] = {"ours": [], "mlx-lm's": []}
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name, options.model), options.model)
        with ours(folder, Path(name)) as mine, stock(folder, Path(name)) as theirs:
            sides = {"ours": mine, "mlx-lm's": theirs}
            for server in sides.values():
                asyncio.run(warm(server))
            for turn in range(options.rounds):
                for side in sides if turn % 2 else reversed(sides):
                    row = asyncio.run(measured(sides[side], f"{turn}", options))
                    rounds[side].append(row)
    table = compared(medians(rounds["ours"]), medians(rounds["mlx-lm's"]))
    show(options.model, table)
    lost = [line for line, row in table.items() if row[""] != "won"]
    print(f"\nlost: {', '.join(lost) or 'none'}")
    return finish([], rounds, options.json)


if __name__ == "__main__":
    sys.exit(main())

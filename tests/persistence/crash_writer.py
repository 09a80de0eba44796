"""A process that saves and remembers for as long as it lives; it says what it was promised."""

import asyncio
import logging
import random
import sys
from pathlib import Path

import structlog

from tests.persistence.rig import path, store_at


async def main(directory: Path, seed: int) -> None:
    """Let sessions grow by random amounts; print `number length` for what is durable."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    rng = random.Random(seed)
    reached: dict[int, int] = {}
    async with store_at(directory, budget_bytes=40_000_000) as client:
        print("ready", flush=True)  # noqa: T201  (the parent reads it)
        while True:
            number = rng.randrange(100)
            start = reached.get(number) or await client.look_up(path(4000, number))
            stop = min(4000, start + rng.choice([7, 50, 300, 1000]))
            tokens = path(stop, number)
            assert await client.correct(tokens) == start
            client.remember(str(number), str(stop).encode(), tokens)
            if start < stop and await client.save(tokens, start) == "":
                reached[number] = stop
                print(number, stop, flush=True)  # noqa: T201  (the parent reads it)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))

"""What sessions cost in RAM: on the books of the daemon, and of the process that serves them.

Agents of 1,500 tokens each are added one by one to the real daemon, first such that have nothing in
common, then such that have all but a few tokens in common. What is expected is the bare size of
their keys and values; everything above it is overhead.

Run: just bench-named
"""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from bench.client import Client, connected
from bench.models import SHAPES, write
from bench.report import show
from bench.resuming import settled
from bench.servers import Server, ours
from bench.stall import Fresh, fresh_texts
from semantic_actors.daemon.memory import WATCH_INTERVAL_S
from semantic_actors.kv.blocks import BLOCK_TOKENS

MODEL: Final = "30M"
ROW_BYTES: Final = SHAPES[MODEL].row_bytes
AGENTS: Final = (1, 5, 10)
TOKENS: Final = 1_500
SHARERS: Final = 16
OWN_TOKENS: Final = 30
"""What each of those that share a prefix has for itself."""

ANSWER: Final = 8
LENGTHS: Final = (700, 4_000)
"""Shortest and longest of the conversations whose padding is summed up."""

MB: Final = 1e6
MOST_PER_AGENT: Final = 100 * MB
LINEAR: Final = 1.1
PADDING: Final = 0.2
BOOKED: Final = 1.2
"""Bytes on the books for each byte expected; of shared prefixes, too."""

RESIDENT: Final = 1.5
"""Bytes by which the process grows for each byte on the books."""


class Point(NamedTuple):
    """Bytes with so many agents: bare rows, on the pool's books, and held by the process."""

    agents: int
    bare: float
    booked: float
    held: float


class Grown(NamedTuple):
    """What was seen while agents came. `weights` in bytes."""

    weights: float
    alone: list[Point]
    shared: Point


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    """Let agents come to one daemon; with none, what it holds is what it needs to serve at all."""
    scratch = tmp_path_factory.mktemp("memory")
    folder = write(scratch / MODEL, MODEL)
    weights = (folder / "model.safetensors").stat().st_size
    with ours(folder, scratch) as server:
        return asyncio.run(_grow(server, weights))


async def _grow(server: Server, weights: int) -> Grown:
    fresh = fresh_texts("memory")
    async with connected(server) as client:
        await client.complete(fresh(TOKENS), ANSWER)  # what a first answer needs, it needs once
        before = (await client.counters())["pool_used_bytes"]
        alone = [await _point(client, 0, 0, before)]
        for agents in range(1, max(AGENTS) + 1):
            await client.complete(fresh(TOKENS), ANSWER, session=f"{agents}")
            if agents in AGENTS:
                bare = agents * (TOKENS + ANSWER - 1)
                alone.append(await _point(client, agents, bare, before))
        before = (await client.counters())["pool_used_bytes"]
        prefix = fresh(TOKENS)
        await asyncio.gather(*(_share(client, fresh, prefix, n) for n in range(SHARERS)))
        rows = TOKENS + SHARERS * BLOCK_TOKENS
        return Grown(weights, alone, await _point(client, SHARERS, rows, before))


async def _share(client: Client, fresh: Fresh, prefix: str, number: int) -> None:
    await client.complete(prefix + fresh(OWN_TOKENS), ANSWER, session=f"sharer {number}")


async def _point(client: Client, agents: int, rows: int, before: float) -> Point:
    """Look once nothing moves any more, and the daemon has looked at itself since."""
    await settled(client)
    await asyncio.sleep(1.5 * WATCH_INTERVAL_S)
    now = await client.counters()
    booked = now["pool_used_bytes"] - before
    return Point(agents, rows * ROW_BYTES, booked, now["memory_own_bytes"])


def test_memory_per_agent_1_5_10_agents(grown: Grown) -> None:
    """Ten agents take ten times what one takes, and each of them less than 100 MB.

    Sixteen with one prefix take what the prefix takes and a block each.
    """
    _, *points = grown.alone
    one = points[0]
    rows = {
        f"{p.agents} agents": {"booked, MB": p.booked / MB, "each, MB": p.booked / p.agents / MB}
        for p in [*points, grown.shared]
    }
    show(f"{MODEL}, {TOKENS} tokens", rows)
    for point in points:
        assert point.booked <= LINEAR * point.agents * one.booked
        assert point.booked / point.agents < MOST_PER_AGENT
    assert grown.shared.booked <= BOOKED * grown.shared.bare


def test_block_padding_overhead(tmp_path: Path) -> None:
    """Caches grow by whole blocks; over conversations of all lengths that is a few percent."""
    chance = random.Random(7)
    lengths = [chance.randrange(*LENGTHS) for _ in range(max(AGENTS))]
    folder = write(tmp_path / "4M", "4M")

    async def talk(server: Server) -> float:
        fresh = fresh_texts("padding")
        async with connected(server) as client:
            for tokens in lengths:
                await client.complete(fresh(tokens), 1)
            return (await client.counters())["pool_used_bytes"]

    with ours(folder, tmp_path) as server:
        booked = asyncio.run(talk(server))

    bare = sum(lengths) * SHAPES["4M"].row_bytes
    padding = booked / bare - 1
    figures = {"bare, MB": bare / MB, "booked, MB": booked / MB, "padding": padding}
    show("4M", {f"{len(lengths)} of {min(lengths)} to {max(lengths)} tokens": figures})
    assert 0 <= padding < PADDING


def test_cache_vs_model_memory_ratio(grown: Grown) -> None:
    """Keys and values stand to the weights as they should; the rest of the house is small."""
    start, *_, ten = grown.alone
    should, is_ = ten.bare / grown.weights, ten.booked / grown.weights
    figures = {
        "weights, MB": grown.weights / MB,
        "process without agents, MB": start.held / MB,
        "caches of ten, MB": ten.booked / MB,
        "caches / weights": is_,
        "expected": should,
    }
    show(MODEL, {"memory": figures})
    assert start.held >= grown.weights
    assert should <= is_ <= BOOKED * should


def test_actual_vs_theoretical_memory(grown: Grown) -> None:
    """The books are near the bare size, and the process grows by what is on the books."""
    start, *points = grown.alone
    rows = dict(_growths(start, points))
    show(f"{MODEL}, {TOKENS} tokens each", rows)
    assert all(row["booked / bare"] <= BOOKED for row in rows.values())
    assert points[-1].held - points[0].held <= RESIDENT * (points[-1].booked - points[0].booked)


def _growths(start: Point, points: list[Point]) -> Iterator[tuple[str, dict[str, float]]]:
    for point in points:
        grown = point.held - start.held
        yield (
            f"{point.agents} agents",
            {
                "bare, MB": point.bare / MB,
                "booked, MB": point.booked / MB,
                "process grown, MB": grown / MB,
                "booked / bare": point.booked / point.bare,
                "grown / booked": grown / point.booked,
            },
        )

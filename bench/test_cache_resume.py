"""Saving a session and coming back to it, at 2K, 4K and 8K tokens, against the real daemon.

Every request succeeds, and what it claims is counted: rows on disk, tokens restored, tokens fed.
Times are printed, and compared with each other only: a machine that is slow today is slow at all.

Run: just bench-named
"""

import asyncio
import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from bench.client import Client, connected
from bench.models import SHAPES, Words
from bench.report import Row, show
from bench.resuming import ASKED, Scene, Talk, begin, settled
from bench.servers import Server
from bench.shelf import Shelf, opened
from bench.stall import fresh_texts

MODEL: Final = "30M"
SIZES: Final = (2_048, 4_096, 8_192)
ROUNDS: Final = 3

SAVED_SHARE: Final = 0.2
"""Of the time in which a session was computed, for what is left to save at its end."""

ON_DISK: Final = 1.1
"""Bytes of files for each byte of keys and values."""

LOADED_SHARES: Final = {2_048: 0.2, 4_096: 0.1, 8_192: 0.05}
"""Of a cold first token's time, for a restored one."""

FIRST_SHARE: Final = 0.25
"""The same where it is the very first request of a daemon, which does everything once."""

DECODE_TOKENS: Final = 64
DECODE_SHARE: Final = 0.8
"""Of the tokens per second of a session that never left, for one that was restored."""


class Begun(NamedTuple):
    """Three sessions on disk. `ready_s` is from a start without state to a daemon that serves."""

    scene: Scene
    cold: dict[int, Row]
    ready_s: float


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """Compute three sessions, save them, and leave."""
    options = Namespace(sizes=SIZES, rounds=4 * ROUNDS, cold_disk=False)
    scene = Scene(MODEL, options, tmp_path_factory.mktemp("resume"))
    started = time.perf_counter()
    with scene.served() as server:
        ready_s = time.perf_counter() - started
        cold = asyncio.run(begin(scene, server))
    return Begun(scene, cold, ready_s)


@pytest.fixture
def shelf(begun: Begun) -> Iterator[Shelf]:
    """Look at the disk while nobody serves from it."""
    with opened(begun.scene.state) as found:
        yield found


def test_cache_save_time_2k_4k_8k_tokens(begun: Begun, shelf: Shelf) -> None:
    """All is on disk soon after the answer, at hardly more than its bare size."""
    rows, words = {}, Words()
    for tokens, talk in begun.scene.talks.items():
        path = words.ids(talk.text)
        kept = shelf.kept(path)
        computed, saved = (begun.cold[tokens][name] for name in ("cold", "saved"))
        rows[f"{tokens} tokens"] = {
            "on disk, MB": kept * shelf.layout.row_bytes / 1e6,
            "computed, ms": 1e3 * computed,
            "then saved, ms": 1e3 * saved,
        }
        assert len(path) - 1 <= kept <= len(path)
        assert saved <= SAVED_SHARE * computed
    show(f"{MODEL}, saved", rows)
    assert shelf.layout.row_bytes == SHAPES[MODEL].row_bytes
    whole = sum(shelf.kept(words.ids(talk.text)) for talk in begun.scene.talks.values())
    assert shelf.size_bytes <= ON_DISK * whole * shelf.layout.row_bytes


def test_cache_load_time_2k_4k_8k_tokens(begun: Begun) -> None:
    """After a restart the next turn is a fraction of the first, and a smaller one the longer it is.

    That all but the new tokens come from the disk is checked by `Talk.turn`.
    """
    rows = {}
    first = {tokens: list[float]() for tokens in SIZES}
    for turn in range(ROUNDS):
        for tokens, seconds in asyncio.run(_again(begun, f"load {turn}")).items():
            first[tokens].append(seconds)
    for tokens, some in first.items():
        loaded, cold = statistics.median(some), begun.cold[tokens]["cold"]
        figures = {"cold, ms": 1e3 * cold, "restored, ms": 1e3 * loaded}
        rows[f"{tokens} tokens"] = {**figures, "share": loaded / cold}
    show(f"{MODEL}, first token", rows)
    for tokens in SIZES:
        assert rows[f"{tokens} tokens"]["share"] <= LOADED_SHARES[tokens]


async def _again(begun: Begun, salt: str) -> dict[int, float]:
    fresh = fresh_texts(salt)
    with begun.scene.served() as server:
        async with connected(server) as client:
            await client.complete(fresh(ASKED), 1)
            return {
                tokens: await talk.turn(client, fresh(ASKED), "disk")
                for tokens, talk in begun.scene.talks.items()
            }


def test_resume_generation_speed(begun: Begun) -> None:
    """A session that was restored is answered as fast as one that never left."""
    tokens, talk = max(begun.scene.talks.items())
    restored, unbroken = asyncio.run(_speeds(begun, talk))

    show(f"{MODEL}, {tokens} tokens", {"tokens/s": {"restored": restored, "in RAM": unbroken}})
    assert restored >= DECODE_SHARE * unbroken


async def _speeds(begun: Begun, talk: Talk) -> tuple[float, float]:
    fresh = fresh_texts("speed")
    restored, unbroken = [], []
    with begun.scene.served() as server:
        async with connected(server) as client:
            for _ in range(ROUNDS):
                await begun.scene.push_out(client, fresh)
                before = (await client.counters())["tokens_restored_total"]
                restored.append(await _speed(client, talk, fresh(ASKED)))
                after = (await client.counters())["tokens_restored_total"]
                assert after - before >= max(SIZES)
                unbroken.append(await _speed(client, talk, fresh(ASKED)))
                assert (await client.counters())["tokens_restored_total"] == after
            await settled(client)
    return statistics.median(restored), statistics.median(unbroken)


async def _speed(client: Client, talk: Talk, new: str) -> float:
    """Tokens per second of an answer, from its first to its last; the session goes on by it."""
    heard = await client.complete(talk.text + new, DECODE_TOKENS, session=talk.name)
    talk.text += new + heard.text
    assert heard.text.count(" ") == DECODE_TOKENS
    return (DECODE_TOKENS - 1) / (heard.deltas[-1].at - heard.deltas[0].at)


def test_cold_start_vs_cache_resume(begun: Begun) -> None:
    """From nothing to the first token of 8K tokens: without state, and with it."""
    tokens, talk = max(begun.scene.talks.items())
    started = time.perf_counter()
    with begun.scene.served() as server:
        ready_s = time.perf_counter() - started
        resumed = asyncio.run(_first(server, talk))

    cold = begun.cold[tokens]["cold"]
    sides = {
        "without state": {"ready, s": begun.ready_s, "first token, s": cold},
        "resumed": {"ready, s": ready_s, "first token, s": resumed},
    }
    show(
        f"{MODEL}, {tokens} tokens", {k: {**v, "in all": sum(v.values())} for k, v in sides.items()}
    )
    assert resumed <= FIRST_SHARE * cold
    assert ready_s + resumed < begun.ready_s + cold


async def _first(server: Server, talk: Talk) -> float:
    async with connected(server) as client:
        return await talk.turn(client, fresh_texts("first")(ASKED), "disk")

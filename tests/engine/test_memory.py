"""Steps write in place, and what is given up is given back."""

import gc
from collections.abc import Iterator

import pytest

from tests.engine import tiny

import mlx.core as mx  # isort: skip (after the BLAS)

from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine.mlx_backend import MlxBackend
from semantic_actors.engine.protocol import Feed, Plan
from tests.engine.driver import Driver

MARGIN = 2**18
"""Bytes that come and go with a step, far less than any cache here."""


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing may count on the collector of cycles."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held(driver: Driver, *lengths: int) -> list[CacheId]:
    """Make caches of some lengths, each with a token drawn."""
    ids = [driver.new() for _ in lengths]
    for cache, length in zip(ids, lengths, strict=True):
        driver.feed(cache, tiny.words(length, length), GREEDY)
    return ids


def decode(driver: Driver, ids: list[CacheId], steps: int) -> None:
    """Decode so many steps, one ahead of what is collected."""
    under_way = []
    for step in range(steps):
        feeds = tuple(Feed(cache, driver.positions[cache], (), GREEDY) for cache in ids)
        under_way.append(driver.backend.launch(Plan(step + 1, feeds=feeds)))
        for cache in ids:
            driver.positions[cache] += 1
        if len(under_way) > 1:
            under_way.pop(0)()
    under_way.pop()()


def active() -> int:
    """Bytes that arrays occupy now."""
    mx.clear_cache()
    return int(mx.get_active_memory())


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("lengths", [(3_000,), (3_000, 2_000), (900, 880, 860)])
def test_decoding_copies_no_cache(lengths: tuple[int, ...]) -> None:
    """Alone, beside others and in a group: the peak stays near what the caches occupy."""
    driver = Driver(tiny.backend("llama"))
    ids = held(driver, *lengths)
    decode(driver, ids, 3)
    before = active()
    mx.reset_peak_memory()

    decode(driver, ids, 10)

    assert mx.get_peak_memory() - before <= MARGIN


@pytest.mark.usefixtures("uncollected")
def test_a_prompt_in_chunks_copies_its_cache_only_where_it_grows() -> None:
    """The peak stays under three times the cache: the old one, the wider one, and the step."""
    driver = Driver(tiny.backend("llama"))
    cache, other = driver.new(), driver.new()
    before = active()
    mx.reset_peak_memory()
    tokens = tiny.words(1, 4_096)

    for start in range(0, 4_096, 64):
        size = driver.step({cache: tokens[start : start + 64], other: (1,)})[0].size_bytes  # type: ignore[union-attr]

    scores = 4 * 4 * 64 * 4_096  # bytes of the last chunk's, in four heads
    assert mx.get_peak_memory() - before <= 3 * size + 2 * scores


@pytest.mark.usefixtures("uncollected")
def test_who_leaves_a_group_leaves_all_of_it() -> None:
    """As members go idle one by one, memory is what the caches say they occupy."""
    backend: MlxBackend = tiny.backend("llama")
    driver = Driver(backend)
    base = active()
    ids = held(driver, *(150 + i for i in range(8)))

    for left in range(8, 0, -1):
        decode(driver, ids[:left], 3)
        occupied = sum(one.past.size_bytes() for one in backend._held.values())
        assert active() - base <= occupied + MARGIN


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("leaver", [0, 5, 11])
def test_who_joins_or_leaves_a_group_is_copied_and_nobody_else(leaver: int) -> None:
    """The peak grows by rows, not by the group."""
    backend: MlxBackend = tiny.backend("llama")
    driver = Driver(backend)
    ids = held(driver, *(900 + i for i in range(12)))
    decode(driver, ids, 3)
    row = backend._held[ids[0]].past.size_bytes()
    others = ids[:leaver] + ids[leaver + 1 :]
    before = active()
    mx.reset_peak_memory()

    decode(driver, others, 3)
    left = int(mx.get_peak_memory()) - before
    decode(driver, ids, 3)
    joined = int(mx.get_peak_memory()) - before

    assert left <= 2 * row + MARGIN  # its own arrays, and the last row on its way
    assert joined <= 3 * row + MARGIN


@pytest.mark.usefixtures("uncollected")
def test_a_new_epoch_starts_empty() -> None:
    """Groups are gone with the caches."""
    driver = Driver(tiny.backend("llama"))
    base = active()
    decode(driver, held(driver, 150, 151, 152), 3)

    driver.backend.reset()

    assert active() - base <= MARGIN

"""What sequences share is in memory once, and read as if each had it to itself."""

import gc

import pytest

from tests.engine import tiny

import mlx.core as mx  # isort: skip (after the BLAS)

from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine.forward import views
from semantic_actors.engine.mlx_backend import MlxBackend
from semantic_actors.engine.protocol import Plan, Shrink
from tests.engine.driver import Driver

SESSIONS = 16
PREFIX = 1_500


def _active_bytes() -> int:
    gc.collect()
    mx.clear_cache()
    return int(mx.get_active_memory())


def _drop(driver: Driver, *caches: CacheId) -> None:
    driver.backend.launch(Plan(1, drops=caches))()


@pytest.fixture(scope="module")
def backend() -> MlxBackend:
    """Make a model that can share."""
    return tiny.backend("llama", context=4_096)


def test_sixteen_sessions_hold_one_prefix(backend: MlxBackend) -> None:
    """Measured memory is that of one prefix and the tails, and goes with the last of them."""
    backend.reset()
    driver = Driver(backend)
    empty = _active_bytes()
    first = driver.new()
    driver.feed(first, tiny.words(1, PREFIX))
    one = _active_bytes() - empty

    others = [driver.new(first, PREFIX, share=True) for _ in range(SESSIONS - 1)]
    everyone = [first, *others]
    for _ in range(3):
        driver.step({cache: tiny.words(cache, 1) for cache in everyone}, GREEDY)
    all_ = _active_bytes() - empty
    tails = SESSIONS * backend.info.footprint.size_bytes(3)

    assert all_ <= 1.2 * one + tails
    _drop(driver, *everyone[:-1])
    assert _active_bytes() - empty >= 0.8 * one
    _drop(driver, everyone[-1])
    assert _active_bytes() - empty <= 0.05 * one


@pytest.mark.parametrize("fused", [False, True])
def test_a_chunk_behind_spans_sees_all_of_them(
    backend: MlxBackend, monkeypatch: pytest.MonkeyPatch, *, fused: bool
) -> None:
    """Rows that are prefilled behind shared tokens give the token of a run alone."""
    monkeypatch.setattr(views, "fuses_chunks", lambda: fused)
    backend.reset()
    driver = Driver(backend)
    head, middle, tail = tiny.words(1, 400), tiny.words(2, 300), tiny.words(3, 90)
    first = driver.new()
    driver.feed(first, head)
    second = driver.new(first, 390, share=True)
    driver.feed(second, middle)
    third = driver.new(second, 650, share=True)

    drawn = [driver.answer(one, tail, 4, GREEDY) for one in (first, second, third)]

    alone = [head, head[:390] + middle, (head[:390] + middle)[:650]]
    assert drawn == [driver.answer(driver.new(), one + tail, 4, GREEDY) for one in alone]


@pytest.mark.parametrize("take", [False, True])
def test_short_spans_are_copied_together(backend: MlxBackend, *, take: bool) -> None:
    """Who has many spans behind him goes on from fewer, and the answer is the same."""
    backend.reset()
    driver = Driver(backend)
    tokens = tiny.words(1, 900)
    cache = driver.new()
    for start in range(0, 900, 300):
        driver.feed(cache, tokens[start : start + 300])
        driver.new(cache, start + 300, share=True)

    copied = driver.new(cache, 880, take=take, behind=300)
    fed = driver.feed(copied, (5, 6))

    assert fed.frozen == 300
    expected = driver.token(driver.new(), (*tokens[:880], 5, 6, 7), GREEDY)
    assert expected == driver.token(copied, (7,), GREEDY)


def test_a_span_shrinks_to_what_is_left_of_it(backend: MlxBackend) -> None:
    """When the one that had all of it is gone, the others keep their part, and its memory only."""
    backend.reset()
    driver = Driver(backend)
    empty = _active_bytes()
    tokens = tiny.words(1, 3_000)
    long = driver.new()
    driver.feed(long, tokens)
    whole = _active_bytes() - empty
    short = driver.new(long, 300, share=True)

    plan = Plan(1, drops=(long,), shrinks=(Shrink(short, 0, 300),))
    backend.launch(plan)()

    assert _active_bytes() - empty < 0.2 * whole
    expected = driver.token(driver.new(), (*tokens[:300], 5), GREEDY)
    assert expected == driver.token(short, (5,), GREEDY)

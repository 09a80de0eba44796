"""What a cache holds is what it says it holds."""

from collections.abc import Callable
from math import inf

from tests.engine import tiny

import mlx.core as mx  # isort: skip (after the BLAS)
import pytest
from mlx_lm.models.cache import (
    ArraysCache,
    ConcatenateKVCache,
    KVCache,
    QuantizedKVCache,
    RotatingKVCache,
)

from semantic_actors.engine import caches
from tests.engine.driver import Driver

KEPT = ("llama", "gemma3_text", "qwen3_next", "llama4", "deepseek_v41", "deepseek_v32", "mamba2")


def _rows(seed: int, count: int) -> mx.array:
    mx.random.seed(seed)
    return mx.random.normal((1, 2, count, 64))


def _fed(layer: object, *counts: int) -> caches.Layers:
    for i, count in enumerate(counts):
        layer.update_and_fetch(_rows(i, count), _rows(i, count))  # type: ignore[attr-defined]
    mx.eval(caches.arrays([layer]))
    return [layer]


@pytest.mark.slow
@pytest.mark.parametrize("family", KEPT)
def test_the_size_is_all_that_is_kept_alive(family: str) -> None:
    """No array keeps a larger parent: dropping a cache frees what its size said, within 64 KiB."""
    backend = tiny.backend(family)
    driver = Driver(backend)
    cache = driver.new()
    driver.feed(cache, tiny.words(1, 1500))
    size = driver.feed(cache, tiny.words(2, 1)).size_bytes
    mx.clear_cache()
    before = mx.get_active_memory()

    backend.reset()

    assert before - mx.get_active_memory() <= size + 2**16


@pytest.mark.parametrize("make", [KVCache, QuantizedKVCache, ConcatenateKVCache])
@pytest.mark.parametrize("keep", [1, 200, 256, 999])
def test_a_cut_is_exact_and_gives_memory_back(make: type, keep: int) -> None:
    """After a cut, new rows follow the kept ones, and no surplus buffer stays."""
    layers = _fed(make(), 1000)

    caches.trim(layers, 1000, keep)

    rows = caches.arrays(layers)[0].shape[-2]
    assert keep <= rows <= keep + 2 * caches.STEP
    keys, _ = layers[0].update_and_fetch(_rows(9, 3), _rows(9, 3))
    expected, _ = _fed(make(), 1000)[0].keys_and_values()
    if make is not QuantizedKVCache:
        assert mx.array_equal(mx.concatenate([expected[..., :keep, :], _rows(9, 3)], -2), keys)
    else:
        assert mx.array_equal(expected[0][..., :keep, :], keys[0][..., :keep, :])
        assert keys[0].shape[-2] == keep + 3


OWNED = {
    "plain": (KVCache, 100),
    "plain, at a step": (KVCache, 256),
    "quantized": (QuantizedKVCache, 256),
    "concatenated": (ConcatenateKVCache, 300),
    "window": (lambda: RotatingKVCache(400), 300),
    "wrapped window": (lambda: RotatingKVCache(200), 300),
}


@pytest.mark.parametrize(("make", "keep"), OWNED.values(), ids=OWNED)
def test_a_fork_owns_its_buffers(make: Callable[[], object], keep: int) -> None:
    """A write to the fork leaves the source as it was, and neither shares a buffer."""
    layers = _fed(make(), 300)
    mx.clear_cache()
    before = mx.get_active_memory()

    [twin] = caches.fork(layers, 300, keep)

    grown = mx.get_active_memory() - before
    assert grown >= caches.size_bytes([twin])
    untouched = [mx.array(array) for array in caches.arrays(layers)]
    twin.update_and_fetch(_rows(5, 4), _rows(5, 4))
    mx.eval(caches.arrays([twin]))
    for array, same in zip(caches.arrays(layers), untouched, strict=True):
        assert mx.array_equal(same, array)


def test_a_window_can_be_cut_until_it_wraps() -> None:
    """Plain attention can always be cut, a window below its width; the narrowest decides."""
    assert caches.cut_limit([KVCache()]) == inf
    assert caches.cut_limit([KVCache(), RotatingKVCache(64), RotatingKVCache(32)]) == 32
    assert caches.cut_limit([KVCache(), ArraysCache(2)]) == 0


def test_a_window_keeps_its_first_tokens() -> None:
    """Compacting a window with attention sinks (`keep`) is what mlx-lm's next step would do."""
    stock, [ours] = _fed(RotatingKVCache(32, keep=4), 50)[0], _fed(RotatingKVCache(32, keep=4), 50)

    caches.compact([ours])

    assert caches.arrays([ours])[0].shape[-2] == 32
    for count in (1, 1, 7, 40, 1):
        expected, _ = stock.update_and_fetch(_rows(6, count), _rows(6, count))
        keys, _ = ours.update_and_fetch(_rows(6, count), _rows(6, count))
        assert mx.array_equal(expected, keys)


def test_an_unknown_class_is_never_cut() -> None:
    """A cache class nobody has looked at can be continued and copied, not cut."""

    class Novel(KVCache):  # type: ignore[misc]
        pass

    layers = _fed(Novel(), 10)

    assert caches.cut_limit(layers) == 0
    [twin] = caches.fork(layers, 10, 10)
    twin.update_and_fetch(_rows(5, 4), _rows(5, 4))
    assert layers[0].offset == 10


def test_a_layer_that_is_never_filled_holds_nothing() -> None:
    """A model may carry caches it never fills; they cut, fork and weigh as nothing."""
    layers = [KVCache()]

    caches.trim(layers, 10, 5)

    assert caches.size_bytes(caches.fork(layers, 10, 5)) == 0


def test_a_cut_that_the_cache_refuses_is_an_error() -> None:
    """A cache that cuts less than it was told to does not go unnoticed."""
    layers = _fed(KVCache(), 10)

    with pytest.raises(RuntimeError, match="cannot be cut"):
        caches.trim(layers, 20, 5)


@pytest.mark.parametrize("held", [0, 300, 511])
@pytest.mark.parametrize("first", [1, 40, 2_000])
def test_a_prompt_that_is_expected_is_given_room_once(held: int, first: int) -> None:
    """However it is divided into chunks; what follows it is given room as ever."""
    layer = KVCache()
    layers = [layer]
    if held:
        _fed(layer, held)
    caches.expect(layers, 5_000)
    rooms = []
    while layer.offset < 5_000:
        _fed(layer, min(first if layer.offset == held else 700, 5_000 - layer.offset))
        caches.compact(layers)
        rooms.append(caches.room(layer))
    assert len({*rooms} - {caches.STEP, 2 * caches.STEP}) == 1
    assert 5_000 <= rooms[-1] < 5_000 + 2 * caches.STEP

    while layer.offset <= rooms[-1]:
        _fed(layer, 1)

    assert caches.room(layer) <= rooms[-1] + caches.STEP

"""One sequence's KV cache, whatever its family: a list of mlx-lm's cache objects.

Everything here goes by cache class, never by model name. Lengths are given by the caller: mlx-lm's
own `size()` is 0 for four classes and missing on a fifth. A class that is not listed is treated as
recurrent state: it can be continued and copied, never cut.

What mlx-lm keeps is not always what it needs: a chunk leaves a window with more rows than the
window, and a slice keeps its whole parent alive. `compact` gives that back after a chunk, so that
`Footprint` is a true bound.
"""

import copy
from collections.abc import Iterable, Iterator
from math import inf
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models import cache as mlx_lm_cache

from semantic_actors.engine.protocol import Footprint

_stock: Any = mlx_lm_cache  # untyped: its classes share no base worth the name
Layer = Any
Layers = list[Layer]

STEP: int = _stock.KVCache.step
"""Rows by which attention caches grow."""

_PLAIN = (_stock.KVCache, _stock.QuantizedKVCache, _stock.ConcatenateKVCache)
"""One row per token, oldest first, from the first token on."""


def fresh(model: Any) -> Layers:
    """Make the empty cache of `model`."""
    return list(_stock.make_prompt_cache(model))


def arrays(layers: Iterable[Layer]) -> list[mx.array]:
    """Every array the cache holds."""
    return [leaf for layer in _members(layers) for leaf in _leaves(layer)]


def size_bytes(layers: Iterable[Layer]) -> int:
    """Bytes its arrays occupy, padding included."""
    return sum(array.nbytes for array in arrays(layers))


def cut_limit(layers: Iterable[Layer]) -> float:
    """Number of tokens from which on the cache can no longer be cut back.

    Infinite for plain attention, the width of the narrowest window, 0 where anything is recurrent.
    """
    return min((_cut_limit(layer) for layer in _members(layers)), default=inf)


def members(layers: Iterable[Layer]) -> list[Layer]:
    """Every cache, those in lists of caches too, in an order of the model's own."""
    return list(_members(layers))


def is_attention(member: Layer) -> bool:
    """Whether all it holds is keys and values: then what is drawn from it depends on all of it."""
    return type(member) in (_stock.KVCache, _stock.RotatingKVCache)


def is_plain(member: Layer) -> bool:
    """Whether it is keys and values of every token, in their order."""
    return type(member) is _stock.KVCache


def can_stack(member: Layer) -> bool:
    """Whether it can be a row beside others of its kind."""
    return is_state(member) or (is_attention(member) and not getattr(member, "keep", 0))


def is_state(member: Layer) -> bool:
    """Whether it is recurrent state, whose size does not depend on the tokens."""
    return type(member) is _stock.ArraysCache


def room(member: Layer) -> int:
    """Rows that an attention cache has space for; its size changes with them only."""
    return 0 if member.keys is None else int(member.keys.shape[2])


def last_rows(member: Layer, array: mx.array, count: int) -> mx.array:
    """Return the last `count` rows of keys or values, in the order of the tokens."""
    if type(member) is _stock.RotatingKVCache:
        return member._temporal_order(array)[..., -count:, :]  # type: ignore[no-any-return]  # noqa: SLF001
    return array[..., member.offset - count : member.offset, :]


def refill(member: Layer, keys: mx.array, values: mx.array, length: int) -> None:
    """Make `member` hold copies of the last rows of a sequence of `length` tokens."""
    rows = keys.shape[2]
    member.offset = length
    if type(member) is _stock.RotatingKVCache:
        member.keys, member.values = _private(keys, rows, rows), _private(values, rows, rows)
        member._idx = rows  # noqa: SLF001
    else:
        room = (rows // STEP + 1) * STEP
        member.keys, member.values = _private(keys, rows, room), _private(values, rows, room)


def copied(array: mx.array, rows: int) -> mx.array:
    """Copy the first rows of keys or values to a buffer of their own."""
    return _private(array, rows, rows)


def expect(layers: Iterable[Layer], tokens: int) -> None:
    """Let the next growth make room for so many tokens at once; `compact` ends that."""
    for layer in _members(layers):
        if type(layer) is _stock.KVCache and tokens > room(layer):
            layer.step = max(STEP, -(-(tokens - layer.offset) // STEP) * STEP)
            layer.expected = tokens


def trim(layers: Iterable[Layer], length: int, keep: int) -> None:
    """Cut a cache of `length` tokens back to its first `keep`, in place; see `cut_limit`."""
    for layer in _members(layers):
        if keep == length or _unused(layer):
            continue
        if layer.trim(length - keep) != length - keep:
            msg = f"{type(layer).__name__} of {length} tokens cannot be cut back to {keep}"
            raise RuntimeError(msg)
        if type(layer) is _stock.ConcatenateKVCache or _rows(layer) - keep >= 2 * STEP:
            _reallocate(layer, keep)
            mx.eval(_leaves(layer))  # layer by layer: never two copies of the whole cache


def fork(layers: Iterable[Layer], length: int, keep: int) -> Layers:
    """Copy the first `keep` tokens of a cache of `length`; the two share no mutable state."""
    forked = [_fork(layer, length, keep) for layer in layers]
    mx.eval(arrays(forked))
    return forked


def compact(layers: Iterable[Layer]) -> None:
    """Let go of what a chunk left behind and no later token will read. Lazy."""
    for layer in _members(layers):
        if type(layer) is _stock.RotatingKVCache:
            _compact_window(layer)
        elif type(layer) is _stock.KVCache:
            if room(layer) >= getattr(layer, "expected", 0):
                layer.step = STEP
        elif type(layer) not in _PLAIN:
            if type(layer) is _stock.ChunkedKVCache:
                layer.maybe_trim_front()
            _map_leaves(layer, mx.contiguous)  # copies only what keeps a larger parent alive


def footprint(
    shorter: Layers, longer: Layers, *, tokens: tuple[int, int], context: int
) -> Footprint:
    """Bound the size of any cache up to `context` from two of `tokens` tokens.

    A window counts as full from the start, unless it is as wide as the context.
    """
    fixed = per_token = 0
    for small, large in zip(_members(shorter), _members(longer), strict=True):
        size = size_bytes([large])
        if type(large) in (*_PLAIN, _stock.RotatingKVCache, _stock.ChunkedKVCache):
            row = 0 if _unused(large) else -(-size // _rows(large))
            width = _window(large)
            if width is None or width >= context:
                fixed, per_token = fixed + STEP * row, per_token + row
            else:
                fixed += (width + STEP) * row
        else:
            fixed += size
            per_token += max(0, -((size_bytes([small]) - size) // (tokens[1] - tokens[0])))
    return Footprint(fixed, per_token, STEP, cut_limit(longer))


def _members(layers: Iterable[Layer]) -> Iterator[Layer]:
    for layer in layers:
        if isinstance(layer, _stock.CacheList):
            yield from _members(layer.caches)
        else:
            yield layer


def _leaves(layer: Layer) -> list[mx.array]:
    flat: Any = tree_flatten(list(vars(layer).values()))  # pairs of a path and a leaf
    return [leaf for _, leaf in flat if isinstance(leaf, mx.array)]


def _map_leaves(layer: Layer, change: Any) -> None:
    def leaf(value: Any) -> Any:
        return change(value) if isinstance(value, mx.array) else value

    for name, value in list(vars(layer).items()):
        setattr(layer, name, tree_map(leaf, value))


def _unused(layer: Layer) -> bool:
    """Whether the model never fills this cache (nemotron-nas has such)."""
    return getattr(layer, "keys", layer) is None


def _rows(layer: Layer) -> int:
    return int(_leaves(layer)[0].shape[-2])


def _window(layer: Layer) -> int | None:
    if type(layer) is _stock.RotatingKVCache:
        return int(layer.max_size)
    return int(layer.chunk_size) if type(layer) is _stock.ChunkedKVCache else None


def _cut_limit(layer: Layer) -> float:
    if type(layer) in _PLAIN:
        return inf
    return float(layer.max_size) if type(layer) is _stock.RotatingKVCache else 0.0


def _fork(layer: Layer, length: int, keep: int) -> Layer:
    if isinstance(layer, _stock.CacheList):
        return _stock.CacheList(*(_fork(member, length, keep) for member in layer.caches))
    twin = copy.deepcopy(layer)  # arrays are shared until one side writes
    if _unused(twin):
        return twin
    if type(twin) in _PLAIN:
        _reallocate(twin, keep)
        twin.offset = keep
    elif type(twin) is _stock.RotatingKVCache:
        _map_leaves(twin, lambda array: _private(array, array.shape[-2], array.shape[-2]))
        trim([twin], length, keep)
    return twin


def _reallocate(layer: Layer, keep: int) -> None:
    """Move the first `keep` rows to buffers of their own, with room to grow."""
    room = keep if type(layer) is _stock.ConcatenateKVCache else (keep // STEP + 1) * STEP
    _map_leaves(layer, lambda array: _private(array, keep, room))


def _private(array: mx.array, rows: int, room: int) -> mx.array:
    """Copy the first `rows` into a new buffer of `room` rows that nothing else holds.

    In halves, because mlx gives a whole or a slice back as a view of the old buffer.
    """
    half = rows // 2
    rest = mx.zeros((*array.shape[:-2], room - rows, array.shape[-1]), array.dtype)
    return mx.concatenate([array[..., :half, :], array[..., half:rows, :], rest], axis=-2)


def _compact_window(layer: Layer) -> None:
    """Cut a window to its width, as mlx-lm itself does at the next single token."""
    surplus = 0 if _unused(layer) else _rows(layer) - layer.max_size
    if surplus > 0:
        layer.keys = layer._trim(surplus, layer.keys)  # noqa: SLF001
        layer.values = layer._trim(surplus, layer.values)  # noqa: SLF001
        layer._idx = layer.max_size  # noqa: SLF001

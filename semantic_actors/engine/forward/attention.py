"""Attention of a chunk or a single token over one sequence's keys and values.

Queries are `(1, heads, rows, width)`, keys and values `(1, kv heads, tokens, width)`; the rows are
the last of the tokens.
"""

from dataclasses import dataclass
from typing import Final

import mlx.core as mx

MAX_SCORE_BYTES: Final = 64 << 20
"""Of the matrix of scores that attention makes at a time where it is not fused."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a layer asks for. `window` is the number of tokens a row sees, itself included."""

    scale: float
    window: int | None
    sinks: mx.array | None


def single(queries: mx.array, keys: mx.array, values: mx.array, terms: Terms) -> mx.array:
    """Attend with one row, which sees all tokens of its window."""
    if terms.window is not None and keys.shape[2] > terms.window:
        keys, values = keys[..., -terms.window :, :], values[..., -terms.window :, :]
    return together(queries, keys, values, terms, None)


def together(
    queries: mx.array, keys: mx.array, values: mx.array, terms: Terms, mask: mx.array | str | None
) -> mx.array:
    """Attend in one call of mlx."""
    return mx.fast.scaled_dot_product_attention(
        queries, keys, values, scale=terms.scale, mask=mask, sinks=terms.sinks
    )


def chunk(queries: mx.array, keys: mx.array, values: mx.array, terms: Terms) -> mx.array:
    """Attend with the last rows, each of which sees the tokens up to itself.

    In blocks of rows, so that no matrix of scores is larger than `MAX_SCORE_BYTES`.
    """
    heads, count = queries.shape[1:3]
    tokens = keys.shape[2]
    window = terms.window if terms.window is not None and tokens > terms.window else None
    seen = tokens if window is None else min(tokens, window + count)
    height = max(1, MAX_SCORE_BYTES // (4 * heads * seen))
    blocks = []
    for low in range(0, count, height):
        high = min(count, low + height)
        end = tokens - count + high
        first = 0 if window is None else max(0, tokens - count + low - window + 1)
        mask = "causal" if window is None else _band(high - low, end - first, window)
        part = keys[..., first:end, :], values[..., first:end, :]
        blocks.append(together(queries[:, :, low:high], *part, terms, mask))
    return blocks[0] if len(blocks) == 1 else mx.concatenate(blocks, axis=2)


def _band(rows: int, tokens: int, window: int) -> mx.array:
    """What the last `rows` of `tokens` see through a window; shape `(rows, tokens)`."""
    row = mx.arange(tokens - rows, tokens)[:, None]
    token = mx.arange(tokens)[None]
    return (row >= token) & (row < token + window)

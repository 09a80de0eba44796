"""Attention of some rows over the keys and values of their sequences.

In one call of mlx for each part, or on the host where that is faster (`host_softmax`). No matrix of
scores is larger than `MAX_SCORE_BYTES`: a chunk over many tokens is divided.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import mlx.core as mx

from semantic_actors.engine.forward import host_softmax
from semantic_actors.engine.forward.terms import Part, Terms
from semantic_actors.engine.protocol import CollectLast

MAX_SCORE_BYTES: Final = 64 << 20
"""Of the matrix of scores that attention makes at a time where it is not fused."""


def attend(parts: Sequence[Part], terms: Terms, settle: CollectLast) -> list[mx.array]:
    """Attend with the rows of each part, `(sequences, heads, rows, width)`.

    `settle` is called before the device is waited for, if it is.
    """
    divided = [list(_divided(part, terms.window)) for part in parts]
    blocks = [block for part in divided for block in part]
    if host_softmax.pays(blocks):
        settle()
        answers = iter(host_softmax.attend(blocks, terms, MAX_SCORE_BYTES))
    else:
        answers = (_in_one_call(block, terms) for block in blocks)
    return [_joined([next(answers) for _ in part]) for part in divided]


def _in_one_call(part: Part, terms: Terms) -> mx.array:
    return mx.fast.scaled_dot_product_attention(
        part.queries,
        part.keys,
        part.values,
        scale=terms.scale,
        mask=part.mask,
        sinks=terms.sinks,
    )


def _joined(blocks: list[mx.array]) -> mx.array:
    return blocks[0] if len(blocks) == 1 else mx.concatenate(blocks, axis=2)


def _divided(part: Part, window: int | None) -> Iterator[Part]:
    """Cut off what a window hides, and divide what makes too many scores."""
    count, tokens = part.queries.shape[2], part.keys.shape[2]
    if window is not None and tokens <= window:
        window = None
    if count == 1:
        yield part if window is None else part.over(slice(-window, None))
        return
    seen = tokens if window is None else min(tokens, window + count)
    height = max(1, MAX_SCORE_BYTES // (4 * part.queries.shape[1] * seen))
    for low in range(0, count, height):
        high = min(count, low + height)
        end = tokens - count + high
        first = 0 if window is None else max(0, tokens - count + low - window + 1)
        mask = "causal" if window is None else _band(high - low, end - first, window)
        yield part.over(slice(first, end), slice(low, high), mask)


def _band(rows: int, tokens: int, window: int) -> mx.array:
    """What the last `rows` of `tokens` see through a window; shape `(rows, tokens)`."""
    row = mx.arange(tokens - rows, tokens)[:, None]
    token = mx.arange(tokens)[None]
    return (row >= token) & (row < token + window)

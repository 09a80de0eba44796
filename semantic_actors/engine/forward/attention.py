"""Attention of some rows over the keys and values of their sequences.

In one call of mlx for each part, or on the host where that is faster (`host_softmax`). No matrix of
scores is larger than `MAX_SCORE_BYTES`: a chunk over many tokens is divided.

A prefix that several sequences have before them is read once, with the rows of all (Hydragen). What
the rows see of it and of their own tokens is then weighed by the sums of both softmaxes.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import mlx.core as mx

from semantic_actors.engine.forward import host_softmax
from semantic_actors.engine.forward.terms import Before, Part, Terms
from semantic_actors.engine.protocol import CollectLast

MAX_SCORE_BYTES: Final = 64 << 20
"""Of the matrix of scores that attention makes at a time where it is not fused."""

Answer = tuple[mx.array, mx.array | None]
"""What a block's rows see, and the logarithm of the sum it was divided by, if that is needed."""


def attend(parts: Sequence[Part], terms: Terms, settle: CollectLast) -> list[mx.array]:
    """Attend with the rows of each part, `(sequences, heads, rows, width)`.

    `settle` is called before the device is waited for, if it is.
    """
    pieces = [[part, *map(part.before, part.prefixes)] for part in parts]
    divided = [[list(_divided(piece, terms.window)) for piece in part] for part in pieces]
    blocks = [block for part in divided for piece in part for block in piece]
    answers: Iterator[Answer]
    if host_softmax.pays(blocks):
        settle()
        answers = iter(host_softmax.attend(blocks, terms, MAX_SCORE_BYTES))
    else:
        several = (len(part) > 1 for part in divided for piece in part for _ in piece)
        pairs = zip(blocks, several, strict=True)
        answers = (_summed(one, terms) if sums else _fused(one, terms) for one, sums in pairs)
    return [
        _merged(part, [_joined([next(answers) for _ in piece]) for piece in one], terms)
        for part, one in zip(parts, divided, strict=True)
    ]


def _fused(part: Part, terms: Terms) -> Answer:
    answer = mx.fast.scaled_dot_product_attention(
        part.queries,
        part.keys,
        part.values,
        scale=terms.scale,
        mask=part.mask,
        sinks=terms.sinks,
    )
    return answer, None


def _summed(part: Part, terms: Terms) -> Answer:
    """As `_fused`, in single calls, with the logarithm of the sum."""
    sequences, heads, rows, width = part.queries.shape
    kv_heads = part.keys.shape[1]
    queries = (part.queries * terms.scale).reshape(sequences, kv_heads, -1, width)
    scores = queries @ part.keys.swapaxes(-1, -2)
    if part.mask is not None:
        hidden = mx.array(-mx.inf, scores.dtype)
        mask = _causal(rows, part.keys.shape[2]) if isinstance(part.mask, str) else part.mask
        shaped = scores.reshape(sequences, heads, rows, -1)
        scores = mx.where(mask, shaped, hidden).reshape(scores.shape)
    totals = mx.logsumexp(scores.astype(mx.float32), axis=-1, keepdims=True)
    weights = mx.exp(scores - totals).astype(part.values.dtype)
    answer = (weights @ part.values).reshape(sequences, heads, rows, -1)
    return answer, totals.reshape(sequences, heads, rows, 1)


def _joined(blocks: list[Answer]) -> Answer:
    if len(blocks) == 1:
        return blocks[0]
    totals = [total for _, total in blocks if total is not None]
    answer = mx.concatenate([block for block, _ in blocks], axis=2)
    return answer, mx.concatenate(totals, axis=2) if totals else None


def _merged(part: Part, pieces: list[Answer], terms: Terms) -> mx.array:
    """Weigh what the rows of a part see of its own tokens and of each prefix."""
    if len(pieces) == 1:
        return pieces[0][0]
    if terms.sinks is not None or terms.window is not None:
        message = "a shared prefix under a window or with sinks"
        raise ValueError(message)
    own, *others = pieces
    placed = [own, *(_placed(part, *pair) for pair in zip(part.prefixes, others, strict=True))]
    totals = mx.stack([total for _, total in placed if total is not None])
    shares = mx.softmax(totals, axis=0).astype(own[0].dtype)
    return mx.sum(mx.stack([answer for answer, _ in placed]) * shares, axis=0)


def _placed(part: Part, prefix: Before, piece: Answer) -> Answer:
    """Lay the rows that see a prefix among all rows; the others see nothing of it."""
    answer, totals = piece
    assert totals is not None
    sequences = part.queries.shape[0]
    if sequences == 1:
        return piece
    answer, totals = answer.swapaxes(0, 2), totals.swapaxes(0, 2)
    if prefix.places is None:
        return answer, totals
    blank = mx.zeros((sequences, *answer.shape[1:]), answer.dtype)
    unseen = mx.full((sequences, *totals.shape[1:]), -mx.inf, totals.dtype)
    blank[prefix.places] = answer
    unseen[prefix.places] = totals
    return blank, unseen


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
        if part.behind:
            rows = slice(low, high)
            yield part.over(slice(0, tokens), rows, _rows_of(part.mask, rows))
            continue
        end = tokens - count + high
        first = 0 if window is None else max(0, tokens - count + low - window + 1)
        mask = "causal" if window is None else _band(high - low, end - first, window)
        yield part.over(slice(first, end), slice(low, high), mask)


def _rows_of(mask: mx.array | str | None, rows: slice) -> mx.array | None:
    return mask[:, :, rows] if isinstance(mask, mx.array) else None


def _causal(rows: int, tokens: int) -> mx.array:
    return _band(rows, tokens, tokens)


def _band(rows: int, tokens: int, window: int) -> mx.array:
    """What the last `rows` of `tokens` see through a window; shape `(rows, tokens)`."""
    row = mx.arange(tokens - rows, tokens)[:, None]
    token = mx.arange(tokens)[None]
    return (row >= token) & (row < token + window)

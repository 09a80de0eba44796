"""Attention whose softmax is numpy's, for processors on which mlx's is slow.

mlx computes exponentials one by one on Linux: 15 ns each, where numpy takes half a one; of a 16K
prompt they were five sixths of the time. So the scores of all parts are evaluated in the middle of
the graph, numpy works on their memory, and the graph goes on from there. It costs one wait for the
device per layer, up to a millisecond where processors are woken up slowly, so it has to pay.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import mlx.core as mx
import numpy as np

from semantic_actors.engine.forward.terms import Part, Terms

WORTH_WAITING: Final = 1 << 18
"""Scores of a layer from which on waiting for the device pays: four milliseconds of mlx's time."""

BLOCK: Final = 1 << 17
"""Scores that numpy goes over at a time: they stay in the processor's cache."""

WORTH_SHARING: Final = 1 << 20
"""Scores that keep a processor busy for a millisecond: each such share is worth another thread."""

_OTHERS: Final = len(os.sched_getaffinity(0)) - 1 if sys.platform == "linux" else 0
_workers: Final = ThreadPoolExecutor(max(1, _OTHERS), "softmax")


def pays(parts: Sequence[Part]) -> bool:
    """Whether to attend so rather than by mlx alone."""
    return (
        sys.platform == "linux"
        and mx.default_device().type == mx.DeviceType.cpu
        and parts[0].queries.dtype == mx.float32 == parts[0].keys.dtype
        and sum(part.scores for part in parts) >= WORTH_WAITING
    )


def attend(
    parts: Sequence[Part], terms: Terms, most_bytes: int
) -> list[tuple[mx.array, mx.array | None]]:
    """Attend with each part, as many at a time as have no more than `most_bytes` of scores.

    Each answer comes with the logarithms of the sums it was divided by.
    """
    answers: list[tuple[mx.array, mx.array | None]] = []
    for together in _batches(parts, most_bytes // 4):
        if answers:
            mx.eval(answers)  # and let go of their scores
        scores = [_scores(part, terms.scale) for part in together]
        mx.eval(scores)
        for part, score in zip(together, scores, strict=True):
            totals, logs = _softmax(np.asarray(score), part, terms)
            answer = _answer(part, score, mx.array(totals))
            answers.append((answer, mx.array(logs.reshape(*answer.shape[:-1], 1))))
    return answers


def _batches(parts: Sequence[Part], most: int) -> Iterator[list[Part]]:
    batch: list[Part] = []
    for part in parts:
        if batch and sum(one.scores for one in batch) + part.scores > most:
            yield batch
            batch = []
        batch.append(part)
    yield batch


def _scores(part: Part, scale: float) -> mx.array:
    """One product for each kv head: `(sequences, kv heads, heads of each x rows, tokens)`."""
    sequences, _, _, width = part.queries.shape
    kv_heads = part.keys.shape[1]
    queries = (part.queries * scale).reshape(sequences, kv_heads, -1, width)
    return queries @ part.keys.swapaxes(-1, -2)


def _answer(part: Part, weights: mx.array, totals: mx.array) -> mx.array:
    answer = (weights @ part.values) / totals
    return answer.reshape(*part.queries.shape[:-1], part.values.shape[-1])


def _softmax(scores: Any, part: Part, terms: Terms) -> tuple[Any, Any]:
    """Replace scores by weights in place; return their sums, by which they are yet to be divided.

    The logarithms that come with them are those of the sums before the peaks were taken off. A sink
    takes part in the sum and has no value.
    """
    sequences, heads, rows, _ = part.queries.shape
    tokens = scores.shape[-1]
    _hide(scores.reshape(sequences, heads, rows, tokens), part.mask)
    lines = scores.reshape(-1, tokens)
    sinks = None
    if terms.sinks is not None:
        each = np.asarray(terms.sinks.astype(mx.float32))
        sinks = np.tile(np.repeat(each, rows), sequences)[:, None]
    totals = np.empty((len(lines), 1), np.float32)
    logs = np.empty_like(totals)
    step = max(1, BLOCK // tokens)
    blocks = [slice(start, start + step) for start in range(0, len(lines), step)]
    work = partial(_weigh, lines, sinks, totals, logs)
    others = min(_OTHERS, lines.size // WORTH_SHARING)
    shares = [_workers.submit(work, blocks[i :: others + 1]) for i in range(1, others + 1)]
    work(blocks[:: others + 1])
    for share in shares:
        share.result()
    return totals.reshape(*scores.shape[:-1], 1), logs


def _weigh(lines: Any, sinks: Any, totals: Any, logs: Any, blocks: Sequence[slice]) -> None:
    """Do some blocks of lines; numpy lets others run meanwhile."""
    for block in blocks:
        line = lines[block]
        peak = line.max(axis=1, keepdims=True)
        if sinks is not None:
            peak = np.maximum(peak, sinks[block])
        with np.errstate(invalid="ignore"):  # what is no number is found where it is drawn from
            np.subtract(line, peak, out=line)
        np.exp(line, out=line)
        totals[block] = line.sum(axis=1, keepdims=True)
        if sinks is not None:
            totals[block] += np.exp(sinks[block] - peak)
        logs[block] = np.log(totals[block]) + peak


def _hide(scores: Any, mask: mx.array | str | None) -> None:
    """Make what a row does not see infinitely unlikely."""
    if mask is None:
        return
    if isinstance(mask, mx.array):
        np.copyto(scores, -np.inf, where=~np.asarray(mask))
        return
    rows = scores.shape[-2]
    later = np.triu(np.ones((rows, rows), bool), 1)
    np.copyto(scores[..., -rows:], -np.inf, where=later)

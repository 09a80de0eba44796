"""What a loaded model needs, found out by running it: bytes per token, threads per row."""

import time
from collections.abc import Callable
from typing import Final

import mlx.core as mx
import msgspec

from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import blas, caches, loading, sampling, transfer
from semantic_actors.engine.forward import Batched, Past
from semantic_actors.engine.protocol import ModelInfo

PROBE_TOKENS: Final = 64
"""Length of the throwaway cache measured at load, and half that of the second."""

CALIBRATED_ROWS: Final = (1, 4, 16)
"""Rows of a step that is timed with one thread and with all; above the last, all are used."""

CALIBRATION_ROUNDS: Final = 3
"""Of each timing the fastest counts."""

WORTH_ALL_THREADS: Final = 0.7
"""Share of one thread's time below which all are used: while a step runs, the graph of the next is
built on another core, and BLAS threads that wait for each other suffer from it."""

ENOUGH_SECONDS: Final = 0.25
"""A timing that takes longer is not repeated: a large model is not slow by chance."""


GROUPED_BYTES: Final = {mx.DeviceType.cpu: 256 << 20, mx.DeviceType.gpu: 1 << 30}
"""Size of a group of sequences; all of it is copied when it outgrows its columns."""


def info(forward: Batched, loaded: loading.LoadedModel) -> ModelInfo:
    """Feed throwaway caches; that also warms up what the first answer needs."""
    longer = max(2, min(2 * PROBE_TOKENS, loaded.context - 1))
    shorter = longer // 2
    small, large = _fed(forward, shorter), _fed(forward, longer)
    footprint = caches.footprint(
        small.layers, large.layers, tokens=(shorter, longer), context=loaded.context
    )
    footprint = msgspec.structs.replace(footprint, share=forward.can_share)
    grouped = GROUPED_BYTES[mx.default_device().type]
    forward.most_grouped_tokens = grouped / max(1, footprint.bytes_per_token)
    logits = forward([(large, 1)], mx.array([0]), [0])
    mx.eval(sampling.draw(logits, [sampling.Row(GREEDY, longer)]).arrays)
    return ModelInfo(
        name=loaded.name,
        family=loaded.family,
        vocabulary=forward.vocabulary,
        context=loaded.context,
        weights_bytes=loaded.weights_bytes,
        footprint=footprint,
        device=loaded.device,
        folder=loaded.folder,
        notes=loaded.notes + forward.notes,
        identity=loaded.identity,
        layout=transfer.layout(large),
    )


def threads(forward: Batched, available: blas.Threads) -> Callable[[int], int]:
    """Find out how many BLAS threads so many rows are fastest with: one, or all.

    On few cores threads cost more than they share; on many they share the memory traffic.
    """
    if available.most == 1:
        return lambda _: 1
    fastest: dict[int, int] = {}
    for rows in CALIBRATED_ROWS:
        one, all_ = (_timed(forward, available, rows, count) for count in (1, available.most))
        fastest[rows] = available.most if all_ < WORTH_ALL_THREADS * one else 1
    return lambda rows: next(
        (count for most, count in fastest.items() if rows <= most), available.most
    )


def _timed(forward: Batched, available: blas.Threads, rows: int, count: int) -> float:
    available.use(count)
    seconds = []
    for _ in range(CALIBRATION_ROUNDS):
        began = time.perf_counter()
        _fed(forward, rows)
        seconds.append(time.perf_counter() - began)
        if seconds[-1] > ENOUGH_SECONDS:
            break
    return min(seconds)


def _fed(forward: Batched, tokens: int) -> Past:
    past = forward.fresh()
    forward([(past, tokens)], mx.zeros(tokens, mx.int32), [])
    mx.eval(caches.arrays(past.layers))
    return past

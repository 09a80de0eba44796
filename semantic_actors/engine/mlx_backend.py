"""The real backend: a model of mlx-lm and a KV cache per id. Only the engine thread calls it.

Each feed is a forward of its own, `(1, n)` ids on its own cache; the graphs of a whole step are
evaluated together. mlx is lazy: a chunk from which nothing is drawn never computes its logits.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import mlx.core as mx

from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import blas, caches, laws, loading, sampling
from semantic_actors.engine.faults import describe
from semantic_actors.engine.protocol import (
    Fed,
    Feed,
    FeedFailed,
    ModelInfo,
    Plan,
    Start,
    StepOutput,
)

SPLIT_ROWS: Final = 32
"""A chunk of more rows has its last token fed alone: the projection onto the vocabulary of every
row would cost more than one more pass over the weights."""

PROBE_TOKENS: Final = 64
"""Length of the throwaway cache measured at load, and half that of the second."""

CLEAR_EVERY_STEPS: Final = 256
"""Steps after which mlx's pool of free buffers is emptied; also done on a step without feeds."""

CALIBRATION_ROUNDS: Final = 3
"""Single tokens timed per thread count; the fastest of each counts."""


@dataclass(slots=True)
class _Held:
    """A cache and the number of tokens in it."""

    layers: caches.Layers
    length: int = 0

    @property
    def floor(self) -> int:
        return caches.floor(self.layers, self.length)


@dataclass(slots=True)
class _Pending:
    """A feed whose graph is built and not yet evaluated: the cache's arrays, and the token."""

    cache: CacheId
    floor: int
    arrays: list[mx.array]
    token: mx.array | None


def open_backend(
    model: str,
    adapter: str | None = None,
    weights: loading.Weights = "auto",
    context: int | None = None,
) -> "MlxBackend":
    """Load a model on the calling thread, which then owns it. Raises `ModelLoadFailed`.

    On failure the thread has no mlx stream left, and had better end.
    """
    try:
        return MlxBackend(loading.load(model, adapter, weights, context))
    except BaseException:
        _leave()
        raise


class MlxBackend:
    """Owns the weights and every cache. State: `_held`, the caches by id."""

    def __init__(self, loaded: loading.LoadedModel) -> None:
        self._model = loaded.model
        self._held: dict[CacheId, _Held] = {}
        self._threads = blas.Threads()
        with loading.told(f"{loaded.name} is read, and does not run on this {loaded.device}"):
            self._info = self._measure(loaded)
            self._decode_threads = self._calibrate()

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        return self._info

    def execute(self, plan: Plan) -> StepOutput:
        """Carry out one step. Raises `BrokenLaw` before anything is done."""
        began = time.perf_counter()
        laws.check(plan, self._held, vocabulary=self._info.vocabulary, context=self._info.context)
        for cache in plan.drops:
            del self._held[cache]
        for start in plan.starts:
            self._held[start.cache] = self._start(start)
        results = self._feed(plan.feeds)
        if not plan.feeds or plan.step % CLEAR_EVERY_STEPS == 0:
            mx.clear_cache()
        return StepOutput(plan.step, results, time.perf_counter() - began)

    def reset(self) -> None:
        """Drop every cache; the weights stay."""
        self._held.clear()
        mx.clear_cache()

    def leave(self) -> None:
        """Let go of the calling thread's streams: a thread that keeps them can abort the exit."""
        _leave()

    def _start(self, start: Start) -> _Held:
        if start.source is None or start.keep == 0:
            if start.take and start.source is not None:
                del self._held[start.source]
            return _Held(caches.fresh(self._model))
        source = self._held[start.source]
        if not start.take:
            return _Held(caches.fork(source.layers, source.length, start.keep), start.keep)
        del self._held[start.source]
        caches.trim(source.layers, source.length, start.keep)
        return _Held(source.layers, start.keep)

    def _feed(self, feeds: tuple[Feed, ...]) -> tuple[Fed | FeedFailed, ...]:
        rows = max((len(feed.tokens) for feed in feeds), default=1)
        self._threads.use(self._decode_threads if rows == 1 else self._threads.most)
        pending = [self._build(feed) for feed in feeds]
        with suppress(Exception):  # `_settle` asks each feed again, and it answers for itself
            mx.eval([(one.arrays, one.token) for one in pending if isinstance(one, _Pending)])
        return tuple(self._settle(one) for one in pending)

    def _build(self, feed: Feed) -> _Pending | FeedFailed:
        held = self._held[feed.cache]
        try:
            token = self._forward(held, feed)
            return _Pending(feed.cache, held.floor, caches.arrays(held.layers), token)
        except Exception as error:  # noqa: BLE001 (a model may raise anything)
            return self._failed(feed.cache, describe(error))

    def _forward(self, held: _Held, feed: Feed) -> mx.array | None:
        tokens = feed.tokens
        if feed.sampling is not None and len(tokens) > SPLIT_ROWS:
            self._call(held, tokens[:-1])
            tokens = tokens[-1:]
        logits = self._call(held, tokens)
        if feed.sampling is None:
            return None
        return sampling.draw(logits[0, -1], feed.sampling, held.length)

    def _call(self, held: _Held, tokens: tuple[int, ...]) -> mx.array:
        logits: mx.array = self._model(mx.array([tokens]), cache=held.layers)
        held.length += len(tokens)
        if len(tokens) > 1:
            caches.compact(held.layers)
        return logits

    def _settle(self, pending: _Pending | FeedFailed) -> Fed | FeedFailed:
        if isinstance(pending, FeedFailed):
            return pending
        try:
            mx.eval(pending.arrays, pending.token)
            token: Any = None if pending.token is None else pending.token.item()
        except Exception as error:  # noqa: BLE001 (a kernel may raise anything)
            return self._failed(pending.cache, describe(error))
        if token == sampling.NOT_A_NUMBER:
            return self._failed(pending.cache, "the logits are not numbers")
        size_bytes = sum(array.nbytes for array in pending.arrays)
        return Fed(pending.cache, size_bytes, pending.floor, token)

    def _failed(self, cache: CacheId, reason: str) -> FeedFailed:
        del self._held[cache]
        return FeedFailed(cache, reason)

    def _measure(self, loaded: loading.LoadedModel) -> ModelInfo:
        """Feed throwaway caches; that also warms up what the first answer needs."""
        longer = max(2, min(2 * PROBE_TOKENS, loaded.context - 1))
        shorter = longer // 2
        small, large = self._probe(shorter), self._probe(longer)
        footprint = caches.footprint(
            small.layers, large.layers, tokens=(shorter, longer), context=loaded.context
        )
        logits = self._call(large, (0,))
        mx.eval(sampling.draw(logits[0, -1], GREEDY, large.length))
        return ModelInfo(
            name=loaded.name,
            family=loaded.family,
            vocabulary=int(logits.shape[-1]),
            context=loaded.context,
            weights_bytes=loaded.weights_bytes,
            footprint=footprint,
            device=loaded.device,
            folder=loaded.folder,
            notes=loaded.notes,
        )

    def _calibrate(self) -> int:
        """Find out how many BLAS threads a single row is fastest with: one, or all.

        On few cores threads cost more than they share; on many they share the memory traffic.
        """
        seconds: dict[int, float] = {}
        for count in (1, self._threads.most) * CALIBRATION_ROUNDS:
            self._threads.use(count)
            began = time.perf_counter()
            self._probe(1)
            seconds[count] = min(seconds.get(count, inf), time.perf_counter() - began)
        return min(seconds, key=seconds.__getitem__)

    def _probe(self, tokens: int) -> _Held:
        held = _Held(caches.fresh(self._model))
        self._call(held, (0,) * tokens)
        mx.eval(caches.arrays(held.layers))
        return held


def _leave() -> None:
    mx.synchronize()
    mx.clear_streams()

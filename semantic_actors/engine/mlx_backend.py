"""The real backend: a model of mlx-lm and a KV cache per id. Only the engine thread calls it.

A step is one forward over the rows of all its feeds (`forward`). `launch` builds its graph and sets
it going; `collect` reads the drawn ids. The graph of the next step may be built in between, on ids
that are not known yet, so that the device never waits for Python. A GPU takes a graph as a whole;
on a CPU mlx holds back all but a few operations, so that a launch takes nearly as long as the step:
there the step before is collected as soon as the next one has begun.

A row whose grammar must know the token drawn last is drawn when the step before is collected, while
the device is busy with the forward already.

A token whose logits are not numbers fails alone, as does a row whose grammar cannot go on. What a
kernel or a module raises ends the thread: the arrays of the whole step are lost with it, and the
epoch after it finds out who it was.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import mlx.core as mx

from semantic_actors.domain.ids import CacheId
from semantic_actors.engine import blas, caches, laws, loading, measure, sampling, transfer
from semantic_actors.engine.forward import Batched, Past
from semantic_actors.engine.guided import Guided
from semantic_actors.engine.held import Awaited, Held, next_ids
from semantic_actors.engine.protocol import (
    Collect,
    CollectLast,
    Fed,
    Feed,
    FeedFailed,
    Load,
    ModelInfo,
    Plan,
    Start,
    StepOutput,
    nothing,
)

CLEAR_EVERY_STEPS: Final = 256
"""Steps after which mlx's pool of free buffers is emptied; also done on a step without feeds."""

DEEP_TOKENS: Final = 1_024
"""Depth at which even a small chunk is fed with all BLAS threads: attention is most of its work."""

EARLY_LAYERS: Final = 2
"""What a slow device is given to do of a step while the step before is collected, which takes up to
a millisecond of waking up."""


@dataclass(slots=True)
class _Launched:
    """A feed whose graph is set going: the cache after it, and which draw of the step is its.

    `refused` says why its grammar cannot go on, if it cannot.
    """

    cache: CacheId
    held: Held
    size_bytes: int
    floor: int
    draw: int | None
    frozen: int
    refused: str


@dataclass(slots=True)
class _Step:
    """A step that is under way. `mark` is evaluated last.

    No array of a cache may be kept here: the next step would copy it instead of writing to it.
    """

    number: int
    launched: list[_Launched]
    drawn: sampling.Drawn | None
    mark: mx.array
    began: float
    loaded: tuple[Fed, ...] = ()
    exported: tuple[mx.array | None, ...] = ()


def open_backend(
    model: str,
    adapter: str | None = None,
    weights: loading.Weights = "auto",
    context: int | None = None,
    memo: Path | None = None,
) -> "MlxBackend":
    """Load a model on the calling thread, which then owns it. Raises `ModelLoadFailed`.

    On failure the thread has no mlx stream left, and had better end.
    """
    try:
        return MlxBackend(loading.load(model, adapter, weights, context, memo))
    except BaseException:
        _leave()
        raise


class MlxBackend:
    """Owns the weights and every cache. State: `_held`, the caches by id."""

    def __init__(self, loaded: loading.LoadedModel) -> None:
        self._held: dict[CacheId, Held] = {}
        self._threads = blas.Threads()
        self._collected_at = 0.0
        self._fills_slowly = mx.default_device().type == mx.DeviceType.cpu
        with loading.told(f"{loaded.name} is read, and does not run on this {loaded.device}"):
            self._forward = Batched(loaded.model, loaded.family)
            self._info = measure.info(self._forward, loaded)
            self._threads_for = measure.threads(self._forward, self._threads)

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        return self._info

    def launch(self, plan: Plan, collect_last: CollectLast = nothing) -> Collect:
        """Begin one step. Raises `BrokenLaw` before anything is done."""
        began = time.perf_counter()
        laws.check(plan, self._held, vocabulary=self._info.vocabulary, context=self._info.context)
        exported = self._export(plan)
        for cache in plan.drops:
            self._held.pop(cache).past.discard()
        for shrink in plan.shrinks:
            self._held[shrink.cache].past.prefix[shrink.place].span.shrink(shrink.rows)
        for start in plan.starts:
            self._held[start.cache] = self._start(start)
        loaded = tuple(map(self._load, plan.loads))
        if not plan.feeds or plan.step % CLEAR_EVERY_STEPS == 0:
            mx.clear_cache()
        if not plan.feeds:
            return partial(StepOutput, plan.step, (), 0.0, loaded, exported)
        step, arrays = self._feed(plan, began, collect_last)
        step.loaded, step.exported = loaded, exported
        if self._fills_slowly:
            self._begin(plan.feeds[0], collect_last)
        mx.async_eval(arrays, step.mark)  # type: ignore[no-untyped-call]
        return partial(self._collect, step)

    def reset(self) -> None:
        """Drop every cache; the weights stay."""
        self._forward.clear()
        self._held.clear()
        mx.clear_cache()

    def leave(self) -> None:
        """Let go of the calling thread's streams: a thread that keeps them can abort the exit."""
        _leave()

    def _start(self, start: Start) -> Held:
        source = None
        if start.source is not None:
            source = self._held.pop(start.source) if start.take else self._held[start.source]
        if source is None or start.keep == 0:
            if source is not None and start.take:
                source.past.discard()
            past = self._forward.fresh()
        else:
            past = self._continued(source.past, start)
        caches.expect(past.layers, start.room - past.before)
        return Held(past, caches.cut_limit(past.layers))

    def _continued(self, source: Past, start: Start) -> Past:
        fresh = self._forward.fresh_layers
        if start.freeze and self._forward.can_share and start.keep > source.before:
            source.freeze(fresh)
        behind = min(start.keep, source.before)
        if start.take and (start.behind is None or start.behind >= behind):
            source.cut(start.keep, fresh)
            return source
        past = source.fork(start.keep, fresh, start.behind)
        if start.take:
            source.discard()
        return past

    def _export(self, plan: Plan) -> tuple[mx.array | None, ...]:
        """Copy out what is asked for; done at once, or what is written next would be copied."""
        copies = [
            transfer.export(self._held[one.cache].past, one.start, one.stop) for one in plan.exports
        ]
        mx.eval(copies)
        return tuple(rows if sound.item() else None for rows, sound in copies)

    def _load(self, load: Load) -> Fed:
        held = self._held[load.cache]
        assert self._info.layout is not None, "the model's rows cannot be loaded"
        held.drawn = None
        held.past.own()
        for rows in load.rows:
            transfer.load(held.past, self._info.layout, rows, load.position, load.stop)
        mx.eval(held.past.arrays())
        return Fed(load.cache, held.size_bytes(), held.floor, frozen=held.past.before)

    def _feed(
        self, plan: Plan, began: float, collect_last: CollectLast
    ) -> tuple[_Step, list[mx.array]]:
        """Build the step and say what it computes. Results are as the feeds, rows are not."""
        pasts = [(self._held[feed.cache].past, feed.count) for feed in plan.feeds]
        places = self._forward.arrange(pasts)
        order = [plan.feeds[place] for place in places]
        ids = next_ids([(self._held[feed.cache], feed.tokens) for feed in order])
        deep = any(feed.count > 1 and feed.position > DEEP_TOKENS for feed in order)
        self._threads.use(self._threads.most if deep else self._threads_for(ids.size))
        picked = [i for i, feed in enumerate(order) if feed.sampling is not None]
        logits = self._forward([pasts[place] for place in places], ids, picked, collect_last)
        drawn = self._draw(logits, [order[i] for i in picked], collect_last) if picked else None
        draws = {order[i].cache: row for row, i in enumerate(picked)}
        launched = [self._launched(feed, drawn, draws.get(feed.cache)) for feed in plan.feeds]
        evaluated = [] if drawn is None else [*drawn.arrays]
        for one in launched:
            past = one.held.past
            evaluated += past.states() if one.draw is not None else past.arrays()
        mark = _mark(next(array for array in reversed(evaluated) if array.size))
        return _Step(plan.step, launched, drawn, mark, began), evaluated

    def _begin(self, feed: Feed, collect_last: CollectLast, logits: mx.array | None = None) -> None:
        """Have the device begin with a step, with all of it if it can, and collect the last."""
        early = self._held[feed.cache].past.arrays(EARLY_LAYERS) if self._fills_slowly else logits
        mx.async_eval(early)  # type: ignore[no-untyped-call]
        collect_last()

    def _draw(
        self, logits: mx.array, feeds: Sequence[Feed], collect_last: CollectLast
    ) -> sampling.Drawn:
        for feed in feeds:
            held = self._held[feed.cache]
            if feed.history is not None:
                held.history = sampling.History(*feed.history, self._info.vocabulary)
            if feed.constraint is not None:
                held.guided = Guided(*feed.constraint, self._info.vocabulary)
        if any(self._held[feed.cache].guided for feed in feeds):
            self._begin(feeds[0], collect_last, logits)
        rows = []
        for feed in feeds:
            held = self._held[feed.cache]
            assert feed.sampling is not None
            rows.append(sampling.Row(feed.sampling, held.length, held.history, held.mask()))
        return sampling.draw(logits, rows)

    def _launched(self, feed: Feed, drawn: sampling.Drawn | None, draw: int | None) -> _Launched:
        held = self._held[feed.cache]
        held.drawn = None
        if drawn is not None and draw is not None:
            held.drawn = Awaited(drawn.tokens, draw)
            if held.history is not None:
                held.history.add(drawn.tokens[draw])
            if held.guided is not None:
                held.guided.drew(partial(drawn.token, draw))
        most = self._info.footprint.size_bytes(held.past.tail)  # what a group pads is not its own
        size_bytes = min(held.size_bytes(), most) if held.past.group else held.size_bytes()
        return _Launched(
            feed.cache, held, size_bytes, held.floor, draw, held.past.before, held.refused
        )

    def _collect(self, step: _Step) -> StepOutput:
        mx.eval(step.mark)
        tokens = [] if step.drawn is None else step.drawn.read()
        results = tuple(self._result(one, tokens, step.drawn) for one in step.launched)
        ended = time.perf_counter()
        seconds, self._collected_at = ended - max(step.began, self._collected_at), ended
        return StepOutput(step.number, results, seconds, step.loaded, step.exported)

    def _result(
        self, one: _Launched, tokens: list[int], drawn: sampling.Drawn | None
    ) -> Fed | FeedFailed:
        if one.held.lost:
            return FeedFailed(one.cache, one.held.lost)
        if one.refused:
            return FeedFailed(one.cache, one.refused, permanent=True)
        if one.draw is None or drawn is None:
            return Fed(one.cache, one.size_bytes, one.floor, frozen=one.frozen)
        token = tokens[one.draw]
        if token == sampling.NOT_A_NUMBER:
            one.held.lost = "the logits are not numbers"
            return FeedFailed(one.cache, one.held.lost)
        logprobs = drawn.logprobs(one.draw)
        return Fed(one.cache, one.size_bytes, one.floor, token, logprobs, one.frozen)


def _mark(array: mx.array) -> mx.array:
    """Make a number that is there when `array` is, and that keeps none of its memory."""
    return mx.sum(array[(0,) * (array.ndim - 1)][:1] if array.ndim else array)


def _leave() -> None:
    mx.synchronize()
    mx.clear_streams()

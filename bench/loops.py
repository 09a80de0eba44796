"""Decode loops without a server: `python -m bench.loops SIDE MODEL`, one process for each side.

`bare` is the fastest loop that mlx-lm's parts make: a `[B, 1]` forward on its batch cache and an
argmax, the next step launched before the ids of this one are read. `batch-generator` is mlx-lm's
own. A line of JSON comes in with the lengths of the contexts and the steps to take, one goes out
with tokens per second and the number of BLAS threads, which is the better of one and all.

The caches are filled with noise: how fast they are read does not depend on what is in them.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from bench.report import WARM_STEPS
from semantic_actors.engine import blas

blas.preload()  # before mlx is imported

import mlx.core as mx  # noqa: E402
import mlx_lm  # noqa: E402
from mlx_lm.generate import BatchGenerator  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402

TRIED_STEPS: Final = 8
"""Steps by which one thread is compared with all."""

Steps = Iterator[object]
"""Each item is a step of the whole batch, its ids read."""

Side = Callable[[Any, list[Any], int], Steps]
"""Of a model, a cache for each row and the number of steps that will be taken."""


def bare(model: Any, caches: list[Any], _: int) -> Steps:
    """Decode without anything around it."""
    cache = [rows[0].merge(list(rows)) for rows in zip(*caches, strict=True)]

    def step(ids: mx.array) -> mx.array:
        drawn = mx.argmax(model(ids[:, None], cache=cache)[:, -1, :], axis=-1)
        mx.async_eval(drawn)  # type: ignore[no-untyped-call]
        return drawn

    ids = step(mx.zeros(len(caches), mx.uint32))
    while True:
        following = step(ids)
        yield ids.tolist()
        ids = following


def batch_generator(model: Any, caches: list[Any], steps: int) -> Steps:
    """Decode by mlx-lm's BatchGenerator, from when all rows are in its batch."""
    generator = BatchGenerator(model)
    held = [[0] * cache[0].offset for cache in caches]
    generator.insert(
        [[0] for _ in caches],
        max_tokens=[steps + len(caches) + WARM_STEPS] * len(caches),
        caches=caches,
        all_tokens=held,
    )
    while len(generator.next()[1]) < len(caches):
        pass
    while True:
        yield generator.next_generated()


SIDES: Final[dict[str, Side]] = {"bare": bare, "batch-generator": batch_generator}


class Loop:
    """One side on one model."""

    def __init__(self, side: Side, folder: str) -> None:
        self._side = side
        self._model = mlx_lm.load(folder)[0]
        self._threads = blas.Threads()
        self._fastest: dict[tuple[int, ...], int] = {}

    def run(self, lengths: list[int], steps: int) -> dict[str, float]:
        """Measure so many steps at these lengths."""
        key = tuple(lengths)
        if key not in self._fastest:
            counts = {1, self._threads.most}
            rates = {count: self._rate(lengths, TRIED_STEPS, count) for count in counts}
            self._fastest[key] = max(rates, key=rates.__getitem__)
        threads = self._fastest[key]
        return {"tokens_per_s": self._rate(lengths, steps, threads), "threads": threads}

    def _rate(self, lengths: list[int], steps: int, threads: int) -> float:
        self._threads.use(threads)
        caches = [_filled(self._model, length) for length in lengths]
        running = self._side(self._model, caches, steps + WARM_STEPS)
        del caches
        _take(running, WARM_STEPS)
        began = time.perf_counter()
        _take(running, steps)
        return steps * len(lengths) / (time.perf_counter() - began)


def _filled(model: Any, length: int) -> list[Any]:
    caches: list[Any] = make_prompt_cache(model)
    shape = (1, model.args.num_key_value_heads, length, model.args.head_dim)
    for cache in caches:
        cache.update_and_fetch(mx.random.normal(shape), mx.random.normal(shape))
    mx.eval([cache.state for cache in caches])
    return caches


def _take(steps: Steps, count: int) -> None:
    for _ in islice(steps, count):
        pass


def main() -> None:
    """Serve measurements until stdin is closed."""
    side, folder = sys.argv[1:]
    loop = Loop(SIDES[side], folder)
    for line in sys.stdin:
        print(json.dumps(loop.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

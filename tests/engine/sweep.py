"""Hold families' caches to the law, in a process of their own: `python -m tests.engine.sweep ...`.

A model module that is wrong can take the interpreter with it, so every line printed is the verdict
on one family, and a missing line is one too.
"""

import json
import sys
from typing import Any

from tests.engine import tiny  # first: it loads the BLAS

import mlx.core as mx  # isort: skip
from mlx_lm.models.cache import make_prompt_cache

from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.domain.request import GREEDY
from tests.engine.driver import Driver

HEAD, TAIL, MORE = 64, 6, 20
TOKENS = tiny.words(3, HEAD + TAIL + MORE)
CHUNKS = (16, 16, 32)
SHORT, SHORTER = 24, 10  # below the windows' width, where they can still be cut

CHUNKING_MATTERS = {"plamo3", "phi3small"}
"""Their logits change with the chunk size in mlx-lm's own loop too."""


class Run:
    """A driver whose caches must never be larger than the footprint says."""

    def __init__(self, family: str) -> None:
        backend = tiny.backend(family)
        self.footprint = backend.info.footprint
        self.recorder = tiny.record(backend)
        self.driver = Driver(backend)

    def feed(self, cache: CacheId, tokens: TokenIds) -> int:
        """Feed, check the bound, return the floor."""
        fed = self.driver.feed(cache, tokens, GREEDY)
        bound = self.footprint.size_bytes(self.driver.positions[cache])
        assert fed.size_bytes <= bound, f"{fed.size_bytes} bytes > {bound}"
        return fed.floor

    def chunks(self, cache: CacheId, sizes: tuple[int, ...]) -> int:
        """Feed the next tokens in chunks, return the last floor."""
        for size in sizes:
            position = self.driver.positions[cache]
            floor = self.feed(cache, TOKENS[position : position + size])
        return floor

    def continued(self, cache: CacheId) -> list[mx.array]:
        """Single tokens, then a chunk, after the head: their rows of logits."""
        self.recorder.rows.clear()
        self.chunks(cache, (1,) * TAIL)
        self.chunks(cache, (MORE,))
        mx.eval(self.recorder.rows)
        return list(self.recorder.rows)


def differences(family: str) -> dict[str, float]:
    """Relative difference of logits between each way to a prefix and a single run."""
    run = Run(family)
    driver = run.driver
    single = driver.new()
    run.chunks(single, CHUNKS if family in CHUNKING_MATTERS else (HEAD,))
    expected = run.continued(single)

    chunked = driver.new()
    floor = run.chunks(chunked, CHUNKS)
    forked = driver.new(chunked, HEAD)
    rows = {"fork": run.continued(forked), "chunked": run.continued(chunked)}
    if floor < HEAD:
        rows["cut"] = run.continued(driver.new(forked, HEAD, take=True))

    short = driver.new()
    if run.chunks(short, (SHORT,)) <= SHORTER and family not in CHUNKING_MATTERS:
        for name, take in (("short fork", False), ("short cut", True)):
            again = driver.new(short, SHORTER, take=take)
            run.chunks(again, (1, 1, HEAD - SHORTER - 2))
            rows[name] = run.continued(again)
    return {name: tiny.apart(got, expected) for name, got in rows.items()}


def mixed(family: str) -> tuple[str, float]:
    """Say how sequences share a step, and how far that is from each alone.

    Two sequences decode and one prefills; then all three decode. The reference is mlx-lm's model on
    a cache of each sequence's own.
    """
    backend, model = tiny.backend(family), tiny.build(family)
    recorder = tiny.record(backend)
    driver = Driver(backend)
    parts = [tiny.words(30 + i, count) for i, count in enumerate((51, 41, 60))]
    heads, tails = [tokens[:40] for tokens in parts], [tokens[40:] for tokens in parts]
    tails[0], heads[0] = parts[0][-1:], parts[0][:-1]
    ids = [driver.new() for _ in parts]
    for cache, head in zip(ids, heads, strict=True):
        driver.feed(cache, head)
    worst = 0.0
    for before, feeds in ((heads, tails), (parts, [(7,), (8,), (9,)])):
        driver.step(dict(zip(ids, feeds, strict=True)), GREEDY)
        pairs = zip(before, feeds, strict=True)
        expected = [_alone(model, tokens, rest) for tokens, rest in pairs]
        worst = max(worst, tiny.apart([recorder.row(cache) for cache in ids], expected))
    return backend._forward.mode.value, worst


def _alone(model: Any, tokens: TokenIds, rest: TokenIds) -> mx.array:
    layers = make_prompt_cache(model)
    mx.eval(model(mx.array([tokens]), cache=layers))
    logits: mx.array = model(mx.array([rest]), cache=layers)[0, -1]
    return logits.astype(mx.float32)


def verdict(family: str) -> dict[str, Any]:
    """Give the differences and the mode of mixed steps, or why there are none."""
    try:
        found = differences(family)
        mode, gap = mixed(family)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a module may raise anything)
        return {"family": family, "error": f"{type(error).__name__}: {error}"}
    if family not in CHUNKING_MATTERS:
        found["mixed"] = gap
    return {"family": family, "mode": mode, "differences": found}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(json.dumps(verdict(name)) + "\n")
        sys.stdout.flush()

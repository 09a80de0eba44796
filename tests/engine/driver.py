"""Drives a backend one small plan at a time."""

from itertools import pairwise

from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.domain.request import Sampling
from semantic_actors.engine.protocol import (
    Backend,
    EngineDied,
    Export,
    Fed,
    Feed,
    FeedFailed,
    Load,
    Plan,
    Start,
    StepOutput,
)
from semantic_actors.kv.layout import Rows


def tokens_of(output: StepOutput | EngineDied) -> list[int | None]:
    """List the tokens drawn in a step none of whose feeds failed."""
    assert isinstance(output, StepOutput), output
    assert not any(isinstance(result, FeedFailed) for result in output.results), output
    return [result.token for result in output.results if isinstance(result, Fed)]


class Driver:
    """Mints cache ids and keeps positions, so that a test speaks of tokens only."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.positions: dict[CacheId, int] = {}
        self._minted = 0

    def new(
        self,
        source: CacheId | None = None,
        keep: int = 0,
        *,
        take: bool = False,
        share: bool = False,
        behind: int | None = None,
    ) -> CacheId:
        """Start a cache, empty or from `source`."""
        self._minted += 1
        cache = CacheId(self._minted)
        self.backend.launch(
            Plan(1, starts=(Start(cache, source, keep, take, freeze=share, behind=behind),))
        )()
        self.positions[cache] = keep
        return cache

    def step(
        self, feeds: dict[CacheId, TokenIds], sampling: Sampling | None = None
    ) -> list[Fed | FeedFailed]:
        """Feed several caches in one plan."""
        plan = Plan(
            1,
            feeds=tuple(
                Feed(cache, self.positions[cache], tokens, sampling)
                for cache, tokens in feeds.items()
            ),
        )
        results = self.backend.launch(plan)().results
        for cache, tokens in feeds.items():
            self.positions[cache] += len(tokens)
        return list(results)

    def feed(self, cache: CacheId, tokens: TokenIds, sampling: Sampling | None = None) -> Fed:
        """Feed one cache, which must succeed."""
        [result] = self.step({cache: tokens}, sampling)
        assert isinstance(result, Fed), result
        return result

    def export(self, cache: CacheId, start: int, stop: int) -> tuple[Rows, ...]:
        """Copy rows out, a block at a time."""
        borders = [start, *range((start // 256 + 1) * 256, stop, 256), stop]
        exports = tuple(Export(cache, low, high) for low, high in pairwise(borders))
        output = self.backend.launch(Plan(1, exports=exports))()
        return tuple(
            Rows(one.start, one.stop, bytes(memoryview(data)))
            for one, data in zip(exports, output.exported, strict=True)
        )

    def load(self, cache: CacheId, rows: tuple[Rows, ...], stop: int) -> Fed:
        """Append rows to a cache."""
        load = Load(cache, self.positions[cache], stop, rows)
        [loaded] = self.backend.launch(Plan(1, loads=(load,)))().loaded
        self.positions[cache] = stop
        return loaded

    def token(self, cache: CacheId, tokens: TokenIds, sampling: Sampling) -> int:
        """Feed one cache and draw."""
        token = self.feed(cache, tokens, sampling).token
        assert token is not None
        return token

    def answer(self, cache: CacheId, prompt: TokenIds, count: int, sampling: Sampling) -> TokenIds:
        """Feed a prompt and draw `count` tokens, each fed before the next."""
        drawn = [self.token(cache, prompt, sampling)]
        while len(drawn) < count:
            drawn.append(self.token(cache, (drawn[-1],), sampling))
        return tuple(drawn)

"""Rows that are drawn as the scheduler has them drawn, whose answers a test can tell.

A step is launched on tokens that nobody has read yet, and the one before it is collected meanwhile
or afterwards.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.domain.request import GREEDY, Sampling
from semantic_actors.engine import Fed, Feed, FeedFailed, Plan, Start
from semantic_actors.engine.protocol import Backend, Collect, TokenLogprobs, nothing

STEPS = 9


@dataclass
class Row:
    """A sequence, and what came of it. In the steps `skipped` there is no memory for it.

    The first `chunk` tokens of its prompt are fed a step before the rest.
    """

    prompt: TokenIds
    grammar: Grammar | None = None
    sampling: Sampling = GREEDY
    answered: TokenIds = ()
    skipped: frozenset[int] = frozenset()
    chunk: int = 0
    drawn: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs | None] = field(default_factory=list)
    failed: list[FeedFailed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.length = 0

    def feed(self, cache: CacheId) -> Feed:
        """Plan its next tokens."""
        whole = self.prompt + self.answered
        start = self.length
        self.length = self.chunk if start < self.chunk else max(start + 1, len(whole))
        if self.length == self.chunk:
            return Feed(cache, start, whole[start : self.length])
        begins = start < len(whole)
        constraint = (self.grammar, self.answered) if begins and self.grammar else None
        history = (self.prompt, self.answered) if begins and self.sampling.penalised else None
        return Feed(cache, start, whole[start:], self.sampling, history, constraint)

    def hear(self, result: Fed | FeedFailed) -> None:
        """Take what came of a feed."""
        if isinstance(result, FeedFailed):
            self.failed.append(result)
        elif result.token is not None:
            assert not self.failed
            self.drawn.append(result.token)
            self.logprobs.append(result.logprobs)


def play(
    backend: Backend,
    *rows: Row,
    steps: int = STEPS,
    told: bool = True,
    ahead: bool = True,
    first: int = 1,
) -> None:
    """Draw from all rows together; `told` the backend has the step before collected when it asks.

    The caches are those from `first` on.
    """
    under_way: list[Callable[[], None]] = []

    def collect_last() -> None:
        while under_way:
            under_way.pop(0)()

    for number in range(steps):
        fed = {
            CacheId(place): row
            for place, row in enumerate(rows, first)
            if number not in row.skipped
        }
        starts = tuple(Start(cache) for cache, row in fed.items() if not row.length)
        feeds = tuple(row.feed(cache) for cache, row in fed.items())
        plan = Plan(number, starts=starts, feeds=feeds)
        collect = backend.launch(plan, collect_last if told else nothing)
        collect_last()
        under_way.append(partial(hear, fed.values(), collect))
        if not ahead:
            collect_last()
    collect_last()


def hear(rows: Iterable[Row], collect: Collect) -> None:
    """Give each row what came of its feed."""
    for row, result in zip(rows, collect().results, strict=True):
        row.hear(result)


def alone(backend: Backend, row: Row, steps: int = STEPS, *, ahead: bool = True) -> TokenIds:
    """Draw the answer of a row that nothing is beside."""
    backend.reset()
    fresh = replace(row, drawn=[], logprobs=[], failed=[])
    play(backend, fresh, steps=steps, ahead=ahead)
    return tuple(fresh.drawn)

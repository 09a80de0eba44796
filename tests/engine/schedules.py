"""Random lives of sequences in one backend, and the logits each must have seen.

A schedule is joins, forks, chunks of any size, decode steps on tokens that nobody has read yet,
pauses and departures; each step is launched before the one before it is collected. The rows that a
sequence drew from are compared with one run of mlx-lm over its tokens alone. Some answers have a
grammar.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from tests.engine import tiny
from tests.engine.grammars import Places

import mlx.core as mx  # isort: skip (after the BLAS)
from mlx_lm.models.cache import make_prompt_cache

from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine.protocol import Backend, Collect, Fed, Feed, Plan, Start

AT_ONCE = 5
LONGEST_PROMPT, LONGEST_ANSWER = 60, 12
CHUNKS = (1, 1, 7, 16, 40)
JOIN, FEED, LEAVE, SHARE, BOUND = 0.6, 0.8, 0.04, 0.6, 0.3
"""Probabilities, per step: of another sequence, of being in the step, of leaving early; of a fork
to share what its source holds; of an answer to have a grammar."""

THIRDS = tuple(range(place, tiny.WORDS, 3) for place in range(3))


@dataclass
class Life:
    """One sequence: `length` tokens are in its cache, of which `drawn` may not know the last."""

    cache: CacheId
    prompt: list[int]
    wanted: int
    length: int = 0
    grammar: Places | None = None
    drawn: list[int] = field(default_factory=list)
    rows: list[mx.array] = field(default_factory=list)

    @property
    def unfed(self) -> list[int]:
        """What is left of the prompt."""
        return self.prompt[self.length :]

    @property
    def over(self) -> bool:
        """Whether it has drawn all it wanted."""
        return not self.unfed and len(self.rows) >= self.wanted

    @property
    def known(self) -> list[int] | None:
        """The tokens in its cache, if they are all known."""
        tokens = (self.prompt + self.drawn)[: self.length]
        return tokens if len(tokens) == self.length else None


class Schedule:
    """Plays one random schedule; `lives` are all that have ever joined."""

    def __init__(self, seed: int, backend: Backend, recorder: tiny.Recorder) -> None:
        self.lives: list[Life] = []
        self._chance = random.Random(seed)
        self._backend = backend
        self._recorder = recorder
        self._here: list[Life] = []

    def play(self, steps: int) -> None:
        """Run so many steps, two of them under way at a time."""
        under_way: deque[tuple[list[Life], Collect]] = deque()
        for number in range(1, steps + 1):
            drops = tuple(self._departures())
            starts = tuple(self._joins())
            fed = [life for life in self._here if not life.over and self._happens(FEED)]
            self._chance.shuffle(fed)
            feeds = tuple(map(self._feed, fed))
            under_way.append((fed, self._launch(Plan(number, drops, starts, feeds), fed)))
            if len(under_way) > 1:
                _hear(*under_way.popleft())
        _hear(*under_way.popleft())

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability

    def _departures(self) -> Iterator[CacheId]:
        for life in [one for one in self._here if one.over or self._happens(LEAVE)]:
            self._here.remove(life)
            yield life.cache

    def _joins(self) -> Iterator[Start]:
        while len(self._here) < AT_ONCE and self._happens(JOIN):
            source = self._chance.choice([*self._here, None])
            past = self._kept(source)
            fresh = [
                self._chance.randrange(tiny.WORDS)
                for _ in range(self._chance.randint(1, LONGEST_PROMPT))
            ]
            life = Life(
                cache=CacheId(len(self.lives) + 1),
                prompt=[*past, *fresh],
                wanted=self._chance.randint(1, LONGEST_ANSWER),
                length=len(past),
                grammar=Places(THIRDS) if self._happens(BOUND) else None,
            )
            self.lives.append(life)
            self._here.append(life)
            origin = source.cache if source and past else None
            share = bool(past) and self._happens(SHARE) and self._backend.info.footprint.share
            yield Start(life.cache, origin, len(past), freeze=share)

    def _kept(self, source: Life | None) -> list[int]:
        """What a fork keeps: all that is known, or less where caches can be cut."""
        known = (source and source.known) or []
        if self._backend.info.footprint.cut_limit < inf or self._happens(0.5):
            return known
        return known[: self._chance.randint(0, len(known))]

    def _feed(self, life: Life) -> Feed:
        position, unfed = life.length, life.unfed
        tokens = tuple(unfed[: self._chance.choice(CHUNKS)])
        life.length += len(tokens) or 1
        if life.unfed:
            return Feed(life.cache, position, tokens)
        constraint = (life.grammar, ()) if life.grammar and not life.rows else None
        return Feed(life.cache, position, tokens, GREEDY, constraint=constraint)

    def _launch(self, plan: Plan, fed: list[Life]) -> Collect:
        """Launch, and give each sequence the row it draws from."""
        collect: Collect = self._backend.launch(plan)
        for feed, life in zip(plan.feeds, fed, strict=True):
            if feed.sampling is not None:
                life.rows.append(self._recorder.row(feed.cache))
        return collect


def _hear(fed: list[Life], collect: Collect) -> None:
    for life, result in zip(fed, collect().results, strict=True):
        assert isinstance(result, Fed), result
        assert result.cache == life.cache
        if result.token is not None:
            life.drawn.append(result.token)


def _likeliest(life: Life) -> Iterator[int]:
    """Find the largest logit that the grammar allows, row by row."""
    grammar = life.grammar or Places((None,))
    for place, row in enumerate(life.rows):
        allowed = mx.array([*(grammar.at(place) or range(tiny.WORDS))])
        yield int(allowed[mx.argmax(row[allowed])].item())  # type: ignore[arg-type]


def apart(life: Life, model: Any) -> float:
    """Distance of the rows a sequence drew from and of its tokens' own run, relative."""
    if not life.rows:
        return 0.0
    assert life.drawn == list(_likeliest(life))
    tokens = life.prompt + life.drawn[:-1]
    layers = make_prompt_cache(model)
    logits = model(mx.array([tokens]), cache=layers)[0, len(life.prompt) - 1 :]
    return tiny.apart(life.rows, list(logits.astype(mx.float32)))

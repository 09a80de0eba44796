"""A backend that needs no mlx, held to the same law.

The next token is a hash of the whole prefix, the same in every process, so a test that recomputes
it knows what a correct scheduler must have fed; where a grammar forbids it, it is the next one that
is allowed.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log

import msgspec

from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.domain.request import GREEDY, Sampling
from semantic_actors.engine import laws
from semantic_actors.engine.faults import describe
from semantic_actors.engine.guided import Guided
from semantic_actors.engine.protocol import (
    Collect,
    CollectLast,
    Export,
    Fed,
    Feed,
    FeedFailed,
    Footprint,
    Load,
    ModelInfo,
    Plan,
    Start,
    StepOutput,
    TokenLogprobs,
    nothing,
)
from semantic_actors.kv.layout import Layout, Part

FAKE_LAYOUT = Layout((Part("0.tokens", "F32", 1, 1),))
"""A row of the fake's is its token: what is loaded wrongly is answered wrongly."""


def hashed_token(tokens: TokenIds, vocabulary: int, sampling: Sampling) -> int:
    """Draw the token after `tokens`; the seed counts only where the draw is not greedy."""
    seed = sampling.seed if sampling.temperature > 0 else 0
    data = struct.pack(f">q{len(tokens)}I", seed, *tokens)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") % vocabulary


def allowed_token(mask: bytes | None, token: int) -> int:
    """Find the first token that a mask allows from `token` on, around the vocabulary's end."""
    if mask is None:
        return token
    allowed = int.from_bytes(mask, "little")
    after = allowed >> token << token or allowed
    return (after & -after).bit_length() - 1


def fake_logprobs(favourite: int, token: int, vocabulary: int, wanted: int) -> TokenLogprobs:
    """Halve the probability with each token from the likeliest on, around the vocabulary's end."""

    def logprob(place: int) -> float:
        return -(place + 1) * log(2)

    chosen = logprob((token - favourite) % vocabulary)
    top = [((favourite + place) % vocabulary, logprob(place)) for place in range(wanted)]
    return TokenLogprobs(token, chosen, tuple(top))


@dataclass(slots=True)
class _Held:
    """A cache is the tokens it was fed."""

    tokens: TokenIds
    cut_limit: float
    frozen: int = 0
    drawn: int | None = None
    guided: Guided | None = None
    lost: FeedFailed | None = None

    @property
    def awaits(self) -> bool:
        return self.drawn is not None

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def floor(self) -> int:
        return 0 if self.length < self.cut_limit else self.length


class FakeBackend:
    """Deterministic, strict, without arrays.

    `think` overrides the hash: given every token held after a feed, it returns the next one; what
    it raises is that feed's `FeedFailed`. `cuttable=False` models recurrent state, `window` a
    sliding window of so many tokens. A step takes `step_seconds` plus `token_seconds` per token
    fed, in its output only.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 1_000,
        context: int = 4_096,
        footprint: Footprint | None = None,
        think: Callable[[TokenIds], int] | None = None,
        cuttable: bool = True,
        window: int | None = None,
        step_seconds: float = 0.0,
        token_seconds: float = 0.0,
    ) -> None:
        self.info = ModelInfo(
            name="fake",
            family="fake",
            vocabulary=vocabulary,
            context=context,
            weights_bytes=0,
            footprint=msgspec.structs.replace(
                footprint or Footprint(fixed_bytes=0, bytes_per_token=1_024),
                cut_limit=(inf if window is None else window) if cuttable else 0,
                share=cuttable and window is None,
            ),
            device="none",
            identity="fake",
            layout=FAKE_LAYOUT if cuttable and window is None else None,
        )
        self._think = think
        self._step_seconds = step_seconds
        self._token_seconds = token_seconds
        self._held: dict[CacheId, _Held] = {}

    def launch(self, plan: Plan, _: CollectLast = nothing) -> Collect:
        """Carry out one step at once. Raises `BrokenLaw` before anything is done."""
        laws.check(plan, self._held, vocabulary=self.info.vocabulary, context=self.info.context)
        exported = tuple(map(self._export, plan.exports))
        for cache in plan.drops:
            del self._held[cache]
        for start in plan.starts:
            self._held[start.cache] = self._start(start)
        loaded = tuple(map(self._load, plan.loads))
        fed = sum(feed.count for feed in plan.feeds)
        seconds = self._step_seconds + self._token_seconds * fed
        results = tuple(map(self._feed, plan.feeds))
        output = StepOutput(plan.step, results, seconds, loaded, exported)
        return lambda: output

    def reset(self) -> None:
        """Drop every cache."""
        self._held.clear()

    def leave(self) -> None:
        """Nothing is bound to the thread."""

    def _start(self, start: Start) -> _Held:
        if start.source is None:
            return _Held((), self.info.footprint.cut_limit)
        source = self._held[start.source]
        if start.freeze and self.info.footprint.share and start.keep > source.frozen:
            source.frozen = source.length
        if start.take:
            del self._held[start.source]
        frozen = min(source.frozen, start.keep)
        if start.behind is not None:
            frozen = min(frozen, start.behind)
        return _Held(source.tokens[: start.keep], source.cut_limit, frozen)

    def _export(self, export: Export) -> bytes:
        tokens = self._held[export.cache].tokens[export.start : export.stop]
        return struct.pack(f"<{len(tokens)}I", *tokens)

    def _load(self, load: Load) -> Fed:
        held = self._held[load.cache]
        for rows in load.rows:
            loaded = struct.unpack(f"<{rows.stop - rows.start}I", rows.data)
            wanted = slice(held.length - rows.start, load.stop - rows.start)
            held.tokens += loaded[wanted]
        held.drawn = None
        return Fed(load.cache, self._size(held), held.floor, frozen=held.frozen)

    def _feed(self, feed: Feed) -> Fed | FeedFailed:
        held = self._held[feed.cache]
        held.tokens += feed.tokens or (held.drawn or 0,)
        held.drawn = None
        logprobs = None
        if feed.sampling is not None and not held.lost:
            try:
                logprobs = self._draw(held, feed, feed.sampling)
            except Exception as error:  # noqa: BLE001 (whatever a script raises is its failure)
                refused = isinstance(error, GrammarFailed)
                reason = str(error) if refused else describe(error)
                held.lost = FeedFailed(feed.cache, reason, permanent=refused)
        if held.lost:
            held.drawn = None if feed.sampling is None else 0  # the next plan may count on it
            return held.lost
        size_bytes = self._size(held)
        return Fed(feed.cache, size_bytes, held.floor, held.drawn, logprobs, held.frozen)

    def _draw(self, held: _Held, feed: Feed, sampling: Sampling) -> TokenLogprobs | None:
        if feed.constraint is not None:
            held.guided = Guided(*feed.constraint, self.info.vocabulary)
        token = self._next(held.tokens, sampling)
        if held.guided is not None:
            token = allowed_token(held.guided.mask(), token)
            held.guided.drew(lambda: token)
        held.drawn = token
        if sampling.logprobs is None:
            return None
        favourite = self._next(held.tokens, GREEDY)
        return fake_logprobs(favourite, token, self.info.vocabulary, sampling.logprobs)

    def _size(self, held: _Held) -> int:
        return self.info.footprint.size_bytes(held.length - held.frozen)

    def _next(self, tokens: TokenIds, sampling: Sampling) -> int:
        if self._think is not None:
            return self._think(tokens)
        return hashed_token(tokens, self.info.vocabulary, sampling)

"""A backend and an engine that need neither mlx nor a thread, held to the same law.

The next token is a hash of the whole prefix, the same in every process, so a test that recomputes
it knows what a correct scheduler must have fed. `InlineEngine` runs any backend on the event loop
itself, on a virtual-time loop too.
"""

import asyncio
import hashlib
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import msgspec

from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.domain.request import Sampling
from semantic_actors.engine import laws
from semantic_actors.engine.faults import describe
from semantic_actors.engine.protocol import (
    Backend,
    Collect,
    CollectLast,
    Deliver,
    EngineDied,
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


@dataclass(slots=True)
class _Held:
    """A cache is the tokens it was fed."""

    tokens: TokenIds
    cut_limit: float
    frozen: int = 0
    drawn: int | None = None
    lost: str = ""

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
        if feed.sampling is not None and not held.lost:
            try:
                held.drawn = self._next(held.tokens, feed.sampling)
            except Exception as error:  # noqa: BLE001 (whatever a script raises is its failure)
                held.lost = describe(error)
                held.drawn = 0  # the plan after this one may count on it
        if held.lost:
            return FeedFailed(feed.cache, held.lost)
        return Fed(feed.cache, self._size(held), held.floor, held.drawn, frozen=held.frozen)

    def _size(self, held: _Held) -> int:
        return self.info.footprint.size_bytes(held.length - held.frozen)

    def _next(self, tokens: TokenIds, sampling: Sampling) -> int:
        if self._think is not None:
            return self._think(tokens)
        return hashed_token(tokens, self.info.vocabulary, sampling)


class InlineEngine:
    """Implements `Engine` on the running loop: one step at a time, in order.

    An output is delivered `delay_s` plus its own `seconds` after its step began, in loop time.
    `before` is called with each plan; what it raises kills the engine, as a step of the real one
    would, until the next `attach`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        delay_s: float = 0.0,
        before: Callable[[Plan], None] | None = None,
    ) -> None:
        self.backend = backend
        self._delay_s = delay_s
        self._before = before
        self._plans: deque[Plan] = deque()
        self._deliver: Deliver | None = None
        self._pending: asyncio.Handle | None = None

    @property
    def info(self) -> ModelInfo:
        """The backend's model."""
        return self.backend.info

    def attach(self, deliver: Deliver) -> None:
        """Begin a new epoch: all caches are dropped, outputs of earlier epochs never arrive."""
        self.stop()
        self.backend.reset()
        self._deliver = deliver

    def submit(self, plan: Plan) -> None:
        """Queue one step; its output, or `EngineDied`, is delivered later."""
        if self._deliver is None:
            return
        self._plans.append(plan)
        if self._pending is None:
            self._pending = asyncio.get_running_loop().call_soon(self._step)

    def stop(self) -> None:
        """Forget what is under way; nothing is delivered any more."""
        self._deliver = None
        self._plans.clear()
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _step(self) -> None:
        plan = self._plans.popleft()
        try:
            if self._before is not None:
                self._before(plan)
            output = self.backend.launch(plan)()
        except Exception as error:  # noqa: BLE001 (it stands for the thread's end)
            self._die(describe(error))
            return
        delay_s = self._delay_s + output.seconds
        loop = asyncio.get_running_loop()
        if delay_s > 0:
            self._pending = loop.call_later(delay_s, self._done, output)
        else:
            self._done(output)

    def _done(self, output: StepOutput) -> None:
        loop = asyncio.get_running_loop()
        self._pending = loop.call_soon(self._step) if self._plans else None
        if self._deliver is not None:
            self._deliver(output)

    def _die(self, reason: str) -> None:
        deliver, self._deliver, self._pending = self._deliver, None, None
        self._plans.clear()
        if deliver is not None:
            deliver(EngineDied(reason))

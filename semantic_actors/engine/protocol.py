"""The words between the scheduler and the engine: one `Plan` in, one `StepOutput` out.

A backend is a synchronous machine that owns KV caches by id and executes plans in order. It knows
nothing of sequences, sessions, queues or text. Two backends keep the same law, held by the same
contract tests: `mlx_backend.MlxBackend` and the deterministic `fake.FakeBackend`. An engine
(`runner.EngineThread`) gives a backend its thread.

A step is carried out in this order: `exports`, `drops`, `shrinks`, `starts`, `loads`, `feeds`. An
error that belongs to one feed is a `FeedFailed` and harms nobody else; any other exception ends the
engine thread.

A plan may be submitted before the output of the one before it is known: a feed can stand for "the
token drawn last", so that the device never waits for the loop. If that draw failed, so does it.
"""

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

import msgspec

from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.domain.request import Sampling
from semantic_actors.kv.layout import Layout, Rows


class Start(msgspec.Struct, frozen=True):
    """Make cache `cache`, holding the first `keep` tokens of `source` (none: an empty cache).

    `take` gives the source away: it is trimmed in place and its old id is gone. Otherwise the
    source stays as it is and the new cache shares no mutable state with it. With `freeze` what the
    source holds by itself is frozen first, where caches can share: both have it behind them then,
    held once. Of what is frozen the new cache has the first `behind` tokens behind it (None: all
    that it keeps), which must end with a span; the others are copied.
    `keep` is never below the source's `floor`. `room` is the number of tokens it is about to hold:
    memory for them is taken at once.
    """

    cache: CacheId
    source: CacheId | None = None
    keep: int = 0
    take: bool = False
    room: int = 0
    freeze: bool = False
    behind: int | None = None


class Shrink(msgspec.Struct, frozen=True):
    """Keep only the first `rows` tokens of a span; nobody who has it behind him has more of it.

    It is the one at `place` of those behind `cache`.
    """

    cache: CacheId
    place: int
    rows: int


class Feed(msgspec.Struct, frozen=True):
    """Append `tokens` to `cache`, which holds exactly `position` tokens before.

    No tokens means the one that the last feed of this cache drew, which whoever plans need not know
    yet. With `sampling`, draw the token that follows from the logits of the last one fed; without,
    the feed is a prefill chunk that is not the last. `history` comes with the first draw of a
    sequence whose sampling looks back: the tokens it was given, and its answer so far. `constraint`
    comes with the first draw of one whose answer has a grammar: that, and its answer so far. From
    then on every token that this cache draws is one that the grammar allows, and takes it further.
    A cache started from this one is bound by neither.
    """

    cache: CacheId
    position: int
    tokens: TokenIds = ()
    sampling: Sampling | None = None
    history: tuple[TokenIds, TokenIds] | None = None
    constraint: tuple[Grammar, TokenIds] | None = None

    @property
    def count(self) -> int:
        """Tokens appended."""
        return len(self.tokens) or 1


class Export(msgspec.Struct, frozen=True):
    """Copy out rows `start..stop` of `cache`, as they were before this step."""

    cache: CacheId
    start: int
    stop: int


class Load(msgspec.Struct, frozen=True):
    """Append tokens `position..stop` to `cache` by their keys and values.

    `rows` hold them without a gap; what lies before or after is left out.
    """

    cache: CacheId
    position: int
    stop: int
    rows: tuple[Rows, ...]


class Plan(msgspec.Struct, frozen=True):
    """One step. At most one feed or load per cache; `drops` frees caches."""

    step: int
    drops: tuple[CacheId, ...] = ()
    starts: tuple[Start, ...] = ()
    feeds: tuple[Feed, ...] = ()
    loads: tuple[Load, ...] = ()
    exports: tuple[Export, ...] = ()
    shrinks: tuple[Shrink, ...] = ()


class TokenLogprobs(msgspec.Struct, frozen=True):
    """Natural log-probabilities, of the model itself: before temperature, filters and penalties.

    `chosen` is that of the drawn `token`. `top` are pairs of a token id and its value, the
    likeliest first.
    """

    token: int
    chosen: float
    top: tuple[tuple[int, float], ...] = ()


class Fed(msgspec.Struct, frozen=True):
    """The cache after its feed.

    `size_bytes` is what its arrays occupy, without the first `frozen` tokens, which it may share
    with others. `floor` is the shortest prefix it can still be cut back
    to: 0 for plain attention, its whole length where nothing can be cut (recurrent state, a window
    that has wrapped). `token` is the drawn token, where one was asked for; `logprobs` its
    log-probabilities, where they were.
    """

    cache: CacheId
    size_bytes: int
    floor: int
    token: int | None = None
    logprobs: TokenLogprobs | None = None
    frozen: int = 0


class FeedFailed(msgspec.Struct, frozen=True):
    """The feed came to nothing and its cache is lost; `reason` is for the log.

    Whatever else is fed to it fails, too, until it is dropped. A `permanent` failure is one of the
    answer itself, whose grammar cannot go on: it would fail on any other cache, too.
    """

    cache: CacheId
    reason: str
    permanent: bool = False


class StepOutput(msgspec.Struct, frozen=True):
    """What a step did: one result per feed, load and export, in plan order.

    `exported` are buffers, as in `Rows`; None where not all is numbers. `seconds` is its duration.
    """

    step: int
    results: tuple[Fed | FeedFailed, ...]
    seconds: float
    loaded: tuple[Fed, ...] = ()
    exported: tuple[Any, ...] = ()


class EngineDied(msgspec.Struct, frozen=True):
    """The engine thread ended by an exception; every cache is lost, the weights are not."""

    reason: str


Deliver = Callable[[StepOutput | EngineDied], None]
"""Called on the event loop, never on the engine thread."""


class Footprint(msgspec.Struct, frozen=True):
    """What caches are like: their size is at most `fixed_bytes + bytes_per_token * rows`.

    `rows` is the number of tokens rounded up to `granularity` (caches grow in such steps). A cache
    of fewer tokens than `cut_limit` can be cut back to any prefix; a longer one cannot be cut.
    Caches can `share` what they have in common.
    """

    fixed_bytes: int
    bytes_per_token: int
    granularity: int = 256
    cut_limit: float = inf
    share: bool = False

    def size_bytes(self, tokens: int) -> int:
        """Bound for a cache of `tokens` tokens."""
        rows = -(-tokens // self.granularity) * self.granularity
        return self.fixed_bytes + self.bytes_per_token * rows


class ModelInfo(msgspec.Struct, frozen=True):
    """What the rest of the house needs to know of the loaded model.

    `context` is the largest number of tokens a sequence may hold. `folder` holds the model's files,
    its tokenizer among them; empty for one that has none. `notes` says what loading
    decided (weights dequantized, BLAS found), one sentence each, for the log and `doctor`.

    Rows of its caches can be exported and loaded if it has a `layout`. They mean something only to
    who has the same `identity`: weights, configuration, adapter, and how they are computed with.
    """

    name: str
    family: str
    vocabulary: int
    context: int
    weights_bytes: int
    footprint: Footprint
    device: str
    folder: str = ""
    notes: tuple[str, ...] = ()
    identity: str = ""
    layout: Layout | None = None


Collect = Callable[[], StepOutput]
"""Waits for a launched step. Steps are collected in the order of their launch, each once."""


CollectLast = Callable[[], None]
"""Collects the step that was launched before, if nobody has yet."""


def nothing() -> None:
    """Collect nothing."""


class Backend(Protocol):
    """A synchronous machine that executes plans; used by one thread at a time."""

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        ...

    def launch(self, plan: Plan, collect_last: CollectLast = nothing) -> Collect:
        """Begin one step. Raises on a broken law (unknown cache, wrong position).

        The next may be launched before this one is collected. `collect_last` is called,
        perhaps often, where the step before ends while this one is being launched.
        """
        ...

    def reset(self) -> None:
        """Drop every cache; the weights stay. Called first on every new thread."""
        ...

    def leave(self) -> None:
        """Let go of the calling thread's resources; always the last call on a thread."""
        ...


class Engine(Protocol):
    """A backend with a thread of its own, as the scheduler sees it. All calls are on the loop."""

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        ...

    def attach(self, deliver: Deliver) -> None:
        """Begin a new epoch: all caches are dropped, outputs of earlier epochs never arrive.

        Starts the thread if it is dead or was never started. Does not block.
        """
        ...

    def submit(self, plan: Plan) -> None:
        """Queue one step; its output, or `EngineDied`, is delivered later. Does not block."""
        ...

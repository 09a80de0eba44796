"""The words between the scheduler and the engine: one `Plan` in, one `StepOutput` out.

A backend is a synchronous machine that owns KV caches by id and executes plans in order. It knows
nothing of sequences, sessions, queues or text. Two backends keep the same law, held by the same
contract tests: `mlx_backend.MlxBackend` and the deterministic `fake.FakeBackend`. An engine
(`runner.EngineThread`) gives a backend its thread.

A step is carried out in this order: `drops`, `starts`, `feeds`. An error that belongs to one feed
is a `FeedFailed` and harms nobody else; any other exception ends the engine thread.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.domain.request import Sampling


class Start(msgspec.Struct, frozen=True):
    """Make cache `cache`, holding the first `keep` tokens of `source` (none: an empty cache).

    `take` gives the source away: it is trimmed in place and its old id is gone. Otherwise the
    source stays as it is and the new cache shares no mutable state with it.
    `keep` is never below the source's `floor`.
    """

    cache: CacheId
    source: CacheId | None = None
    keep: int = 0
    take: bool = False


class Feed(msgspec.Struct, frozen=True):
    """Append `tokens` (at least one) to `cache`, which holds exactly `position` tokens before.

    With `sampling`, draw the token that follows from the logits of the last one fed; without, the
    feed is a prefill chunk that is not the last.
    """

    cache: CacheId
    position: int
    tokens: TokenIds
    sampling: Sampling | None = None


class Plan(msgspec.Struct, frozen=True):
    """One step. At most one feed per cache; `drops` frees caches."""

    step: int
    drops: tuple[CacheId, ...] = ()
    starts: tuple[Start, ...] = ()
    feeds: tuple[Feed, ...] = ()


class Fed(msgspec.Struct, frozen=True):
    """The cache after its feed.

    `size_bytes` is what its arrays occupy. `floor` is the shortest prefix it can still be cut back
    to: 0 for plain attention, its whole length where nothing can be cut (recurrent state, a window
    that has wrapped). `token` is the drawn token, where one was asked for.
    """

    cache: CacheId
    size_bytes: int
    floor: int
    token: int | None = None


class FeedFailed(msgspec.Struct, frozen=True):
    """The feed raised; the cache is gone. `reason` is for the log."""

    cache: CacheId
    reason: str


class StepOutput(msgspec.Struct, frozen=True):
    """What a step did, one result per feed in plan order. `seconds` is its duration."""

    step: int
    results: tuple[Fed | FeedFailed, ...]
    seconds: float


class EngineDied(msgspec.Struct, frozen=True):
    """The engine thread ended by an exception; every cache is lost, the weights are not."""

    reason: str


Deliver = Callable[[StepOutput | EngineDied], None]
"""Called on the event loop, never on the engine thread."""


class Footprint(msgspec.Struct, frozen=True):
    """An upper bound of a cache's size: `fixed_bytes + bytes_per_token * rows`.

    `rows` is the number of tokens rounded up to `granularity` (caches grow in such steps).
    """

    fixed_bytes: int
    bytes_per_token: int
    granularity: int = 256

    def size_bytes(self, tokens: int) -> int:
        """Bound for a cache of `tokens` tokens."""
        rows = -(-tokens // self.granularity) * self.granularity
        return self.fixed_bytes + self.bytes_per_token * rows


class ModelInfo(msgspec.Struct, frozen=True):
    """What the rest of the house needs to know of the loaded model.

    `context` is the largest number of tokens a sequence may hold. `folder` holds the model's files,
    its tokenizer among them; empty for one that has none. `notes` says what loading
    decided (weights dequantized, BLAS found), one sentence each, for the log and `doctor`.
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


class Backend(Protocol):
    """A synchronous machine that executes plans; used by one thread at a time."""

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        ...

    def execute(self, plan: Plan) -> StepOutput:
        """Carry out one step. Raises on a broken law (unknown cache, wrong position)."""
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

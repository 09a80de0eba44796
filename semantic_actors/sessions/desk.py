"""What the API may ask of the house below it."""

from typing import Protocol

import msgspec

from semantic_actors.domain.ids import Principal, SessionId
from semantic_actors.domain.request import ChatPrompt, Generation
from semantic_actors.sessions.turn import Turn


class Identity(msgspec.Struct, frozen=True):
    """Who asks, and for which session if the client named one.

    Without a name the session is found by its conversation, else a new one is made.
    """

    principal: Principal
    session: SessionId | None = None


class ModelCard(msgspec.Struct, frozen=True):
    """The served model as clients see it. `context` in tokens, `loaded_at` in Unix seconds.

    `aliases` are patterns, as of file names, of other names it answers to.
    """

    name: str
    context: int
    loaded_at: int
    aliases: tuple[str, ...] = ("*",)


class Health(msgspec.Struct, frozen=True):
    """The state of the house. `reasons` says why it is not ready, empty when it is.

    `warnings` are words for the operator that keep nobody from an answer.

    `counters` are gauges and totals by name, flat, for `/health` and `/metrics`; units are in the
    names (`pool_used_bytes`, `waiting`, `tokens_generated_total`).
    """

    ready: bool
    reasons: tuple[str, ...]
    counters: dict[str, int | float]
    warnings: tuple[str, ...] = ()


class Surroundings(msgspec.Struct, frozen=True):
    """What is known of the machine around the house; it becomes part of `Health`."""

    warnings: tuple[str, ...] = ()
    counters: dict[str, int | float] = {}


class Desk(Protocol):
    """The house as the API sees it."""

    @property
    def model(self) -> ModelCard:
        """The served model."""
        ...

    async def begin(self, identity: Identity, generation: Generation) -> Turn:
        """Start an answer. Raises a `Rejected` before anything was spent on it."""
        ...

    async def count_tokens(self, prompt: ChatPrompt) -> int:
        """Exact number of prompt tokens, counted without the engine."""
        ...

    async def health(self, *, probe: bool = False) -> Health:
        """Look at the house; `probe` has one token generated if none came out lately."""
        ...

"""One submission on its way through the batch loop."""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import CacheId, Principal, SequenceId, SessionId
from semantic_actors.domain.request import Sampling
from semantic_actors.engine.protocol import Feed, Load
from semantic_actors.kv.layout import Rows

if TYPE_CHECKING:
    from semantic_actors.scheduling.restoring import Restoring

_IDS = itertools.count(1)


def new_sequence_id() -> SequenceId:
    """Mint an id, unique in the process, so that no epoch meets another's."""
    return SequenceId(next(_IDS))


SequenceFinish = Literal["stop", "length", "context"]


class Following(msgspec.Struct, frozen=True):
    """Waiting until `leader` has fed the first `until` tokens, which both have in common."""

    leader: SequenceId
    until: int


@dataclass(slots=True)
class Sequence:
    """A prompt and what was generated after it. Owned by the scheduler's batch.

    `tokens` is the prompt followed by the generated tokens. The first `fed` of them are in the
    cache; the first `cached` were found there. While it waits, `cache` is None and `fed` is 0.
    Steps run ahead of what is known of them: `planned` tokens are fed or being fed in `flights`
    steps, which will have drawn `awaited` more tokens. One that is `leaving` is fed no more.
    `keep` leaves the cache for reuse at the end. `deaths` counts those at which it was running and
    since when it has drawn no token; with any it is a suspect. `follows` says for whose prefix it
    waits in the queue, and counts only as long as that one is prefilling. `looks_back` says that
    the engine was told what penalties and the grammar look at, `checked` that its cache was found
    to be its own. The first `stored` of its tokens were found in the store; None: that is being
    looked up. While it is `restoring` they are loaded, and it is not fed.
    """

    id: SequenceId
    principal: Principal
    tokens: list[int]
    prompt_tokens: int
    max_tokens: int
    stop_ids: frozenset[int]
    sampling: Sampling
    grammar: Grammar | None = None
    keep: bool = True
    deaths: int = 0
    cache: CacheId | None = None
    fed: int = 0
    planned: int = 0
    awaited: int = 0
    flights: int = 0
    looks_back: bool = False
    checked: bool = False
    leaving: bool = False
    cached: int = 0
    reserved_tokens: int = 0
    follows: Following | None = None
    stored: int | None = 0
    restoring: "Restoring | None" = None
    session: SessionId | None = None

    @property
    def unfed(self) -> int:
        """Tokens still to be fed before the next one can be drawn; 1 when decoding."""
        return len(self.tokens) - self.fed

    @property
    def moving(self) -> bool:
        """Whether it is fed in the next step, if there is memory."""
        return self.restoring is None

    @property
    def length(self) -> int:
        """Tokens it will have when all steps under way have ended."""
        return len(self.tokens) + self.awaited

    def spent(self, context: int) -> bool:
        """Whether its last token is being drawn already, or it is `leaving`."""
        drawn = self.generated + self.awaited
        return self.leaving or drawn >= self.max_tokens or self.length >= context

    @property
    def generated(self) -> int:
        """Tokens drawn so far."""
        return len(self.tokens) - self.prompt_tokens

    def feed(self, count: int) -> Feed:
        """Plan its next `count` tokens; with the last of them the next token is drawn."""
        assert self.cache is not None, self.id
        position, self.planned = self.planned, self.planned + count
        self.flights += 1
        tokens = tuple(self.tokens[position : self.planned])  # none: what is drawn right now
        if self.planned < self.length:
            return Feed(self.cache, position, tokens)
        self.awaited += 1
        told, self.looks_back = self.looks_back, True
        if told or not (self.sampling.penalised or self.grammar):
            return Feed(self.cache, position, tokens, self.sampling)
        given = tuple(self.tokens[: self.prompt_tokens])
        answer = tuple(self.tokens[self.prompt_tokens :])
        history = (given, answer) if self.sampling.penalised else None
        constraint = (self.grammar, answer) if self.grammar else None
        return Feed(self.cache, position, tokens, self.sampling, history, constraint)

    def load(self, rows: tuple[Rows, ...], stop: int) -> Load:
        """Plan to have its tokens up to `stop` loaded."""
        assert self.cache is not None, self.id
        position, self.planned = self.planned, stop
        self.flights += 1
        return Load(self.cache, position, stop, rows)

    def restart(self, cache: CacheId | None, fed: int = 0) -> None:
        """Begin on another cache, or wait for one."""
        self.cache = cache
        self.fed = self.planned = self.cached = fed
        self.reserved_tokens = 0
        self.looks_back = self.checked = False
        self.restoring = None

    def finish_after(self, token: int, context: int) -> SequenceFinish | None:
        """Say whether the sequence ends with `token`, the last of `tokens`."""
        if token in self.stop_ids:
            return "stop"
        if self.generated >= self.max_tokens:
            return "length"
        if len(self.tokens) >= context:
            return "context"
        return None

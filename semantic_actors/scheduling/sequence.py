"""One submission on its way through the batch loop."""

import itertools
from dataclasses import dataclass
from typing import Literal

from semantic_actors.domain.ids import CacheId, Principal, SequenceId, TokenIds
from semantic_actors.domain.request import Sampling

_IDS = itertools.count(1)


def new_sequence_id() -> SequenceId:
    """Mint an id, unique in the process, so that no epoch meets another's."""
    return SequenceId(next(_IDS))


SequenceFinish = Literal["stop", "length", "context"]


@dataclass(slots=True)
class Sequence:
    """A prompt and what was generated after it. Owned by the scheduler's batch.

    `tokens` is the prompt followed by the generated tokens. The first `fed` of them are in the
    cache; the first `cached` were found there. While it waits, `cache` is None and `fed` is 0.
    `keep` leaves the cache for reuse at the end. `deaths` counts those at which it was running and
    since when it has drawn no token; with any it is a suspect.
    """

    id: SequenceId
    principal: Principal
    tokens: list[int]
    prompt_tokens: int
    max_tokens: int
    stop_ids: frozenset[int]
    sampling: Sampling
    keep: bool = True
    deaths: int = 0
    cache: CacheId | None = None
    fed: int = 0
    cached: int = 0
    reserved_tokens: int = 0

    @property
    def unfed(self) -> int:
        """Tokens still to be fed before the next one can be drawn; 1 when decoding."""
        return len(self.tokens) - self.fed

    @property
    def generated(self) -> int:
        """Tokens drawn so far."""
        return len(self.tokens) - self.prompt_tokens

    def next_tokens(self, count: int) -> TokenIds:
        """Return the next `count` tokens to feed."""
        return tuple(self.tokens[self.fed : self.fed + count])

    def finish_after(self, token: int, context: int) -> SequenceFinish | None:
        """Say whether the sequence ends with `token`, the last of `tokens`."""
        if token in self.stop_ids:
            return "stop"
        if self.generated >= self.max_tokens:
            return "length"
        if len(self.tokens) >= context:
            return "context"
        return None

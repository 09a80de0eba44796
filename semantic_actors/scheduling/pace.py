"""How many prompt tokens the next step may feed: so many that no stream waits for long.

A step that feeds n prompt tokens beside some decode rows takes base + n * rate seconds. The rate
follows from the last chunks; it grows with the depth of the prompt, as attention reads all that
came before. The base is at most what a step takes without a prompt, and nothing where a machine
computes the prompt while it still reads the weights: half of that is assumed. An error in the base
changes how fast the budget settles, not where: the chunk that is planned again takes the target.

A pace is told of steps in the order in which they end; it does not care which were planned since.
State: what the last steps took. Owner: the batch.
"""

from collections import deque
from collections.abc import Iterable
from math import inf
from statistics import median
from typing import Final

import msgspec

from semantic_actors.engine.protocol import Feed

LEAST_TOKENS: Final = 16
"""Fed per step however slow the machine, so that prompts go on. Smaller chunks teach nothing."""

EVEN_TOKENS: Final = 16
"""Larger chunks are multiples of this; a last chunk smaller than this is avoided."""

ALONE: Final = 4
"""Targets that a step may take which holds up no stream: whoever arrives waits for it."""

SHALLOW_TOKENS: Final = 2_048
"""Depth up to which attention costs little beside the weights."""

CHUNKS_REMEMBERED: Final = 3
"""Their median follows a change within two steps and ignores a single slow one."""

DECODES_REMEMBERED: Final = 32


class Work(msgspec.Struct, frozen=True):
    """What a step feeds: so many prompt tokens, `depth` tokens deep on average, and decode rows."""

    prefill_tokens: int
    decode_rows: int
    depth: float = 0.0

    @classmethod
    def of(cls, feeds: Iterable[Feed]) -> "Work":
        """Add up the feeds of a plan."""
        tokens = rows = weight = 0
        for feed in feeds:
            if feed.count == 1:
                rows += 1
            else:
                tokens += feed.count
                weight += feed.count * feed.position
        return cls(tokens, rows, weight / tokens if tokens else 0.0)


class _Chunk(msgspec.Struct, frozen=True):
    """Prompt tokens fed in one step, and seconds for each of them."""

    tokens: int
    depth: float
    rate: float

    def rate_at(self, depth: float) -> float:
        """Be careful where a prompt goes on at more than twice the depth.

        The rate grows with the depth, at most in proportion; how much is learned from going there.
        """
        return self.rate * max(1.0, depth / max(2 * self.depth, SHALLOW_TOKENS))


class Pace:
    """See the module. `target_s` seconds between two tokens of a stream; infinite: `largest`.

    A step that takes more than half the target without any prompt may take twice as long with one.
    """

    def __init__(self, target_s: float, largest: int) -> None:
        self._target_s = target_s
        self._largest = largest
        self._chunks: deque[_Chunk] = deque(maxlen=CHUNKS_REMEMBERED)
        self._decodes: deque[tuple[int, float]] = deque(maxlen=DECODES_REMEMBERED)

    def observe(self, load: Work, seconds: float) -> None:
        """Learn from a step that has ended."""
        if load.prefill_tokens >= LEAST_TOKENS:
            cost = max(0.0, seconds - self._without_prompt(load.decode_rows) / 2)
            chunk = _Chunk(load.prefill_tokens, load.depth, cost / load.prefill_tokens)
            self._chunks.append(chunk)
        elif load.decode_rows and not load.prefill_tokens:
            self._decodes.append((load.decode_rows, seconds))

    def budget(self, decode_rows: int, depth: float = 0.0) -> int:
        """Prompt tokens for a step with so many decode rows; `depth` as in `Work`.

        At first little, and never more than twice what was tried lately: what lies beyond is not
        known, and the first rows may have come for nothing beside the decoding ones.
        """
        if self._target_s == inf:
            return self._largest
        least = min(LEAST_TOKENS, self._largest)
        if not self._chunks:
            return least
        without = self._without_prompt(decode_rows)
        target = max(self._target_s, 2 * without) * (1 if decode_rows else ALONE)
        rate = median(chunk.rate_at(depth) for chunk in self._chunks)
        most = min(self._largest, 2 * max(chunk.tokens for chunk in self._chunks))
        return max(least, int(min(most, (target - without / 2) / rate)) if rate > 0 else most)

    def _without_prompt(self, decode_rows: int) -> float:
        """Seconds of a step with decode rows only; one of none counts as one of one.

        More rows never cost less, so steps with fewer give a lower bound.
        """
        rows = max(1, decode_rows)
        known = [seconds for count, seconds in self._decodes if count <= rows]
        return median(known) if known else 0.0


def share_prefill(unfed: Iterable[int], budget: int) -> list[int]:
    """Divide `budget` tokens among prompts: equal shares, what one leaves goes to the others.

    Everyone gets at least one token, so no prompt stands still behind another.
    """
    wants = list(unfed)
    shares = [0] * len(wants)
    left = max(budget, len(wants))
    for position, index in enumerate(sorted(range(len(wants)), key=wants.__getitem__)):
        shares[index] = _chunk(wants[index], left // (len(wants) - position))
        left -= shares[index]
    return shares


def _chunk(want: int, most: int) -> int:
    """Take up to `most` of `want`: in even numbers, without leaving a splinter for the last."""
    if want <= most or (most >= LEAST_TOKENS and want < 2 * LEAST_TOKENS):
        return want  # halves of so little would teach nothing, and cost a step more
    if most >= 4 * EVEN_TOKENS:  # below, rounding would give away too much
        most -= most % EVEN_TOKENS
    if want - most < EVEN_TOKENS:
        most = min(most, (want + 1) // 2)
    return most

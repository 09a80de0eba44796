"""One cache as the real backend holds it, and the token it may not know yet."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.engine import caches, sampling
from semantic_actors.engine.forward import Past
from semantic_actors.engine.guided import Guided


@dataclass(slots=True)
class Awaited:
    """Row `row` of `tokens`, the array of a step's draws, evaluated or not."""

    tokens: mx.array
    row: int


@dataclass(slots=True)
class Held:
    """A cache by its id. `cut_limit` as in `caches`.

    Why it is of no use any more is known of a step that was collected, `lost`, or while one is
    being launched, `refused`: then its grammar cannot go on, and what was launched before counts.
    """

    past: Past
    cut_limit: float
    drawn: Awaited | None = None
    history: sampling.History | None = None
    guided: Guided | None = None
    lost: str = ""
    refused: str = ""
    _gauges: list[caches.Layer] = field(default_factory=list)
    _gauged: list[caches.Layer] = field(default_factory=list)
    _rooms: list[int] = field(default_factory=list)
    _size_bytes: int = 0

    @property
    def length(self) -> int:
        """Tokens in it."""
        return self.past.length

    @property
    def awaits(self) -> bool:
        """Whether its last feed drew a token, which can be fed next."""
        return self.drawn is not None

    @property
    def floor(self) -> int:
        """Shortest prefix it can be cut back to."""
        return 0 if self.length < self.cut_limit else self.length

    def mask(self) -> bytes | None:
        """Say which tokens may be drawn next, as `Guided.mask`; a guide that fails is let go."""
        if self.guided is None:
            return None
        try:
            return self.guided.mask()
        except GrammarFailed as error:
            self.guided, self.refused = None, str(error)
            return None

    def size_bytes(self) -> int:
        """Bytes the arrays of its tail occupy; measured again only when one has grown."""
        if self.past.group is not None:
            return self.past.size_bytes()
        rooms = [caches.room(gauge) for gauge in self._gauges]
        if not rooms or rooms != self._rooms or self._gauged is not self.past.members:
            self._gauged = self.past.members
            self._gauges = _gauges(self.past.members)
            self._rooms = [caches.room(gauge) for gauge in self._gauges]
            self._size_bytes = self.past.size_bytes()
        return self._size_bytes


def next_ids(parts: Sequence[tuple[Held, Sequence[int]]]) -> mx.array:
    """Ids of the rows of all parts, `(rows,)`; a part without tokens feeds what its cache drew."""
    pieces: list[mx.array] = []
    known: list[int] = []
    awaited: list[Awaited] = []
    for held, tokens in parts:
        if (known and not tokens) or (awaited and (tokens or not _same_step(awaited, held))):
            pieces.append(mx.array(known) if known else _gathered(awaited))
            known, awaited = [], []
        if tokens:
            known += tokens
        else:
            assert held.drawn is not None, "the cache has drawn nothing"
            awaited.append(held.drawn)
    pieces.append(mx.array(known) if known else _gathered(awaited))
    return pieces[0] if len(pieces) == 1 else mx.concatenate(pieces)


def _same_step(awaited: list[Awaited], held: Held) -> bool:
    return held.drawn is not None and held.drawn.tokens is awaited[0].tokens


def _gathered(awaited: list[Awaited]) -> mx.array:
    tokens, rows = awaited[0].tokens, [one.row for one in awaited]
    drawn = tokens if rows == list(range(tokens.size)) else tokens[mx.array(rows)]
    return mx.maximum(drawn, 0)  # what is no token is fed as one, and its cache is lost anyway


def _gauges(members: list[caches.Layer]) -> list[caches.Layer]:
    """One filled attention cache of each width, which all of that width grow with.

    None at all where a cache grows in another way, or not: then its size is always measured.
    """
    found: dict[int | None, caches.Layer] = {}
    for member in members:
        if caches.is_attention(member):
            if caches.room(member):
                found.setdefault(getattr(member, "max_size", None), member)
        elif not caches.is_state(member):
            return []
    return list(found.values())

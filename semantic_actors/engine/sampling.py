"""Drawing one token for each row of a batch of logits.

A token depends on its row's logits, settings, history, seed and position alone, never on the rows
beside it, so an answer resumed after a restart, in another batch, goes on as it would have. Rows
whose settings call for the same operations share them.

The filters and their order are mlx-lm's. They are written anew because mlx-lm compiles its own for
every value: a `top_p` not seen before would stop the engine for a run of the C++ compiler, and what
was compiled is never forgotten.
"""

import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import mlx.core as mx
import numpy as np

from semantic_actors.domain.limits import MAX_LOGPROBS
from semantic_actors.domain.request import Sampling
from semantic_actors.engine.protocol import TokenLogprobs

NOT_A_NUMBER: Final = -1
"""Drawn where the logits are not finite numbers; no token has this id."""

_BITS: Final = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_BANS: Final = np.where(_BITS == 1, np.float32(0), -np.float32(np.inf))
"""What to add to the logits of eight tokens, by the byte that says which of them may be drawn. A
quarter of the time that shifting bits takes."""

_COLD: Final = 1e-5
"""Below it the division by the temperature overflows, and the answer is greedy anyway."""


class History:
    """What penalties look back on. It lives on the device: of a drawn token no id need be known.

    State: `given` says for each id of the vocabulary whether the prompt has it, `answered` how
    often the answer does. Make one only for a sampling that is `penalised`: what `add` builds is
    evaluated by the draw that reads it, or else grows by a node per token.
    """

    def __init__(self, given: Iterable[int], answer: Iterable[int], vocabulary: int) -> None:
        self.given = _counts({*given}, vocabulary) > 0
        self.answered = _counts(answer, vocabulary)

    def add(self, token: mx.array) -> None:
        """Count the newest token, of shape `()`."""
        self.answered = self.answered.at[token].add(1)


@dataclass(slots=True)
class Row:
    """How to draw from one row. `position` is of the token drawn; no history penalises nothing.

    `mask` as of a `Guide`, in as many words as the vocabulary has; None: any token may be drawn.
    """

    sampling: Sampling
    position: int
    history: History | None = None
    mask: bytes | None = None


class Drawn:
    """The tokens of a batch, in its order; nothing is evaluated before it is read.

    `tokens` is `(R,)`, int32, with `NOT_A_NUMBER` where a row's logits are none. `arrays` is all
    that has to be evaluated.
    """

    def __init__(self, logits: mx.array, tokens: mx.array, rows: Sequence[Row]) -> None:
        self.tokens = tokens
        self.arrays = [tokens]
        self._wanted = [row.sampling.logprobs for row in rows]
        self._read: list[Any] | None = None
        self._drawn: list[int] | None = None
        asking = [place for place, wanted in enumerate(self._wanted) if wanted is not None]
        self._lines = {place: line for line, place in enumerate(asking)}
        if asking:
            self.arrays += _logprobs(_taken(logits, asking), _taken(tokens, asking))

    def read(self) -> list[int]:
        """Return the tokens."""
        if self._drawn is None:
            self._drawn = list(self.tokens.tolist())  # type: ignore[arg-type]
        return self._drawn

    def token(self, row: int) -> int:
        """Return that of a row."""
        return self.read()[row]

    def logprobs(self, row: int) -> TokenLogprobs | None:
        """Return what the row asked for, if it did."""
        wanted = self._wanted[row]
        if wanted is None:
            return None
        if self._read is None:
            self._read = [array.tolist() for array in self.arrays[1:]]
        chosen, ids, values = (lines[self._lines[row]] for lines in self._read)
        top = sorted(zip(ids, values, strict=True), key=lambda pair: (-pair[1], pair[0]))
        return TokenLogprobs(self.read()[row], chosen, tuple(top[:wanted]))


class _Way(NamedTuple):
    """The operations that a row needs. Rows that need the same ones are drawn together."""

    biased: bool
    penalised: bool
    greedy: bool
    masked: bool
    top_p: bool = False
    min_p: bool = False
    top_k: int = 0


def draw(logits: mx.array, rows: Sequence[Row]) -> Drawn:
    """Draw a token from each row of `logits`, of shape `(R, vocabulary)`. Lazy."""
    groups: dict[_Way, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(_way(row, logits.shape[-1]), []).append(place)
    parts = [
        _drawn(_taken(logits, places), [rows[place] for place in places], way)
        for way, places in groups.items()
    ]
    tokens = parts[0]
    if len(parts) > 1:
        order = [place for places in groups.values() for place in places]
        tokens = mx.concatenate(parts)[mx.array(sorted(range(len(order)), key=order.__getitem__))]
    sound = mx.isfinite(mx.max(logits, axis=-1))
    return Drawn(logits, mx.where(sound, tokens.astype(mx.int32), NOT_A_NUMBER), rows)


def _way(row: Row, vocabulary: int) -> _Way:
    sampling = row.sampling
    biased, masked = bool(sampling.logit_bias), row.mask is not None
    penalised = row.history is not None and sampling.penalised
    if sampling.temperature < _COLD:
        return _Way(biased, penalised, greedy=True, masked=masked)
    return _Way(
        biased,
        penalised,
        greedy=False,
        masked=masked,
        top_p=sampling.top_p < 1.0,
        min_p=sampling.min_p > 0.0,
        top_k=sampling.top_k if sampling.top_k < vocabulary else 0,
    )


def _drawn(logits: mx.array, rows: Sequence[Row], way: _Way) -> mx.array:
    if way.masked:
        logits = _masked(logits, rows)
        tokens = _drawn(logits, rows, way._replace(masked=False))
        possible = mx.isfinite(mx.max(logits, axis=-1))  # a model may rule out what is left
        return mx.where(possible, tokens.astype(mx.int32), NOT_A_NUMBER)
    if way.biased:
        logits = _biased(logits.astype(mx.float32), rows)
    if way.penalised:
        logits = _penalised(logits.astype(mx.float32), rows)
    if way.greedy:
        return mx.argmax(logits, axis=-1)
    logits = logits.astype(mx.float32)
    logits = _filtered(logits - mx.max(logits, axis=-1, keepdims=True), rows, way)
    return _random(logits / _column(row.sampling.temperature for row in rows), rows)


def _masked(logits: mx.array, rows: Sequence[Row]) -> mx.array:
    """Set to -inf what a grammar forbids; no bias is larger than that."""
    masks = np.frombuffer(b"".join(row.mask for row in rows if row.mask is not None), np.uint8)
    bans = mx.array(_BANS)[mx.array(masks)].reshape(len(rows), -1)
    return logits + bans[:, : logits.shape[-1]]


def _biased(logits: mx.array, rows: Sequence[Row]) -> mx.array:
    biases = [
        (line, token, bias)
        for line, row in enumerate(rows)
        for token, bias in row.sampling.logit_bias
    ]
    lines, tokens, values = map(list, zip(*biases, strict=True))
    return logits.at[mx.array(lines), mx.array(tokens)].add(mx.array(values, mx.float32))


def _penalised(logits: mx.array, rows: Sequence[Row]) -> mx.array:
    histories = [row.history for row in rows if row.history is not None]
    answered = mx.stack([history.answered for history in histories])
    said = answered > 0
    seen = mx.stack([history.given for history in histories]) | said
    factor = _column(row.sampling.repetition_penalty for row in rows)
    presence = _column(row.sampling.presence_penalty for row in rows)
    frequency = _column(row.sampling.frequency_penalty for row in rows)
    weakened = mx.where(logits > 0, logits / factor, logits * factor)
    return mx.where(seen, weakened, logits) - presence * said - frequency * answered


def _filtered(logits: mx.array, rows: Sequence[Row], way: _Way) -> mx.array:
    """Set to -inf what must not be drawn; the largest of a row is 0, and stays."""
    if way.top_p:
        logits = _top_p(logits, _column(max(row.sampling.top_p, _COLD) for row in rows))
    if way.min_p:
        least = _column(math.log(row.sampling.min_p) for row in rows)
        logits = mx.where(logits < least, -mx.inf, logits)
    if way.top_k:
        rest = mx.argpartition(-logits, kth=way.top_k - 1, axis=-1)[:, way.top_k :]
        logits = mx.put_along_axis(logits, rest, mx.array(-mx.inf, logits.dtype), axis=-1)
    return logits


def _top_p(logits: mx.array, top_p: mx.array) -> mx.array:
    """Keep the likeliest tokens, up to the one with which their share reaches `top_p`, `(R, 1)`."""
    rising = mx.sort(logits, axis=-1)
    masses = mx.exp(rising)
    likelier = mx.cumsum(masses, axis=-1, reverse=True, inclusive=False)
    whole = likelier[:, :1] + masses[:, :1]
    dropped = mx.sum(likelier >= top_p * whole, axis=-1, keepdims=True)
    return mx.where(logits < mx.take_along_axis(rising, dropped, axis=-1), -mx.inf, logits)


def _random(logits: mx.array, rows: Sequence[Row]) -> mx.array:
    """Draw by inverting the distribution function, as `mx.random.categorical` does for one row.

    Unlike there, a token of no weight is never drawn: neither where the sum of all weights rounds
    to more than the function reaches, nor where a parallel sum steps up between two of them.
    """
    weights = mx.exp(logits)
    reached = mx.where(weights > 0, mx.cumsum(weights, axis=-1), 0.0)
    keys = mx.array([_key(row.sampling.seed, row.position) for row in rows], mx.uint32)
    aimed = mx.vmap(_chance)(keys) * mx.max(reached, axis=-1, keepdims=True)
    return mx.argmin(mx.where(reached > aimed, reached, mx.inf), axis=-1)


def _chance(key: mx.array) -> mx.array:
    return mx.random.uniform(shape=(1,), key=key)


def _key(seed: int, position: int) -> tuple[int, int]:
    digest = hashlib.blake2b(struct.pack(">qq", seed, position), digest_size=8).digest()
    high, low = struct.unpack(">II", digest)
    return high, low


def _logprobs(logits: mx.array, tokens: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Return those of `tokens`, and ids and values of the likeliest, in no order.

    Always of as many as may be asked for: which of several equal ones are among them must not
    depend on how many another row wants.
    """
    logits = logits.astype(mx.float32)
    logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    count = min(MAX_LOGPROBS, logits.shape[-1])
    ids = mx.argpartition(-logprobs, kth=count - 1, axis=-1)[:, :count]
    chosen = mx.take_along_axis(logprobs, mx.maximum(tokens, 0)[:, None], axis=-1)[:, 0]
    return chosen, ids, mx.take_along_axis(logprobs, ids, axis=-1)


def _counts(ids: Iterable[int], vocabulary: int) -> mx.array:
    return mx.zeros(vocabulary, mx.int32).at[mx.array([*ids], mx.int32)].add(1)


def _taken(array: mx.array, places: list[int]) -> mx.array:
    """Take rows, in rising order."""
    return array if len(places) == array.shape[0] else array[mx.array(places)]


def _column(values: Iterable[float]) -> mx.array:
    return mx.array([*values], mx.float32)[:, None]

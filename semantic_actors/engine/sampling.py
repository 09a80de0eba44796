"""Drawing one token from one row of logits.

Filters and their order are mlx-lm's own. The draw at a position depends on the seed and that
position alone, so an answer resumed after a restart goes on as it would have.
"""

import hashlib
import struct

import mlx.core as mx
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

from semantic_actors.domain.request import Sampling

NOT_A_NUMBER = -1
"""Drawn where the logits are not numbers; no token has this id."""

_COLD = 1e-5  # below it the division by the temperature overflows, and the answer is greedy anyway


def draw(logits: mx.array, sampling: Sampling, position: int) -> mx.array:
    """Draw the token for `position` from `logits` of shape `(vocabulary,)`. Lazy."""
    token = (
        mx.argmax(logits) if sampling.temperature < _COLD else _random(logits, sampling, position)
    )
    return mx.where(mx.isnan(mx.max(logits)), NOT_A_NUMBER, token.astype(mx.int32))


def _random(logits: mx.array, sampling: Sampling, position: int) -> mx.array:
    logits = logits.astype(mx.float32)[None]
    logits = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    if sampling.top_p < 1.0:
        logits = apply_top_p(logits, max(sampling.top_p, _COLD))
    if sampling.min_p > 0.0:
        logits = apply_min_p(logits, sampling.min_p)
    if 0 < sampling.top_k < logits.shape[-1]:
        logits = apply_top_k(logits, sampling.top_k)
    key = _key(sampling.seed, position)
    return mx.random.categorical(logits / sampling.temperature, key=key)[0]


def _key(seed: int, position: int) -> mx.array:
    digest = hashlib.blake2b(struct.pack(">qq", seed, position), digest_size=8).digest()
    key: mx.array = mx.random.key(int.from_bytes(digest, "big"))
    return key

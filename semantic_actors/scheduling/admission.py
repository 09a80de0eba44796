"""What a sequence needs of the pool, and which ones are refused before any work."""

from semantic_actors.domain.errors import InvalidRequest, NeverFits, PromptTooLong
from semantic_actors.engine.protocol import Footprint
from semantic_actors.kv import Pool
from semantic_actors.scheduling.sequence import Sequence

RESERVED_COMPLETION_TOKENS = 1024
"""Part of `max_tokens` that is reserved at admission; the rest is granted as it is needed."""


def reservation(sequence: Sequence, pool: Pool, footprint: Footprint, context: int) -> int | None:
    """Tokens to reserve at admission; None if the sequence can never fit into the pool."""
    least = len(sequence.tokens) + 1
    remaining = sequence.max_tokens - sequence.generated
    usual = len(sequence.tokens) + min(remaining, RESERVED_COMPLETION_TOKENS)
    for tokens in (min(usual, context), least):
        if footprint.size_bytes(tokens) <= pool.budget_bytes:
            return tokens
    return None


def check(
    sequence: Sequence, pool: Pool, footprint: Footprint, *, vocabulary: int, context: int
) -> None:
    """Raise the `Rejected` that says why a sequence can never be served."""
    if not sequence.tokens:
        message = "the prompt has no tokens"
        raise InvalidRequest(message)
    if max(sequence.tokens) >= vocabulary:
        message = (
            f"the prompt has token {max(sequence.tokens)}, "
            f"the model knows {vocabulary}: its tokenizer is not the model's own"
        )
        raise InvalidRequest(message)
    biased = max((token for token, _ in sequence.sampling.logit_bias), default=0)
    if biased >= vocabulary:
        message = f"logit_bias: token {biased} is not in the vocabulary of {vocabulary}"
        raise InvalidRequest(message, field="logit_bias")
    if len(sequence.tokens) >= context:
        raise PromptTooLong(len(sequence.tokens), context - 1)
    if reservation(sequence, pool, footprint, context) is None:
        need = footprint.size_bytes(len(sequence.tokens) + 1)
        raise NeverFits(need, pool.budget_bytes)

"""The scheduler's counters, as `/health`, `/metrics` and the tests see them."""

import msgspec


class Snapshot(msgspec.Struct, frozen=True):
    """A moment of one epoch; totals count since the epoch began."""

    pool_budget_bytes: int
    """KV bytes the pool may hold."""
    pool_used_bytes: int
    """Charged: pinned and idle."""
    pool_pinned_bytes: int
    """Referenced by running sequences or reserved for them; only these count as full."""
    caches: int
    """KV caches, pinned and idle."""
    waiting: int
    """Sequences in the queue."""
    following: int
    """Of these, those that wait for a prefix which a running sequence is computing."""
    running: int
    """Sequences on a cache, parked ones included."""
    parked: int
    """Running sequences that wait for memory."""
    stepping: bool
    """Whether the engine has a step in hand."""
    steps_total: int
    """Engine steps finished."""
    tokens_generated_total: int
    """Tokens drawn."""
    tokens_fed_total: int
    """Tokens the engine read: of prompts, and the drawn ones."""
    tokens_cached_total: int
    """Prompt tokens found in a cache or in the store instead of being fed."""
    tokens_restored_total: int
    """Of these, those loaded from the store."""
    tokens_lost_total: int
    """Tokens whose caches were evicted before they could be stored."""
    dirty_bytes: int
    """KV bytes on their way to the store."""
    seconds_since_step: float
    """Seconds since the engine last finished a step; infinite before the first."""


def counters(snapshot: Snapshot) -> dict[str, int | float]:
    """Flatten a snapshot for `/health` and `/metrics`."""
    return msgspec.structs.asdict(snapshot)

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
    running: int
    """Sequences on a cache, parked ones included."""
    parked: int
    """Running sequences that wait for memory."""
    steps_total: int
    """Engine steps finished."""
    tokens_generated_total: int
    """Tokens drawn."""
    tokens_prefilled_total: int
    """Tokens fed."""
    tokens_cached_total: int
    """Prompt tokens found in a cache instead of being fed."""
    seconds_since_step: float
    """Seconds since the engine last finished a step; infinite before the first."""

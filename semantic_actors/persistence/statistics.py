"""The store at one instant, and what it counts to say so."""

from dataclasses import dataclass

import msgspec


class StoreStatistics(msgspec.Struct, frozen=True):
    """Figures of a store; totals count from its start."""

    degraded: str
    """Why the last write failed, or why nothing is kept at all; empty if all is well."""
    pieces: int
    """Pieces on disk that can be found."""
    size_bytes: int
    """Bytes of their files."""
    budget_bytes: int
    """Bytes that they may take."""
    dirty_bytes: int
    """Rows accepted and not written yet."""
    saves_waiting: int
    """Saves accepted and not answered yet."""
    saved_bytes_total: int
    """Bytes of files written and committed, rewritten ones too."""
    saved_tokens_total: int
    """Rows of saves that were written."""
    skipped_tokens_total: int
    """Rows of saves that were stored already."""
    fetched_bytes_total: int
    """Bytes of rows handed out."""
    fetched_tokens_total: int
    """Rows handed out."""
    write_failures_total: int
    """Jobs of the writing thread that failed."""
    refused_saves_total: int
    """Saves answered with a reason."""
    quarantined_total: int
    """Files that failed verification."""
    evicted_total: int
    """Pieces that left for the budget, or for their age."""
    rewritten_total: int
    """Blocks of many pieces that became one."""


@dataclass(slots=True)
class Counters:
    """Totals of one store; see `StoreStatistics`."""

    saved_bytes: int = 0
    saved_tokens: int = 0
    skipped_tokens: int = 0
    fetched_bytes: int = 0
    fetched_tokens: int = 0
    write_failures: int = 0
    refused_saves: int = 0
    quarantined: int = 0
    evicted: int = 0
    rewritten: int = 0

"""Bookkeeping of KV caches: which tokens they hold, what they cost. No tensors here."""

from semantic_actors.kv.pool import Entry, Match, Pool
from semantic_actors.kv.prefix import common_prefix

__all__ = ["Entry", "Match", "Pool", "common_prefix"]

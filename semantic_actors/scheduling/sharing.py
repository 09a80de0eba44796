"""In-flight prefix sharing: wait for a prefix that a running sequence computes right now.

A waiting sequence *follows* a running, still prefilling one of the same principal, its leader, if
that will soon hold at least a block more of its prompt than any cache does now. It waits until the
leader has fed what they have in common, and is then admitted on a copy of it. When the leader
leaves early, whoever of its followers comes first in the queue is admitted and leads the others.

A follower blocks nobody: those behind it are admitted meanwhile. It does not wait for ever either:
a leader moves in every step, and each wait brings the follower at least a block further.

Caches that cannot be cut (`Footprint.cut_limit`) are not worth waiting for: their owner goes past
the end of the common prefix.
"""

from collections.abc import Iterable

from semantic_actors.kv import common_prefix
from semantic_actors.kv.blocks import BLOCK_TOKENS
from semantic_actors.scheduling.sequence import Following, Sequence


class Leaders:
    """Who may be followed in this plan: whoever is prefilling, and who is admitted by the plan.

    A decision is made once: a follower costs one comparison of numbers in each later plan.
    """

    def __init__(self, running: Iterable[Sequence], cut_limit: float) -> None:
        self._cut_limit = cut_limit
        self._fed = {one.id: (one, one.fed) for one in running if one.unfed > 1}

    def add(self, sequence: Sequence, fed: int) -> None:
        """Another one is admitted; `fed` of its tokens are in the cache that it starts on."""
        self._fed[sequence.id] = (sequence, fed)

    def keep(self, sequence: Sequence) -> bool:
        """Whether a waiting sequence that follows goes on doing so."""
        following = sequence.follows
        if following is None or following.leader not in self._fed:
            return False
        _, fed = self._fed[following.leader]
        return fed < following.until < self._cut_limit

    def find(self, sequence: Sequence, found: int) -> Following | None:
        """Find the leader that helps most, if `found` tokens are in some cache already.

        One that is admitted by this plan may have all of it, on a cache that only the next can see.
        """
        best = None
        gain = BLOCK_TOKENS
        for leader, fed in self._fed.values():
            if leader.principal != sequence.principal or fed + BLOCK_TOKENS < found:
                continue  # nothing to share, or too far behind to wait for
            common = common_prefix(leader.tokens, sequence.tokens)
            until = min(common, len(sequence.tokens) - 1)
            if until - found >= gain and until < self._cut_limit:
                best, gain = Following(leader.id, until), until - found + 1
        return best

"""Which sessions have caches in RAM, and how those leave it and come back on demand.

A session *leaves* RAM when nothing of its caches is on its way to the store any more: they are
dropped then, one by one. It comes back by a sequence that nobody listens to: a prompt of all its
tokens, whose cache stays for whoever goes on from there.
"""

from collections.abc import Callable

from semantic_actors.actors import Deferred
from semantic_actors.domain.errors import TurnFailed
from semantic_actors.domain.ids import Principal, SessionId
from semantic_actors.domain.request import GREEDY
from semantic_actors.kv import Entry
from semantic_actors.scheduling.batch import Batch
from semantic_actors.scheduling.messages import (
    Admitted,
    Generated,
    Leave,
    Left,
    Refused,
    SequenceFailed,
    SubscriberMessage,
    Warm,
)
from semantic_actors.scheduling.sequence import Sequence, new_sequence_id

Owner = tuple[Principal, SessionId]


def residents(batch: Batch) -> frozenset[Owner]:
    """List whose caches are in RAM, or are about to be."""
    held: tuple[Sequence | Entry, ...] = (*batch.waiting, *batch.running, *batch.pool.idle())
    return frozenset((one.principal, one.session) for one in held if one.session is not None)


class Leaving:
    """A session on its way out of RAM; `advance` after whatever may have changed."""

    def __init__(self, message: Leave, reply: Deferred[Left], batch: Batch) -> None:
        self._owner: Owner = (message.principal, message.session)
        self._stored = message.stored
        self._reply = reply
        self._batch = batch
        self._freed_bytes = self._lost_tokens = 0

    def advance(self) -> bool:
        """Drop what can be; True once the answer is given, or nobody waits for it."""
        if self._reply.abandoned:
            return True
        for entry in self._idle():
            if not self._stored:
                self._batch.keeping.forget(entry.cache, lost=False)
            if self._batch.keeping.settled(entry.cache):
                self._freed_bytes += self._batch.pool.freed_bytes(entry.cache)
                self._lost_tokens += len(entry.tokens) - entry.saved
                self._batch.evict(entry.cache)
        if self._idle() or self._ending():
            return False
        self._reply.resolve(Left(self._freed_bytes, self._lost_tokens))
        return True

    def _idle(self) -> list[Entry]:
        return [
            entry
            for entry in self._batch.pool.idle()
            if (entry.principal, entry.session) == self._owner
        ]

    def _ending(self) -> bool:
        """Whether a step under way still feeds one whose answer is over."""
        return any(
            one.leaving and (one.principal, one.session) == self._owner
            for one in self._batch.running
        )


def warming(
    message: Warm, reply: Deferred[int]
) -> tuple[Sequence, Callable[[SubscriberMessage], None]]:
    """Return the sequence that brings a path into RAM, and what hears of it."""
    found = 0

    def heard(news: SubscriberMessage) -> None:
        nonlocal found
        match news:
            case Admitted(cached=cached):
                found = cached
            case Generated():
                reply.resolve(found)
            case Refused(error=error):
                reply.reject(error)
            case SequenceFailed(reason=reason):
                reply.reject(TurnFailed(reason))
            case _:
                pass

    sequence = Sequence(
        id=new_sequence_id(),
        principal=message.principal,
        session=message.session,
        tokens=list(message.tokens),
        prompt_tokens=len(message.tokens),
        max_tokens=1,
        stop_ids=frozenset(),
        sampling=GREEDY,
    )
    return sequence, heard

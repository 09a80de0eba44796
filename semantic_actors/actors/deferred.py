"""An answer that an actor owes and gives later."""

from typing import Generic, TypeVar

from semantic_actors.actors.mailbox import Envelope

R = TypeVar("R")


class Deferred(Generic[R]):
    """The answer to one request, taken over by `Actor.defer`; its first outcome counts."""

    __slots__ = ("_envelope",)

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it (any more): answered, timed out, cancelled, or just told."""
        return self._envelope.reply is None or self._envelope.reply.done()

    def resolve(self, value: R) -> None:
        """Answer; without effect if abandoned."""
        self._envelope.answer(value)

    def reject(self, error: Exception) -> None:
        """Answer with an exception; without effect if abandoned."""
        self._envelope.refuse(error)

"""The only way to reach an actor. A ref stays good over restarts of what it refers to."""

import asyncio
from typing import Any, Generic, TypeVar

from semantic_actors.actors.cell import Cell
from semantic_actors.actors.errors import AskTimeout
from semantic_actors.actors.mailbox import Envelope
from semantic_actors.actors.message import Message, Request
from semantic_actors.actors.trace import current_request

M_contra = TypeVar("M_contra", bound=Message, contravariant=True)
R = TypeVar("R")


class ActorRef(Generic[M_contra]):
    """A name to tell and ask; equal to every other ref of the same actor.

    All methods belong to the loop's thread; others use `loop.call_soon_threadsafe(ref.tell, ...)`.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def __repr__(self) -> str:
        return f"ActorRef({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(self._cell)

    @property
    def name(self) -> str:
        """The child spec's name."""
        return self._cell.name

    def tell(self, message: M_contra) -> None:
        """Leave a message; never blocks. Raises MailboxFull or ActorStopped."""
        self._cell.mailbox.put(Envelope(message, current_request()))

    def post(self, message: M_contra) -> None:
        """Leave a message that must arrive; where the lane is full it stands in line for room.

        The line has no bound of its own: post only what is bounded elsewhere, such as the outcome
        of work that goes one at a time. Raises ActorStopped.
        """
        self._cell.mailbox.put_when_room(Envelope(message, current_request()))

    async def ask(self, request: Request[R], *, timeout: float) -> R:  # noqa: ASYNC109
        """Wait for the actor's answer, for room in its mailbox too, at most `timeout` seconds.

        Raises AskTimeout, ActorStopped, or the exception that the actor answered with. If the
        asker gives up, by time or by cancellation, before the actor has read the request, it is
        skipped. (A deadline inside the kernel, not `asyncio.timeout` around it: an answer that is
        itself a TimeoutError stays distinguishable.)
        """
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[R] = loop.create_future()
        self._cell.mailbox.put_when_room(Envelope(request, current_request(), reply=reply))
        timer = loop.call_later(timeout, _expire, reply, self.name, timeout)
        try:
            return await reply
        finally:
            timer.cancel()
            del reply  # no cycle: the exception's traceback holds this frame

    def watch(self, watcher: "ActorRef[Any]", message: Message) -> None:
        """Have the kernel tell `message` to `watcher` each time this actor was restarted.

        After the new instance's `on_start`. One message per watcher: the last call wins.
        A watcher that stopped is forgotten. Raises ActorStopped.
        """
        self._cell.watch(watcher._cell, message)  # noqa: SLF001  (another ref's)

    def unwatch(self, watcher: "ActorRef[Any]") -> None:
        """Undo `watch`; harmless if there was none."""
        self._cell.unwatch(watcher._cell)  # noqa: SLF001  (another ref's)


def _expire(reply: asyncio.Future[Any], actor: str, timeout_s: float) -> None:
    if not reply.done():
        reply.set_exception(AskTimeout(actor, timeout_s))

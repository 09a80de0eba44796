"""The base class of actors: one owner of mutable state, one message at a time.

An instance lives from its factory to its `on_stop`; after a crash a *new* one takes its place
behind the same ref. The kernel calls the hooks, never two at a time.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from semantic_actors.actors.cell import DEFAULT_CAPACITY
from semantic_actors.actors.message import Message

if TYPE_CHECKING:
    from semantic_actors.actors.deferred import Deferred
    from semantic_actors.actors.errand import Errand
    from semantic_actors.actors.life import Life
    from semantic_actors.actors.ref import ActorRef
    from semantic_actors.actors.spec import StopReason

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class Actor(Generic[M]):
    """Subclass, hold state in fields, answer messages of the union `M`."""

    mailbox_capacity: ClassVar[int] = DEFAULT_CAPACITY
    """Messages per lane; there is no "unbounded"."""
    stop_timeout: ClassVar[float] = 5.0
    """Seconds that `on_stop` may take."""

    ref: "ActorRef[M]"
    """This actor; set by the kernel before `on_start`."""
    _life: "Life"

    async def on_start(self) -> None:
        """Run before the first message. Failing here is a crash like any other."""

    async def on_message(self, message: M) -> object:
        """Serve one message; for a request, the value returned is the answer.

        Raising a `Refusal` answers the asker with it, and the actor lives on. Any other exception
        answers the asker and crashes the actor.
        """
        raise NotImplementedError

    async def on_drain(self, deadline: float) -> None:
        """Finish or hand over what matters, until `deadline` (loop time).

        Runs when new work is refused already and the mailbox has been served. Afterwards the
        actor still serves what arrives on the control lane, its own pipes and timers, as long as
        it owes deferred replies; then it stops.
        """

    async def on_stop(self, reason: "StopReason") -> None:
        """Release what the instance holds. Runs always, after a crash too, and uninterrupted.

        Pipes and timers have ended by now. Takes at most `stop_timeout` seconds.
        """

    def stop(self) -> None:
        """Leave: take no new messages, serve those accepted, give the replies owed, end."""
        self._life.finish()

    def defer(self) -> "Deferred[Any]":
        """Take over the answer to the request in hand; what `on_message` returns is ignored.

        Replies never given are rejected when the instance ends: nobody hangs.
        """
        return self._life.defer()

    def pipe(
        self,
        awaitable: Awaitable[T],
        on_result: Callable[[T], Message],
        on_error: Callable[[Exception], Message],
    ) -> "Errand":
        """Run `awaitable` beside the actor and tell its outcome to it (Akka's pipeToSelf).

        It is cancelled and awaited when this instance ends; its outcome never reaches another.
        """
        return self._life.errands.pipe(awaitable, on_result, on_error)

    def after(self, delay_s: float, message: Message) -> "Errand":
        """Tell `message` to this instance in `delay_s` seconds, unless cancelled before."""
        return self._life.errands.after(delay_s, message)

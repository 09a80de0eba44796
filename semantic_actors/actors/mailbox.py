"""A bounded mailbox of two lanes; it belongs to a ref and survives restarts of the actor.

    tell --put--------------> | lane: at most `capacity` | --pop--> actor
    ask, post --put_when_room-> | line | -> lane, as room comes, first come first served

Nothing is ever dropped silently: `put` raises, and who stands in the line is an asker (with a
deadline, and out of the line as soon as it gives up), a message whose sender bounds it, or a
kernel event of the actor's own making (outcome of a pipe, timer, news of a restart), so the line
is as bounded as those are.
"""

import asyncio
import enum
from collections import deque
from typing import Any, Protocol

from semantic_actors.actors.errors import ActorStopped, MailboxFull
from semantic_actors.actors.message import Message


class Source(Protocol):
    """Where a kernel event comes from; its message is void once the source is revoked."""

    @property
    def revoked(self) -> bool:
        """Whether the message must not arrive any more."""


class Envelope:
    """One message on its way: who serves whom, and where the answer goes."""

    __slots__ = (
        "asked",
        "message",
        "reply",
        "request_id",
        "source",
    )  # one per message: keep it small

    def __init__(
        self,
        message: Message,
        request_id: str | None,
        *,
        reply: asyncio.Future[Any] | None = None,
        source: Source | None = None,
    ) -> None:
        self.message = message
        self.request_id = request_id
        self.asked = reply is not None
        self.reply = reply  # None again once it is given: no cycle with an exception's traceback
        self.source = source

    @property
    def abandoned(self) -> bool:
        """Whether nobody cares any more: the asker has left, or the source was revoked."""
        if self.asked:
            return self.reply is None or self.reply.done()
        return self.source is not None and self.source.revoked

    def answer(self, value: object) -> None:
        """Give the asker its answer, if there is one and it still waits."""
        reply, self.reply = self.reply, None
        if reply is not None and not reply.done():
            reply.set_result(value)

    def refuse(self, error: BaseException) -> bool:
        """Give the asker an exception; False if the message was told, so nobody heard."""
        reply, self.reply = self.reply, None
        if reply is not None and not reply.done():
            reply.set_exception(error)
        return self.asked


class Intake(enum.Enum):
    """What a mailbox takes from senders."""

    ALL = "all"
    CONTROL = "control only: the actor is draining"
    NOTHING = "nothing: the actor has stopped"


class _Lane:
    """One bounded queue and the line of those who wait to enter it."""

    def __init__(self) -> None:
        self.items: deque[Envelope] = deque()
        self.line: dict[Envelope, None] = {}  # ordered, and O(1) to leave from the middle

    def has_room(self, capacity: int) -> bool:
        return len(self.items) < capacity and not self.line

    def pop(self) -> Envelope | None:
        if not self.items:
            return None
        envelope = self.items.popleft()
        if self.line:
            first = next(iter(self.line))
            del self.line[first]
            self.items.append(first)
        return envelope

    def clear(self) -> list[Envelope]:
        left = [*self.items, *self.line]
        self.items.clear()
        self.line.clear()
        return left


class Mailbox:
    """The two lanes of one actor. One reader; any number of senders, all on the loop's thread."""

    def __init__(self, actor: str, capacity: int) -> None:
        self.capacity = capacity
        self.intake = Intake.ALL
        self._actor = actor
        self._control = _Lane()
        self._data = _Lane()
        self._served_control = False
        self._wake: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return sum(len(lane.items) + len(lane.line) for lane in (self._control, self._data))

    def put(self, envelope: Envelope) -> None:
        """Enter at once, or raise MailboxFull or ActorStopped."""
        lane = self._admit(envelope)
        if not lane.has_room(self.capacity):
            raise MailboxFull(self._actor, self.capacity)
        lane.items.append(envelope)
        self.wake()

    def put_when_room(self, envelope: Envelope) -> None:
        """Enter, or stand in line until the asker gives up; raise ActorStopped."""
        self._enter(self._admit(envelope), envelope)

    def deliver(self, envelope: Envelope) -> bool:
        """Enter as a kernel event, which a draining actor still takes; False if it has stopped."""
        if self.intake is Intake.NOTHING:
            return False
        self._enter(self._lane(envelope), envelope)
        return True

    def pop(self) -> Envelope | None:
        """Take the next message: control before data, but never two in a row while data waits.

        So a control message waits for one data message at most, and a stream of them (the steps
        of a fast engine, say) cannot starve the other lane.
        """
        control_first = not self._served_control
        first, second = self._control, self._data
        envelope = first.pop() or second.pop() if control_first else second.pop() or first.pop()
        self._served_control = envelope is not None and envelope.message.control
        return envelope

    async def wait(self) -> None:
        """Sleep until something entered or `wake` was called; the caller looks again."""
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake

    def wake(self) -> None:
        """Make the reader look again."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close(self) -> list[Envelope]:
        """Refuse everything from now on and hand back what was never read."""
        self.intake = Intake.NOTHING
        return self._control.clear() + self._data.clear()

    def _lane(self, envelope: Envelope) -> _Lane:
        return self._control if envelope.message.control else self._data

    def _admit(self, envelope: Envelope) -> _Lane:
        if self.intake is Intake.ALL or (
            self.intake is Intake.CONTROL and envelope.message.control
        ):
            return self._lane(envelope)
        raise ActorStopped(self._actor)

    def _enter(self, lane: _Lane, envelope: Envelope) -> None:
        if lane.has_room(self.capacity):
            lane.items.append(envelope)
            self.wake()
            return
        lane.line[envelope] = None
        if envelope.reply is not None:
            envelope.reply.add_done_callback(lambda _: lane.line.pop(envelope, None))

"""What one actor instance has under way besides its message: pipes and timers.

An errand ends in a message to the actor itself, or in nothing: once it is cancelled, or its
instance has ended, its message never arrives, not even from the mailbox.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from semantic_actors.actors.errors import ActorStopped, StrayCancellation
from semantic_actors.actors.mailbox import Envelope, Mailbox
from semantic_actors.actors.message import Message
from semantic_actors.actors.trace import current_request

T = TypeVar("T")


class Errand:
    """One pipe or timer, as its actor sees it."""

    __slots__ = ("_book", "_cancelled")

    def __init__(self, book: "Errands") -> None:
        self._book = book
        self._cancelled = False

    @property
    def revoked(self) -> bool:
        """Whether its message must not arrive any more."""
        return self._cancelled or self._book.closed

    def cancel(self) -> None:
        """Call it off: its message never arrives, even if it is in the mailbox already."""
        self._cancelled = True
        self._book.call_off(self)


class Errands:
    """The book of one instance's errands; `fail` crashes the instance."""

    def __init__(self, actor: str, mailbox: Mailbox, fail: Callable[[Exception], None]) -> None:
        self.closed = False
        self._actor = actor
        self._mailbox = mailbox
        self._fail = fail
        self._timers: dict[Errand, asyncio.TimerHandle] = {}
        self._work: dict[Errand, asyncio.Future[Any]] = {}

    def pipe(
        self,
        awaitable: Awaitable[T],
        on_result: Callable[[T], Message],
        on_error: Callable[[Exception], Message],
    ) -> Errand:
        """Run `awaitable` and deliver its outcome; a failing `on_...` is the actor's failure."""
        if self.closed:
            if inspect.iscoroutine(awaitable):
                awaitable.close()  # else it would complain that nobody awaited it
            raise ActorStopped(self._actor)
        errand = Errand(self)
        # ensure_future: even if cancelled before its first step, the coroutine gets to know.
        work = self._work[errand] = asyncio.ensure_future(awaitable)
        work.add_done_callback(partial(self._finish, errand, on_result, on_error))
        return errand

    def after(self, delay_s: float, message: Message) -> Errand:
        """Deliver `message` in `delay_s` seconds."""
        if self.closed:
            raise ActorStopped(self._actor)
        errand = Errand(self)

        def fire() -> None:
            del self._timers[errand]
            self._deliver(errand, message)

        self._timers[errand] = asyncio.get_running_loop().call_later(delay_s, fire)
        return errand

    def call_off(self, errand: Errand) -> None:
        """Stop what runs for `errand`, if anything still does."""
        if timer := self._timers.pop(errand, None):
            timer.cancel()
        if work := self._work.get(errand):  # stays in the book until it has really ended
            work.cancel()

    async def close(self) -> None:
        """Call all off and wait until the last one has ended."""
        self.closed = True
        for errand in [*self._timers, *self._work]:
            self.call_off(errand)
        if self._work:
            await asyncio.wait(list(self._work.values()))

    def _finish(
        self,
        errand: Errand,
        on_result: Callable[[T], Message],
        on_error: Callable[[Exception], Message],
        done: asyncio.Future[T],
    ) -> None:
        del self._work[errand]
        error = StrayCancellation(self._actor) if done.cancelled() else done.exception()
        if errand.revoked:
            return
        try:
            message = on_error(error) if isinstance(error, Exception) else on_result(done.result())
        except Exception as failure:  # noqa: BLE001  (a crash of the actor)
            self._fail(failure)
        else:
            self._deliver(errand, message)

    def _deliver(self, errand: Errand, message: Message) -> None:
        self._mailbox.deliver(Envelope(message, current_request(), source=errand))

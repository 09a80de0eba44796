"""One instance of an actor, from its start to its end: the loop that serves the mailbox.

    on_start -> serve -> [told to leave] -> serve the rest -> on_drain -> give what is owed
             -> errands called off -> on_stop -> replies still owed are rejected

Leaving is a state, not a message: it overtakes everything, and takes effect between messages.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from semantic_actors.actors.actor import Actor
from semantic_actors.actors.cancellation import being_cancelled, uncut
from semantic_actors.actors.cell import Cell
from semantic_actors.actors.deferred import Deferred
from semantic_actors.actors.errand import Errands
from semantic_actors.actors.errors import ActorStopped, Refusal, StrayCancellation
from semantic_actors.actors.mailbox import Envelope, Intake
from semantic_actors.actors.ref import ActorRef
from semantic_actors.actors.spec import StopReason
from semantic_actors.actors.trace import bind_request

_log = structlog.get_logger(__name__)


class Life:
    """Runs one actor instance in the task of its child slot."""

    def __init__(self, actor: Actor[Any], cell: Cell, on_started: Callable[[], None]) -> None:
        self.errands = Errands(cell.name, cell.mailbox, self._fail)
        self._actor = actor
        self._cell = cell
        self._mailbox = cell.mailbox
        self._on_started = on_started
        self._leaving: StopReason | None = None
        self._deadline = 0.0
        self._failure: Exception | None = None
        self._in_hand: Envelope | None = None
        self._owed: set[Envelope] = set()
        actor.ref = ActorRef(cell)
        actor._life = self  # noqa: SLF001  (Actor is the face of Life)

    async def run(self) -> StopReason:
        """Live to the end; raises what the actor failed with."""
        reason = StopReason.CRASHED
        try:
            reason = await self._live()
        except asyncio.CancelledError as error:
            if being_cancelled():
                reason = StopReason.CANCELLED
                raise
            self._failure = StrayCancellation(self._cell.name)
            raise self._failure from error
        except Exception as error:
            self._failure = error
            raise
        finally:
            await uncut(self._end(reason))
        return reason

    def finish(self) -> None:
        """Leave of its own will: the mailbox is served first."""
        if self._leaving is None and not self.errands.closed:
            self._leave(StopReason.FINISHED, Intake.CONTROL)

    def drain(self, deadline: float) -> None:
        """Leave in order: the mailbox is served, then `on_drain` has until `deadline`."""
        self._deadline = deadline
        if self._leaving in (None, StopReason.FINISHED):
            self._leave(StopReason.DRAINED, Intake.CONTROL)

    def stop(self) -> None:
        """Leave after the present message; the mailbox stays for whoever comes next."""
        self._leave(StopReason.STOPPED, self._mailbox.intake)

    def defer(self) -> Deferred[Any]:
        """Take over the answer to the message in hand."""
        envelope = self._in_hand
        if envelope is None:
            msg = "defer() belongs inside on_message, once per request"
            raise RuntimeError(msg)
        self._in_hand = None
        if envelope.reply is not None:
            self._owed.add(envelope)
            envelope.reply.add_done_callback(lambda _: self._settle(envelope))
        return Deferred(envelope)

    async def _live(self) -> StopReason:
        await self._actor.on_start()
        self._on_started()
        await self._serve(until=lambda: self._leaving is not None)
        if self._leaving is StopReason.DRAINED:
            await self._actor.on_drain(self._deadline)
        await self._serve(until=lambda: not self._owed)
        return self._leaving or StopReason.STOPPED

    async def _serve(self, until: Callable[[], bool]) -> None:
        """Serve the mailbox until it is empty and `until` holds, or an order to stop."""
        while self._leaving is not StopReason.STOPPED:
            if self._failure is not None:
                raise self._failure
            envelope = self._mailbox.pop()
            if envelope is None:
                if until():
                    return
                await self._mailbox.wait()
            elif not envelope.abandoned:
                await self._serve_one(envelope)
                await asyncio.sleep(0)  # a full mailbox must not freeze the other actors

    async def _serve_one(self, envelope: Envelope) -> None:
        self._in_hand = envelope
        try:
            with bind_request(envelope.request_id):
                answer = await self._actor.on_message(envelope.message)
        except Refusal as refusal:
            self._drop(envelope, refusal, "refused")
        except Exception as error:
            self._drop(envelope, error, "crashed")
            raise
        except asyncio.CancelledError:
            lost = ActorStopped if being_cancelled() else StrayCancellation
            self._drop(envelope, lost(self._cell.name), "cancelled")
            raise
        else:
            if self._in_hand is envelope:
                envelope.answer(answer)
        finally:
            self._in_hand = None

    async def _end(self, reason: StopReason) -> None:
        try:
            await self.errands.close()
            async with asyncio.timeout(self._actor.stop_timeout):
                await self._actor.on_stop(reason)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            _log.exception("actor_stop_failed", actor=self._cell.name)
        except Exception:  # noqa: BLE001  (it ends anyway)
            _log.exception("actor_stop_failed", actor=self._cell.name)
        finally:
            for envelope in list(self._owed):
                envelope.refuse(self._failure or ActorStopped(self._cell.name))
            del self._actor, self._failure  # no cycles: what it holds is freed at once

    def _leave(self, reason: StopReason, intake: Intake) -> None:
        self._leaving = reason
        self._mailbox.intake = intake
        self._mailbox.wake()

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._mailbox.wake()

    def _settle(self, envelope: Envelope) -> None:
        self._owed.discard(envelope)
        self._mailbox.wake()

    def _drop(self, envelope: Envelope, error: Exception, reason: str) -> None:
        if not envelope.refuse(error):
            self._cell.dead_letters.record(self._cell.name, envelope.message, reason)

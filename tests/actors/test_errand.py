"""Laws of pipes and timers."""

import asyncio
import contextlib

import pytest

from semantic_actors.actors import (
    ActorStopped,
    ChildSpec,
    Errand,
    Message,
    StopReason,
    StrayCancellation,
    Supervisor,
)
from tests.actors.cast import FAST, Boom, Do, Note, Puppet, crash, on_stage, puppet, settle
from tests.sim import simulated


def _root(journal: list[str]) -> Supervisor:
    return Supervisor("root", [puppet("a", journal)], backoff=FAST)


def _note_error(error: Exception) -> Message:
    return Note(type(error).__name__)


async def _later(word: str) -> str:
    await asyncio.sleep(5)
    return word


async def _fail() -> str:
    raise Boom


@simulated
async def test_a_pipe_tells_its_result() -> None:
    """The actor serves on while the awaitable runs; the outcome comes as a message."""
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        ref = root.ref("a")
        await ref.ask(Do(lambda self: self.pipe(_later("result"), Note, _note_error)), timeout=1)
        ref.tell(Note("meanwhile"))
        await asyncio.sleep(6)

        assert journal == ["+a", "meanwhile", "result"]


@simulated
async def test_a_pipe_tells_its_error() -> None:
    """An exception of the awaitable is a message too, not a crash."""
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        await root.ref("a").ask(Do(lambda self: self.pipe(_fail(), Note, _note_error)), timeout=1)
        await settle()

        assert journal == ["+a", "Boom"]


@simulated
async def test_a_pipe_whose_awaitable_was_cancelled_by_others_tells_an_error() -> None:
    """A third party's cancellation is an outcome: the actor does not wait for ever."""
    journal: list[str] = []
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with on_stage(_root(journal)) as root:
        await root.ref("a").ask(Do(lambda self: self.pipe(future, Note, _note_error)), timeout=1)
        future.cancel()
        await settle()

        assert journal == ["+a", StrayCancellation.__name__]


@simulated
async def test_a_failing_on_result_crashes_the_actor() -> None:
    """Code that turns an outcome into a message is the actor's: its failure is a crash."""

    def bad(_: str) -> Message:
        raise Boom

    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        await root.ref("a").ask(Do(lambda self: self.pipe(_later(""), bad, _note_error)), timeout=1)
        await asyncio.sleep(6)

        assert journal == ["+a", "-a CRASHED", "+a"]


@simulated
async def test_outcomes_wait_for_room() -> None:
    """A full mailbox delays outcomes and timers, it never loses them."""
    journal: list[str] = []
    gate = asyncio.Event()

    def block(self: Puppet) -> object:
        for i in range(Puppet.mailbox_capacity):
            self.ref.tell(Note(str(i)))
        self.after(1, Note("timer"))
        self.pipe(_later("pipe"), Note, _note_error)
        return gate.wait()

    async with on_stage(_root(journal)) as root:
        root.ref("a").tell(Do(block))
        await asyncio.sleep(9)
        gate.set()
        await settle()

        assert journal == ["+a", "0", "1", "2", "3", "timer", "pipe"]


@simulated
async def test_errands_of_an_old_instance_never_reach_a_new_one() -> None:
    """Running pipes are cancelled and awaited, timers dropped, outcomes already told are void."""
    journal: list[str] = []

    async def interrupted() -> str:
        try:
            return await _later("old pipe")
        finally:
            await asyncio.sleep(0)
            journal.append("pipe ended")

    async def start_and_crash(self: Puppet) -> None:
        self.pipe(interrupted(), Note, _note_error)
        self.pipe(asyncio.sleep(0, "old outcome"), Note, _note_error)
        self.after(0.0, Note("old timer, fired"))
        self.after(1.0, Note("old timer"))
        await asyncio.sleep(0.5)
        raise Boom

    async with on_stage(_root(journal)) as root:
        with pytest.raises(Boom):
            await root.ref("a").ask(Do(start_and_crash), timeout=1)
        await asyncio.sleep(9)

        assert journal == ["+a", "pipe ended", "-a CRASHED", "+a"]
        assert root.statistics().dead_letters == 0


@simulated
async def test_a_pipe_that_never_ran_a_step_is_cancelled_in_peace() -> None:
    """Crashing right after `pipe` leaves no coroutine that nobody awaited."""
    journal: list[str] = []

    def pipe_and_crash(self: Puppet) -> None:
        self.pipe(_later("never"), Note, _note_error)
        crash(self)

    async with on_stage(_root(journal)) as root:
        with pytest.raises(Boom):
            await root.ref("a").ask(Do(pipe_and_crash), timeout=1)
        await asyncio.sleep(9)

        assert "never" not in journal


@simulated
async def test_a_timer_tells_its_message_in_time() -> None:
    """`after` delivers once, when the delay has passed."""
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        await root.ref("a").ask(Do(lambda self: self.after(10, Note("tick"))), timeout=1)

        await asyncio.sleep(9.9)
        assert journal == ["+a"]
        await asyncio.sleep(0.2)
        assert journal == ["+a", "tick"]


@simulated
async def test_a_cancelled_errand_never_arrives() -> None:
    """Not while it runs, and not even when its message is in the mailbox already."""
    journal: list[str] = []

    def complain(error: Exception) -> Message:
        journal.append("on_error called")
        return _note_error(error)

    async def start_and_cancel(self: Puppet) -> None:
        errands: list[Errand] = [
            self.after(9.0, Note("timer")),
            self.after(0.0, Note("fired timer")),
            self.pipe(_later("pipe"), Note, complain),
            self.pipe(asyncio.sleep(0, "done pipe"), Note, complain),
        ]
        await asyncio.sleep(1)
        for errand in errands:
            errand.cancel()

    async with on_stage(_root(journal)) as root:
        await root.ref("a").ask(Do(start_and_cancel), timeout=2)
        await asyncio.sleep(20)

        assert journal == ["+a"]


class _Incorrigible(Puppet):
    """Starts errands when it is too late."""

    async def on_stop(self, reason: StopReason) -> None:
        with contextlib.suppress(ActorStopped):
            self.after(1, Note("late"))
            self.journal.append("timer")
        with contextlib.suppress(ActorStopped):
            self.pipe(_later("late"), Note, _note_error)
            self.journal.append("pipe")
        with contextlib.suppress(ActorStopped):
            self.pipe(asyncio.get_running_loop().create_future(), Note, _note_error)
            self.journal.append("pipe")
        self.journal.append(reason.name)


@simulated
async def test_no_errand_starts_in_on_stop() -> None:
    """There is nobody left to tell, so `pipe` and `after` refuse."""
    journal: list[str] = []
    spec = ChildSpec("a", lambda: _Incorrigible("a", journal))
    async with on_stage(Supervisor("root", [spec])):
        pass

    assert journal == ["+a", "~a", "DRAINED"]

"""Laws of an actor's life: hooks, leaving, deferred replies, failures."""

import asyncio
import contextlib
import gc
import weakref

import pytest

from semantic_actors.actors import (
    Actor,
    ActorStopped,
    ChildSpec,
    StopReason,
    StrayCancellation,
    Supervisor,
)
from tests.actors.cast import (
    FAST,
    Boom,
    Do,
    Note,
    Puppet,
    UrgentNote,
    crash,
    now,
    on_stage,
    puppet,
    settle,
)
from tests.sim import SimLoop, simulated


def _root(journal: list[str] | None = None) -> Supervisor:
    return Supervisor("root", [puppet("a", journal)], backoff=FAST)


@simulated
async def test_hooks_run_in_order() -> None:
    """Start, messages, drain, stop; one after the other."""
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        root.ref("a").tell(Note("message"))

    assert journal == ["+a", "message", "~a", "-a DRAINED"]


@simulated
async def test_control_overtakes_data_told_before() -> None:
    """A control message told after data is served first."""
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:

        def tell_both(self: Puppet) -> None:
            self.ref.tell(Note("data"))
            self.ref.tell(UrgentNote("control"))

        await root.ref("a").ask(Do(tell_both), timeout=1)
        await settle()

        assert journal == ["+a", "control", "data"]


@simulated
async def test_a_busy_actor_lets_others_run() -> None:
    """Between two messages of one actor the loop turns: a full mailbox freezes nobody."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    turns: list[int] = []
    async with on_stage(_root()) as root:
        for _ in range(3):
            root.ref("a").tell(Do(lambda _: turns.append(loop.iterations)))
        await settle()

    assert len(set(turns)) == 3


@simulated
async def test_stop_serves_what_was_accepted_and_refuses_the_rest() -> None:
    """After `stop` no new data enters, nothing accepted is lost, and the actor ends FINISHED."""
    journal: list[str] = []
    root = _root()
    async with on_stage(root):
        ref = root.spawn(puppet("s", journal))

        def stop(self: Puppet) -> None:
            self.ref.tell(Note("accepted"))
            self.stop()
            self.stop()

        await ref.ask(Do(stop), timeout=1)
        with pytest.raises(ActorStopped):
            ref.tell(Note("late"))
        await root.ended("s")

        assert journal == ["+s", "accepted", "-s FINISHED"]
        assert root.statistics().dead_letters == 0


@simulated
async def test_a_stray_cancellation_is_a_crash() -> None:
    """If a third party cancels what the actor awaits, the actor has failed, not left."""
    journal: list[str] = []
    future = asyncio.get_running_loop().create_future()
    async with on_stage(_root(journal)) as root:
        asking = asyncio.create_task(root.ref("a").ask(Do(lambda _: future), timeout=9))
        await settle()
        future.cancel()

        with pytest.raises(StrayCancellation):
            await asking
        await asyncio.sleep(1)

        assert journal == ["+a", "-a CRASHED", "+a"]


class _Stubborn(Puppet):
    """Takes its time to stop, and says whether it was cut."""

    stop_timeout = 3.0

    async def on_stop(self, reason: StopReason) -> None:
        self.journal.append(f"stopping {reason.name}")
        await asyncio.sleep(2)
        self.journal.append("stopped")


@simulated
async def test_a_second_cancel_does_not_cut_on_stop() -> None:
    """However often the tree is cancelled, `on_stop` runs to its end, and the cancel goes on."""
    journal: list[str] = []
    spec = ChildSpec("a", lambda: _Stubborn("a", journal), shutdown=1.0)
    root = Supervisor("root", [spec])
    running = asyncio.create_task(root.run())
    await root.started()
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0.5)
    await asyncio.wait({running})

    assert running.cancelled()
    assert journal == ["+a", "stopping STOPPED", "stopped"]


class _Endless(Puppet):
    stop_timeout = 3.0

    async def on_stop(self, _reason: StopReason) -> None:
        await asyncio.Event().wait()


@simulated
async def test_on_stop_has_a_time_out() -> None:
    """An `on_stop` that awaits for ever is ended after `stop_timeout` seconds."""
    root = Supervisor("root", [ChildSpec("a", _Endless)])
    async with on_stage(root):
        begun = now()

    assert now() == begun + _Endless.stop_timeout


class _FailingStop(Puppet):
    async def on_stop(self, _reason: StopReason) -> None:
        raise Boom


class _StrayStop(Puppet):
    async def on_stop(self, _reason: StopReason) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future


@pytest.mark.parametrize("bad", [_FailingStop, _StrayStop])
@simulated
async def test_a_failing_on_stop_changes_nothing(bad: type[Puppet]) -> None:
    """It is logged; the actor ends as it would have."""
    root = Supervisor("root", [ChildSpec("a", bad)], backoff=FAST)
    async with on_stage(root):
        with pytest.raises(Boom):
            await root.ref("a").ask(Do(crash), timeout=1)
        assert await root.ref("a").ask(Do(lambda _: 1), timeout=1) == 1

    assert root.statistics().restarts == 1


def test_tearing_down_the_loop_cuts_even_on_stop() -> None:
    """The end of asyncio.run cancels the cleanup itself: it ends, and the replies owed too."""
    journal: list[str] = []

    async def main() -> None:
        root = Supervisor("root", [ChildSpec("a", lambda: _Stubborn("a", journal))])
        running = asyncio.create_task(root.run())
        await root.started()
        asking = asyncio.create_task(root.ref("a").ask(Do(Puppet.defer), timeout=9))
        running.cancel()
        await asyncio.wait({running}, timeout=0.01)
        assert not asking.done()

    asyncio.run(main())

    assert journal == ["+a", "stopping STOPPED"]


@simulated
async def test_an_instance_that_has_ended_is_freed_at_once() -> None:
    """Neither its crash nor its successor keeps it, nor the memory that it holds, alive."""
    instances: list[weakref.ref[Puppet]] = []

    def make() -> Puppet:
        instances.append(weakref.ref(made := Puppet()))
        return made

    gc.disable()
    try:
        async with on_stage(Supervisor("root", [ChildSpec("a", make)], backoff=FAST)) as root:
            with contextlib.suppress(Boom):
                await root.ref("a").ask(Do(crash), timeout=1)
            await asyncio.sleep(1)
            assert [instance() is None for instance in instances] == [True, False]

            await root.ref("a").ask(Do(Puppet.stop), timeout=1)
            await asyncio.sleep(1)
            assert [instance() is None for instance in instances] == [True, True, False]
    finally:
        gc.enable()


@simulated
async def test_a_dead_instance_cannot_hurt_its_successor() -> None:
    """Code that an old instance left somewhere calls `stop` in vain."""
    async with on_stage(_root()) as root:
        ref = root.ref("a")
        old = await ref.ask(Do(lambda self: self), timeout=1)
        ref.tell(Do(crash))
        await asyncio.sleep(1)

        old.stop()

        assert await ref.ask(Do(lambda _: "well"), timeout=1) == "well"


class _Mute(Actor[Note]):
    """Defines nothing."""


@simulated
async def test_an_actor_that_serves_nothing_crashes_at_its_first_message() -> None:
    """There is no silent default for messages."""
    async with on_stage(Supervisor("root", [ChildSpec("m", _Mute)], backoff=FAST)) as root:
        root.ref("m").tell(Note("anything"))
        await asyncio.sleep(1)

        assert root.statistics().restarts == 1


def test_a_stray_cancellation_names_its_actor() -> None:
    """The exception in the supervisor's log says who was hit."""
    assert "'a' awaited something" in str(StrayCancellation("a"))

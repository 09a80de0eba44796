"""Laws of leaving: drain, stop, cancellation, deadlines, dead letters."""

import asyncio

import pytest

from semantic_actors.actors import ActorStopped, ChildSpec, StopReason, Supervisor
from tests.actors.cast import (
    FAST,
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
from tests.sim import simulated


async def _block(_: Puppet) -> None:
    await asyncio.Event().wait()


class _Drainer(Puppet):
    """Waits in `on_drain`, so that control messages arrive meanwhile."""

    async def on_drain(self, deadline: float) -> None:
        self.journal.append(f"until {deadline - now():.0f}")
        await asyncio.sleep(2)


@simulated
async def test_control_messages_are_served_after_on_drain() -> None:
    """A draining actor refuses data, and still serves control that came during `on_drain`."""
    journal: list[str] = []
    root = Supervisor("root", [ChildSpec("a", lambda: _Drainer("a", journal), shutdown=30.0)])
    async with on_stage(root):
        ref = root.ref("a")
        root.drain(now() + 9)
        await asyncio.sleep(1)
        with pytest.raises(ActorStopped):
            ref.tell(Note("data"))
        ref.tell(UrgentNote("control"))

    assert journal == ["+a", "until 9", "control", "-a DRAINED"]


@simulated
async def test_who_does_not_leave_in_time_is_cancelled() -> None:
    """A stuck message is cut at the deadline: its asker is answered, `on_stop` still runs."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal)])
    async with on_stage(root, budget_s=3.0):
        asking = asyncio.create_task(root.ref("a").ask(Do(_block), timeout=99))
        await settle()
        begun = now()

    assert now() == begun + 3
    assert journal == ["+a", "-a CANCELLED"]
    with pytest.raises(ActorStopped):
        await asking


@simulated
async def test_one_child_cannot_take_the_time_of_all() -> None:
    """Each child has its own `shutdown` seconds within the deadline of the whole."""
    journal: list[str] = []
    specs = [puppet("a", journal), puppet("b", journal, shutdown=2.0)]
    async with on_stage(Supervisor("root", specs), budget_s=30.0) as root:
        root.ref("b").tell(Do(_block))
        await settle()
        begun = now()

    assert now() == begun + 2
    assert journal[2:] == ["-b CANCELLED", "~a", "-a DRAINED"]


@simulated
async def test_an_earlier_deadline_hastens_a_later_one_does_not_delay() -> None:
    """Drain is idempotent: only an earlier deadline changes anything."""
    root = Supervisor("root", [puppet(name, shutdown=60.0) for name in "ab"])
    async with on_stage(root, budget_s=50.0):
        for name in "ab":
            root.ref(name).tell(Do(_block))
        await settle()
        begun = now()
        root.drain(begun + 20)
        await asyncio.sleep(1)
        root.drain(begun + 5)
        root.drain(begun + 90)
        root.drain(begun + 5)

    assert now() == begun + 5


@simulated
async def test_a_deadline_hastened_reaches_nested_supervisors() -> None:
    """The branch's children are cut by the new deadline as well."""

    def make() -> Supervisor:
        return Supervisor("s", [puppet("a", shutdown=60.0)])

    root = Supervisor("root", [ChildSpec("s", make)])
    async with on_stage(root, budget_s=50.0):
        root.ref("s/a").tell(Do(_block))
        await settle()
        begun = now()
        root.drain(begun + 20)
        await asyncio.sleep(1)
        root.drain(begun + 5)

    assert now() == begun + 5


class _Deaf(Puppet):
    """Swallows a cancellation, which is against the law."""

    async def on_message(self, message: Do | Note) -> object:
        try:
            return await super().on_message(message)
        except asyncio.CancelledError:
            self.journal.append("swallowed")
            return None


@simulated
async def test_swallowing_the_cancellation_does_not_keep_an_actor_alive() -> None:
    """Past its deadline an actor ends at the next message boundary whatever it does."""
    journal: list[str] = []
    spec = ChildSpec("a", lambda: _Deaf("a", journal))
    root = Supervisor("root", [spec])
    async with on_stage(root, budget_s=3.0):
        root.ref("a").tell(Do(_block))
        root.ref("a").tell(Note("never served"))
        await settle()

    assert journal == ["+a", "swallowed", "-a STOPPED"]
    assert root.statistics().dead_letters == 1


class _SlowStart(Puppet):
    async def on_start(self) -> None:
        await asyncio.sleep(3)
        await super().on_start()


@simulated
async def test_a_drain_during_the_start() -> None:
    """The child that is starting gets there and drains; the next ones never start."""
    journal: list[str] = []
    specs = [ChildSpec("a", lambda: _SlowStart("a", journal)), puppet("b", journal)]
    root = Supervisor("root", specs)
    running = asyncio.create_task(root.run())
    await asyncio.sleep(1)
    asking = asyncio.create_task(root.ref("b").ask(Do(crash), timeout=99))
    await settle()

    root.drain(now() + 9)
    await running

    assert journal == ["+a", "~a", "-a DRAINED"]
    with pytest.raises(ActorStopped):
        await asking


@simulated
async def test_a_drain_before_the_run_starts_nothing() -> None:
    """A signal that comes first is not lost."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal)])
    root.drain(now() + 5)
    await root.run()

    assert journal == []


@simulated
async def test_a_drain_cuts_a_restart_pause() -> None:
    """A child that waits for its restart is not started any more; its askers are answered."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal)], backoff=(60.0, 60.0))
    async with on_stage(root):
        ref = root.ref("a")
        ref.tell(Do(crash))
        await settle()
        asking = asyncio.create_task(ref.ask(Do(crash), timeout=99))
        await settle()
        begun = now()

    assert now() == begun
    assert journal == ["+a", "-a CRASHED"]
    with pytest.raises(ActorStopped):
        await asking


@simulated
async def test_a_crash_during_the_drain_is_not_restarted() -> None:
    """Nobody starts anew while the house is being closed."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal)], backoff=FAST)
    async with on_stage(root):
        root.ref("a").tell(Do(crash))
        root.drain(now() + 5)

    assert journal == ["+a", "-a CRASHED"]


@simulated
async def test_cancelling_the_root_stops_all_in_reverse() -> None:
    """Each child ends after its present message, unread messages are dead letters."""
    journal: list[str] = []
    root = Supervisor("root", [puppet(name, journal) for name in "abc"])
    running = asyncio.create_task(root.run())
    await root.started()
    root.ref("b").tell(Do(_block))
    await settle()
    root.ref("b").tell(Note("unread"))
    begun = now()

    running.cancel()
    await asyncio.wait({running})

    assert running.cancelled()
    assert journal[3:] == ["-c STOPPED", "-b CANCELLED", "-a STOPPED"]
    assert now() == begun + ChildSpec("b", Puppet).shutdown
    assert root.statistics().dead_letters == 2


@simulated
async def test_stop_overtakes_a_drain() -> None:
    """`stop` while draining: no more mailbox, the present message and `on_stop` only."""
    journal: list[str] = []
    gate = asyncio.Event()
    root = Supervisor("root", [puppet("a", journal)])
    async with on_stage(root):
        root.ref("a").tell(Do(lambda _: gate.wait()))
        root.ref("a").tell(Note("unread"))
        await settle()
        root.drain(now() + 5)
        await settle()
        root.stop()
        gate.set()

    assert journal == ["+a", "-a STOPPED"]
    assert root.statistics().dead_letters == 1


def test_a_plain_asyncio_run_leaves_in_order() -> None:
    """When asyncio.run cancels all tasks at once, every `on_stop` still runs."""
    journal: list[str] = []
    keep = []

    async def main() -> None:
        root = Supervisor("root", [puppet("a", journal), puppet("b", journal)])
        keep.append(asyncio.create_task(root.run()))
        await root.started()

    asyncio.run(main())

    assert {"-a", "-b"} == {word.split()[0] for word in journal[2:]}
    assert keep[0].cancelled()


def test_stop_reasons_say_why() -> None:
    """Each reason carries its sentence."""
    assert len({reason.value for reason in StopReason}) == 5

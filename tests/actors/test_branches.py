"""Laws of nested supervisors and of spawned children."""

import asyncio

import pytest

from semantic_actors.actors import (
    ActorStopped,
    ChildSpec,
    NameTaken,
    RestartIntensityExceeded,
    Supervisor,
    UnknownChild,
)
from tests.actors.cast import (
    FAST,
    Boom,
    Do,
    Note,
    Puppet,
    branch,
    crash,
    now,
    on_stage,
    puppet,
    settle,
)
from tests.sim import simulated


@simulated
async def test_an_escalation_is_a_crash_in_the_parent() -> None:
    """The branch gives up, the parent makes a new one: fresh actors, same refs, kept mailboxes."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal), branch("s", journal, 0)], backoff=FAST)
    async with on_stage(root):
        first = root.ref("s/s1")
        second = root.ref("s/s2")
        first.watch(root.ref("a"), Note("news"))
        del journal[:]

        def leave_a_note_and_crash(self: Puppet) -> None:
            second.tell(Note("kept"))
            crash(self)

        with pytest.raises(Boom):
            await second.ask(Do(leave_a_note_and_crash), timeout=1)
        await asyncio.sleep(1)

        assert journal[:3] == ["-s2 CRASHED", "-s1 STOPPED", "+s1"]
        assert [word for word in journal[3:] if word != "news"] == ["+s2", "kept"]
        assert journal.count("news") == 1
        assert root.ref("s/s1") == first
        assert await first.ask(Do(lambda _: 1), timeout=1) == 1


@simulated
async def test_messages_wait_for_a_branch_to_come_back() -> None:
    """While a branch that gave up waits for its restart, its listed actors keep taking mail."""
    journal: list[str] = []
    root = Supervisor("root", [branch("s", journal, 0)], backoff=(5.0, 5.0))
    async with on_stage(root):
        ref = root.ref("s/s1")
        root.ref("s/s2").tell(Do(crash))
        await settle()
        ref.tell(Note("in the pause"))
        await asyncio.sleep(9)

        assert journal[2:5] == ["-s2 CRASHED", "-s1 STOPPED", "+s1"]
        assert "in the pause" in journal[5:]


@simulated
async def test_a_branch_is_started_when_its_children_are() -> None:
    """The parent's next child starts after the whole branch; drains go the other way."""
    journal: list[str] = []
    root = Supervisor("root", [branch("s", journal), puppet("b", journal)])
    async with on_stage(root):
        assert journal == ["+s1", "+s2", "+b"]

    assert [word for word in journal if word.startswith("-")] == [
        "-b DRAINED",
        "-s2 DRAINED",
        "-s1 DRAINED",
    ]


@simulated
async def test_a_branch_given_up_for_good_answers_its_askers() -> None:
    """A temporary branch that ends closes the actors below it: nobody hangs."""
    root = Supervisor("root", [branch("s", [], 0, restart="temporary")])
    async with on_stage(root):
        ref = root.ref("s/s1")
        asking = asyncio.create_task(ref.ask(Do(lambda self: self.defer()), timeout=99))
        await settle()
        root.ref("s/s2").tell(Do(crash))

        with pytest.raises(ActorStopped):
            await asking
        await settle()
        with pytest.raises(ActorStopped):
            ref.tell(Note("gone"))
        with pytest.raises(UnknownChild):
            root.ref("s/s1")


@simulated
async def test_spawned_children_are_temporary_and_leave_no_trace() -> None:
    """A crashed one is gone; its name is free again, its ref is not revived."""
    journal: list[str] = []
    root = Supervisor("root", backoff=FAST)
    async with on_stage(root):
        first = root.spawn(puppet("s", journal))
        with pytest.raises(NameTaken):
            root.spawn(puppet("s"))
        with pytest.raises(Boom):
            await first.ask(Do(crash), timeout=1)
        await root.ended("s")
        assert (root._spawned, root._settle_in().children) == ({}, {})

        second = root.spawn(puppet("s", journal))
        assert await second.ask(Do(lambda _: 1), timeout=1) == 1
        with pytest.raises(ActorStopped):
            first.tell(Note("old"))

        assert journal == ["+s", "-s CRASHED", "+s"]
        assert root.ref("s") == second != first


class _SlowToStop(Puppet):
    async def on_drain(self, deadline: float) -> None:
        await super().on_drain(deadline)
        await asyncio.sleep(2)


@simulated
async def test_spawned_children_stop_first_and_in_parallel() -> None:
    """Ten that take two seconds each take two seconds, before any listed child is drained."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal)])
    async with on_stage(root):
        for i in range(10):
            root.spawn(ChildSpec(f"s{i}", lambda: _SlowToStop("s", journal)))
        await settle()
        begun = now()

    assert now() == begun + 2
    assert journal[-2:] == ["~a", "-a DRAINED"]


@simulated
async def test_spawning_needs_a_running_supervisor() -> None:
    """Before `run` and from the drain on, there is nobody to keep the child."""
    root = Supervisor("root")
    with pytest.raises(ActorStopped):
        root.spawn(puppet("s"))
    async with on_stage(root):
        root.drain(now())
        with pytest.raises(ActorStopped):
            root.spawn(puppet("s"))


@simulated
async def test_refs_by_path() -> None:
    """Names reach children, paths reach through branches; an exact name wins over a path."""
    root = Supervisor("root", [puppet("a"), puppet("x/y"), branch("s", [])])
    assert root.ref("a").name == "a"
    async with on_stage(root):
        assert root.ref("s/s2").name == "s2"
        assert root.ref("x/y").name == "x/y"
        assert root.branch("s").ref("s1") == root.ref("s/s1")
        for unknown in ("s", "b", "b/c", "a/b", "s/s3", ""):
            with pytest.raises(UnknownChild):
                root.ref(unknown)
        with pytest.raises(UnknownChild):
            root.branch("a")


@simulated
async def test_a_nested_supervisor_hands_out_no_refs_of_its_own() -> None:
    """Refs taken before it has its place in the tree would not survive; it fails early."""

    def make() -> Supervisor:
        nested = Supervisor("s", [puppet("a")])
        nested.ref("a")
        return nested

    with pytest.raises(RestartIntensityExceeded) as caught:
        await Supervisor("root", [ChildSpec("s", make)], intensity=0).run()

    assert "through the root" in str(caught.value.__cause__)

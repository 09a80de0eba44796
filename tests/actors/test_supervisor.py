"""Laws of supervision: order, restarts, intensity, nesting, dynamic children."""

import asyncio
import random
from collections.abc import Callable

import pytest

from semantic_actors.actors import (
    ActorStopped,
    ChildSpec,
    NameTaken,
    RestartIntensityExceeded,
    Supervisor,
    SupervisorStatistics,
)
from semantic_actors.actors.restarts import RestartBudget
from tests.actors.cast import (
    FAST,
    Boom,
    Do,
    Note,
    Puppet,
    branch,
    crash,
    on_stage,
    puppet,
    refuse,
    settle,
)
from tests.sim import SimLoop, run, simulated


class _FailingStart(Puppet):
    """Fails to start as often as the test says."""

    def __init__(self, journal: list[str], failures: list[None]) -> None:
        super().__init__("f", journal)
        self.failures = failures

    async def on_start(self) -> None:
        if self.failures:
            self.failures.pop()
            raise Boom
        await super().on_start()


@simulated
async def test_children_start_in_order_and_stop_in_reverse() -> None:
    """The list says all three: order of dependence, of start, and reverse order of shutdown."""
    journal: list[str] = []
    async with on_stage(Supervisor("root", [puppet(name, journal) for name in "abc"])):
        assert journal == ["+a", "+b", "+c"]

    assert journal[3:] == ["~c", "-c DRAINED", "~b", "-b DRAINED", "~a", "-a DRAINED"]


@simulated
async def test_a_child_starts_after_its_elder_has_started() -> None:
    """A failing `on_start` is restarted, counts as a restart, and holds up the younger ones."""
    journal: list[str] = []
    failures = [None, None]
    specs = [ChildSpec("f", lambda: _FailingStart(journal, failures)), puppet("b", journal)]
    async with on_stage(Supervisor("root", specs, backoff=FAST)) as root:
        assert journal == ["-f CRASHED", "-f CRASHED", "+f", "+b"]
        assert root.statistics().restarts == 2


@simulated
async def test_a_factory_that_raises_is_a_crash() -> None:
    """Whatever keeps a child from starting ends in the restart intensity, not in a hang."""

    def factory() -> Puppet:
        raise Boom

    root = Supervisor("root", [ChildSpec("a", factory)], backoff=FAST)
    with pytest.raises(RestartIntensityExceeded) as caught:
        await root.run()

    assert isinstance(caught.value.__cause__, Boom)
    with pytest.raises(ActorStopped):
        await root.started()


def test_the_budget_allows_intensity_restarts_per_period() -> None:
    """The fourth restart in the window is refused; old ones leave the window."""
    budget = RestartBudget(3, 60.0, (0.1, 5.0), random.Random(0))

    assert [budget.spend(float(t)) is not None for t in (0, 1, 2, 3)] == [True, True, True, False]
    assert budget.spend(60.0) is not None
    assert budget.spend(60.5) is None


def test_the_backoff_doubles_with_jitter_up_to_its_longest() -> None:
    """Pauses lie between half and all of 0.1, 0.2, 0.4, ... and never above the longest."""
    budget = RestartBudget(8, 60.0, (0.1, 5.0), random.Random(0))

    pauses = [budget.spend(0.0) or 0.0 for _ in range(8)]

    for pause, full in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], strict=True):
        assert full / 2 <= pause <= full


@simulated
async def test_too_many_restarts_end_the_supervisor() -> None:
    """It stops the others in reverse order, then raises with the child's exception as cause."""
    journal: list[str] = []
    specs = [puppet(name, journal) for name in "abc"]
    root = Supervisor("root", specs, intensity=0)
    running = asyncio.create_task(root.run())
    await root.started()
    ref = root.ref("b")
    ref.tell(Do(crash))

    with pytest.raises(RestartIntensityExceeded, match=r"child 'b' needed more than 0") as caught:
        await running

    assert isinstance(caught.value.__cause__, Boom)
    assert journal[3:] == ["-b CRASHED", "-c STOPPED", "-a STOPPED"]
    with pytest.raises(ActorStopped):
        await ref.ask(Do(crash), timeout=1)


@simulated
async def test_restart_policies() -> None:
    """Permanent restarts always, transient after a crash only, temporary never."""
    cases: list[tuple[str, Callable[[Puppet], None], bool]] = [
        ("permanent", Puppet.stop, True),
        ("permanent", crash, True),
        ("transient", Puppet.stop, False),
        ("transient", crash, True),
        ("temporary", Puppet.stop, False),
        ("temporary", crash, False),
    ]
    for restart, end, comes_back in cases:
        root = Supervisor("root", [puppet("a", restart=restart)], backoff=FAST)
        async with on_stage(root):
            ref = root.ref("a")
            ref.tell(Do(end))
            await asyncio.sleep(1)

            assert root.statistics().children_alive == comes_back
            if comes_back:
                assert await ref.ask(Do(lambda _: 1), timeout=1) == 1
            else:
                with pytest.raises(ActorStopped):
                    ref.tell(Note("gone"))


@simulated
async def test_messages_told_before_the_start_are_served() -> None:
    """A root's refs exist before it runs: elders can be given refs of younger actors."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal)])
    root.ref("a").tell(Note("early"))
    async with on_stage(root):
        await settle()

    assert journal[:2] == ["+a", "early"]


def test_names_are_unique() -> None:
    """Two children of one name are refused before anything starts."""
    with pytest.raises(NameTaken, match=r"'root' already has a child 'a'"):
        Supervisor("root", [puppet("a"), puppet("a")])


@simulated
async def test_a_supervisor_runs_once() -> None:
    """A new run takes a new instance."""
    root = Supervisor("root", [puppet("a")])
    async with on_stage(root):
        with pytest.raises(RuntimeError, match="only once"):
            await root.run()
    with pytest.raises(RuntimeError, match="only once"):
        await root.run()


@simulated
async def test_statistics() -> None:
    """They count what is alive, what was restarted, and what got lost in the whole tree."""
    root = Supervisor("root", [puppet("a"), branch("s", [])], backoff=FAST)
    async with on_stage(root):
        root.spawn(puppet("t"))
        for act in (crash, refuse):
            root.ref("s/s1").tell(Do(act))
        await asyncio.sleep(1)

        assert root.statistics() == SupervisorStatistics(
            name="root", children_alive=3, restarts=0, dead_letters=2
        )
        assert root.branch("s").statistics() == SupervisorStatistics(
            name="s", children_alive=2, restarts=1, dead_letters=2
        )


def test_an_idle_tree_uses_no_cpu() -> None:
    """A day of doing nothing takes as many turns of the loop as a second does."""

    async def idle(seconds: float) -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        async with on_stage(Supervisor("root", [puppet("a"), branch("s", [])])) as root:
            root.spawn(puppet("t", restart="temporary"))
            ended = root.spawn(puppet("u"))
            await ended.ask(Do(Puppet.stop), timeout=1)
            await settle()
            before = loop.iterations
            await asyncio.sleep(seconds)
            return loop.iterations - before

    assert run(lambda: idle(86_400)) == run(lambda: idle(1)) <= 2

"""Any tree under any schedule of crashes does what the oracle says, event by event."""

import asyncio
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.actors import (
    ActorRef,
    ActorStopped,
    ChildSpec,
    RestartIntensityExceeded,
    StopReason,
    Supervisor,
)
from tests.actors.cast import FAST, Boom, Do, Puppet, crash, now
from tests.actors.model import Branch, Leaf, Oracle
from tests.sim import run

PERIOD = 60.5  # off the grid of the steps below, so that the pauses between restarts cannot matter

restarts = st.sampled_from(["permanent", "transient", "temporary"])
leaves = st.builds(Leaf, st.just(""), restarts)
branches = st.recursive(
    st.builds(Branch, st.just(""), restarts, st.integers(0, 3), st.lists(leaves, max_size=4)),
    lambda below: st.builds(
        Branch, st.just(""), restarts, st.integers(0, 3), st.lists(leaves | below, max_size=3)
    ),
    max_leaves=4,
)
steps = st.tuples(
    st.integers(0, 30),  # which leaf
    st.sampled_from(["crash", "crash", "stop"]),
    st.sampled_from([0, 0, 0, 1, 2]),  # how many of its next starts fail
    st.sampled_from([1, 7, 25]),  # seconds before
)
Step = tuple[int, str, int, int]


def _name(branch: Branch, prefix: str) -> None:
    branch.name = prefix
    for i, child in enumerate(branch.children):
        child.name = f"{prefix}.{i}"
        if isinstance(child, Branch):
            _name(child, child.name)


class _Actor(Puppet):
    """Fails to start as often as `failures` says."""

    def __init__(self, name: str, journal: list[str], failures: dict[str, int]) -> None:
        super().__init__(name, journal)
        self.failures = failures

    async def on_start(self) -> None:
        if self.failures.get(self.name, 0):
            self.failures[self.name] -= 1
            self.journal.append(f"!{self.name}")
            raise Boom
        await super().on_start()

    async def on_drain(self, deadline: float) -> None:
        """Drains are not part of the journal here."""

    async def on_stop(self, _reason: StopReason) -> None:
        self.journal.append(f"-{self.name}")


class _Play:
    """A real tree and its oracle, side by side."""

    def __init__(self, model: Branch) -> None:
        self.model = model
        self.oracle = Oracle(model, PERIOD)
        self.journal: list[str] = []
        self.failures: dict[str, int] = {}
        self.made: dict[str, int] = {}
        self.root = self._supervisor(model)
        self.refs: dict[str, ActorRef[Any]] = {}

    def _supervisor(self, branch: Branch) -> Supervisor:
        specs = [
            ChildSpec(child.name, partial(self._make, child), child.restart)
            for child in branch.children
        ]
        return Supervisor(
            branch.name, specs, intensity=branch.intensity, period=PERIOD, backoff=FAST
        )

    def _make(self, child: Leaf | Branch) -> Puppet | Supervisor:
        if isinstance(child, Branch):
            return self._supervisor(child)
        self.made[child.name] = self.made.get(child.name, 0) + 1
        return _Actor(child.name, self.journal, self.failures)

    async def run(self, script: list[Step]) -> None:
        running = asyncio.create_task(self.root.run())
        await self.root.started()
        assert self.oracle.start(self.model)
        self.refs = {leaf.name: self.root.ref(_path(leaf)) for leaf, _ in self.model.leaves()}
        alive = True
        for step in script:
            alive = alive and await self._step(step)
        if alive:
            self.root.drain(now() + 5)
            self.oracle.stop(self.model)
            await running
        else:
            with pytest.raises(RestartIntensityExceeded) as caught:
                await running
            assert caught.value.supervisor == self.model.name
        await self._compare()
        assert self.root.statistics().dead_letters == 0

    async def _step(self, step: Step) -> bool:
        which, how, failures, pause_s = step
        await asyncio.sleep(pause_s)
        everyone = list(self.model.leaves())
        if not everyone:
            return True
        leaf, above = everyone[which % len(everyone)]
        self.oracle.now = now()
        self.oracle.failures[leaf.name] = self.failures[leaf.name] = failures
        tree_lives = True
        if leaf.alive:
            tree_lives = self.oracle.end(leaf, above, crashed=how == "crash")
            result = await self._ask(leaf, Do(crash if how == "crash" else Puppet.stop))
            assert isinstance(result, Boom) == (how == "crash")
        await asyncio.sleep(0.5)
        await self._compare()
        return tree_lives

    async def _ask(self, leaf: Leaf, request: Do) -> object:
        """Return the answer, or the exception."""
        asking = self.refs[leaf.name].ask(request, timeout=1)
        return (await asyncio.gather(asking, return_exceptions=True))[0]

    async def _compare(self) -> None:
        """Events, instances and who answers: as predicted. Nobody hangs: each ask has 1 s."""
        assert self.journal == self.oracle.events
        for leaf, _ in self.model.leaves():
            assert self.made[leaf.name] == leaf.instance
            result = await self._ask(leaf, Do(lambda self: self.name))
            assert result == leaf.name if leaf.alive else isinstance(result, ActorStopped)


def _path(leaf: Leaf) -> str:
    """Turn root.1.0 into root.1/root.1.0, the path of names below the root."""
    parts = leaf.name.split(".")
    return "/".join(".".join(parts[:i]) for i in range(2, len(parts) + 1))


@given(branches, st.lists(steps, max_size=12), st.integers(0, 9))
def test_a_tree_does_what_the_oracle_says(model: Branch, script: list[Step], seed: int) -> None:
    """Order, counts, intensity, escalation, refs: all as predicted, and no task is left."""
    _name(model, "root")

    run(lambda: _Play(model).run(script), seed=seed)

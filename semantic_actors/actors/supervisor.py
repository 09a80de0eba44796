"""Supervision after OTP: start in order, stop in reverse, restart what fails, or give up.

One for one: a child's crash is its own. Who depends on another actor watches it. Groups that
share a restart budget are nested supervisors: when one gives up, that is a crash in its parent's
slot, and the parent makes a new one (static children keep their refs and mailboxes, spawned ones
are lost). Restarts multiply up the tree: 3 x 5 = 15 a minute, then the root gives up.
"""

import asyncio
import enum
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
import structlog

from semantic_actors.actors.cancellation import uncut
from semantic_actors.actors.cell import Cell
from semantic_actors.actors.child import Child
from semantic_actors.actors.dead_letters import DeadLetters
from semantic_actors.actors.errors import (
    ActorStopped,
    NameTaken,
    RestartIntensityExceeded,
    UnknownChild,
)
from semantic_actors.actors.ref import ActorRef
from semantic_actors.actors.restarts import RestartBudget
from semantic_actors.actors.spec import ChildSpec, Exit, StopReason, SupervisorStatistics

_log = structlog.get_logger(__name__)


class _Phase(enum.IntEnum):
    """How far a supervisor has come; it never goes back."""

    NEW = 0
    STARTING = 1
    RUNNING = 2
    DRAINING = 3
    STOPPING = 4
    ENDED = 5


class Supervisor:
    """Keeps children alive. An instance runs once; a parent's factory makes a new one each time."""

    def __init__(
        self,
        name: str,
        children: Iterable[ChildSpec] = (),
        *,
        intensity: int = 3,
        period: float = 60.0,
        backoff: tuple[float, float] = (0.1, 5.0),
        rng: random.Random | None = None,
    ) -> None:
        """At most `intensity` restarts in `period` seconds, `backoff` (first, longest) apart."""
        self.name = name
        self._specs: dict[str, ChildSpec] = {}
        for spec in children:
            if spec.name in self._specs:
                raise NameTaken(name, spec.name)
            self._specs[spec.name] = spec
        rng = rng or random.Random()  # noqa: S311  (jitter is no secret)
        self._budget = RestartBudget(intensity, period, backoff, rng)
        self._cell: Cell | None = None
        self._is_root = True
        self._on_started: Callable[[], None] = lambda: None
        self._static: dict[str, Child] = {}
        self._spawned: dict[str, Child] = {}
        self._departing: list[Child] = []
        self._deadline: float | None = None
        self._restarts = 0
        self._failure: RestartIntensityExceeded | None = None
        self._phase = _Phase.NEW
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Start the children in order, then keep them alive until drained.

        Raises RestartIntensityExceeded when they fail too often. However it ends, also when
        cancelled, all children have ended before, in reverse order.
        """
        if self._phase in (_Phase.STARTING, _Phase.RUNNING, _Phase.ENDED):
            msg = f"supervisor {self.name!r} runs only once"
            raise RuntimeError(msg)
        self._settle_in()
        self._phase = max(self._phase, _Phase.STARTING)
        try:
            await self._start_children()
            await self._until(lambda: self._phase >= _Phase.DRAINING)
            await self._end_children()
        finally:
            await uncut(self._wind_up())
        if self._failure is not None:
            raise self._failure

    async def started(self) -> None:
        """Wait until every listed child has started; raises ActorStopped if `run` ends before."""
        await self._until(lambda: self._phase >= _Phase.RUNNING)
        if self._phase is not _Phase.RUNNING:
            raise ActorStopped(self.name)

    def drain(self, deadline: float) -> None:
        """Leave in order, all children gone by `deadline` (loop time), in reverse order of start.

        Each child takes no new work, serves its mailbox, runs its `on_drain`; it has until
        `deadline` or for its own `shutdown` seconds, whichever is sooner, and is then cancelled.
        Idempotent: a later deadline changes nothing, an earlier one hastens.
        """
        if self._phase > _Phase.DRAINING:
            return
        if self._deadline is not None and self._deadline <= deadline:
            return
        self._deadline = deadline
        self._phase = _Phase.DRAINING
        self._hasten()

    def stop(self) -> None:
        """Leave now: each child ends after its present message, in reverse order of start."""
        if self._phase < _Phase.STOPPING:
            self._phase = _Phase.STOPPING
            self._hasten()

    def spawn(self, spec: ChildSpec) -> ActorRef[Any]:
        """Start one more child, at once and in the background.

        It is temporary whatever its spec says: who spawned it decides whether to spawn another.
        Spawned children end first and all together. Raises NameTaken, or ActorStopped if this
        supervisor does not run.
        """
        if self._phase not in (_Phase.STARTING, _Phase.RUNNING):
            raise ActorStopped(self.name)
        if spec.name in self._static or spec.name in self._spawned:
            raise NameTaken(self.name, spec.name)
        cell = Cell(spec.name, self._settle_in().dead_letters)
        spec = msgspec.structs.replace(spec, restart="temporary")
        child = self._spawned[spec.name] = Child(spec, cell, self._judge, self._note)
        child.start()
        return ActorRef(cell)

    async def ended(self, name: str) -> None:
        """Wait until no child of that name is left; then the name is free again."""
        await self._until(lambda: name not in self._static and name not in self._spawned)

    def ref(self, path: str) -> ActorRef[Any]:
        """Return the ref of an actor: `name`, or `branch/name` through nested supervisors.

        Raises UnknownChild. A nested supervisor's children exist once it was started.
        """
        child = self._child(path)
        if child is not None and child.branch is None:
            return ActorRef(child.cell)
        name, slash, rest = path.partition("/")
        if child is None and slash:
            return self.branch(name).ref(rest)
        raise UnknownChild(self.name, path)

    def branch(self, name: str) -> "Supervisor":
        """Return the nested supervisor that now runs under that name, or raise UnknownChild."""
        child = self._child(name)
        if child is None or child.branch is None:
            raise UnknownChild(self.name, name)
        return child.branch

    def statistics(self) -> SupervisorStatistics:
        """Return the figures of this instant."""
        children = [*self._static.values(), *self._spawned.values()]
        return SupervisorStatistics(
            name=self.name,
            children_alive=sum(child.alive for child in children),
            restarts=self._restarts,
            dead_letters=self._settle_in().dead_letters.count,
        )

    def adopt(self, cell: Cell, on_started: Callable[[], None]) -> None:
        """Take the place that a parent gives; called by the kernel before `run`."""
        if self._cell is not None:
            msg = f"{self.name!r} is nested: reach its children through the root, branch/name"
            raise RuntimeError(msg)
        self._cell = cell
        self._is_root = False
        self._on_started = on_started

    def _settle_in(self) -> Cell:
        """Return this supervisor's cell; the first time, lay out the children in it."""
        if self._cell is None:
            self._cell = Cell(self.name, DeadLetters())
        if self._phase is _Phase.NEW and not self._static:
            for name, spec in self._specs.items():
                self._static[name] = Child(spec, self._cell.child(name), self._judge, self._note)
        return self._cell

    def _child(self, name: str) -> Child | None:
        self._settle_in()
        return self._static.get(name) or self._spawned.get(name)

    async def _start_children(self) -> None:
        for child in list(self._static.values()):
            if self._phase > _Phase.STARTING:
                return
            child.start()
            await self._until(partial(self._may_go_on, child))
        if self._phase is _Phase.STARTING:
            self._phase = _Phase.RUNNING
            self._changed.set()
            self._on_started()

    def _may_go_on(self, child: Child) -> bool:
        return child.settled or self._phase > _Phase.STARTING

    async def _end_children(self) -> None:
        """End the spawned children together, then the listed ones, last started first."""
        batches = [list(self._spawned.values())]
        batches += [[child] for child in reversed(self._static.values())]
        for batch in batches:
            self._departing = batch
            self._hasten()
            if tasks := [child.task for child in batch if child.task is not None]:
                await asyncio.wait(tasks)

    async def _wind_up(self) -> None:
        self.stop()
        await self._end_children()
        self._phase = _Phase.ENDED
        self._changed.set()
        if self._is_root:
            self._settle_in().close()

    def _hasten(self) -> None:
        deadline = None if self._phase is _Phase.STOPPING else self._deadline
        for child in self._departing:
            child.leave(deadline)
        self._changed.set()

    def _judge(self, child: Child, exit_: Exit) -> float | None:
        """Return the seconds to pause before the child's restart, or None for no restart."""
        crashed = exit_.reason is StopReason.CRASHED
        if child.spec.restart == "temporary" or (child.spec.restart == "transient" and not crashed):
            return None
        pause_s = self._budget.spend(asyncio.get_running_loop().time())
        if pause_s is None:
            self._give_up(child, exit_)
            return None
        self._restarts += 1
        return pause_s

    def _give_up(self, child: Child, exit_: Exit) -> None:
        intensity, period_s = self._budget.intensity, self._budget.period
        _log.error("restart_intensity_exceeded", supervisor=self.name, child=child.spec.name)
        failure = RestartIntensityExceeded(self.name, child.spec.name, intensity, period_s)
        failure.__cause__ = exit_.error
        self._failure = failure
        self.stop()

    def _note(self, child: Child) -> None:
        """Hear that a child has started, or is gone."""
        self._changed.set()
        if child.alive:
            return
        spawned = self._spawned.pop(child.spec.name, None)
        self._static.pop(child.spec.name, None)
        # A stopped branch may be made again by its parent: its listed children's cells wait.
        if spawned is not None or self._phase < _Phase.STOPPING:
            child.cell.close()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

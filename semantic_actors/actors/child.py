"""A child slot: one task that keeps one occupant alive, instance after instance."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

import structlog

from semantic_actors.actors.actor import Actor
from semantic_actors.actors.cell import Cell
from semantic_actors.actors.life import Life
from semantic_actors.actors.spec import ChildSpec, Exit, StopReason
from semantic_actors.actors.trace import detached_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from semantic_actors.actors.supervisor import Supervisor

_log = structlog.get_logger(__name__)


class _Occupant(Protocol):
    """An actor's life, or a whole supervisor."""

    async def run(self) -> StopReason | None: ...
    def drain(self, deadline: float) -> None: ...
    def stop(self) -> None: ...


class Child:
    """A slot of a supervisor. `judge` decides after each exit, `notify` hears of each change."""

    def __init__(
        self,
        spec: ChildSpec,
        cell: Cell,
        judge: "Callable[[Child, Exit], float | None]",
        notify: "Callable[[Child], None]",
    ) -> None:
        self.spec = spec
        self.cell = cell
        self.branch: Supervisor | None = None
        self.task: asyncio.Task[None] | None = None
        self.settled = False  # has started once, or is gone: the next one may start
        self._judge = judge
        self._notify = notify
        self._occupant: _Occupant | None = None
        self._leaving = asyncio.Event()
        self._cut: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        """Whether the slot has a task: its occupant runs, starts, ends or waits for a restart."""
        return self.task is not None and not self.task.done()

    def start(self) -> None:
        """Begin to keep an occupant."""
        name = f"actor:{self.spec.name}"
        self.task = asyncio.create_task(self._keep(), name=name, context=detached_context())
        self.task.add_done_callback(self._gone)

    def leave(self, deadline: float | None) -> None:
        """Have the occupant drain until `deadline` (loop time), or with None stop at once.

        May be repeated, to hasten. An actor that is not gone in time is cancelled.
        """
        if self.task is None or self.task.done():
            return
        self._leaving.set()
        occupant = self._occupant
        if occupant is None:
            return  # not begun, or in a restart pause: the flag is enough
        if self.branch is None:
            deadline = self._bound(deadline, self.task, occupant)
        if deadline is None:
            occupant.stop()
        else:
            occupant.drain(deadline)

    def _bound(
        self, deadline: float | None, task: asyncio.Task[None], occupant: _Occupant
    ) -> float | None:
        """Cut the deadline at the child's own limit, and see to it that the limit holds."""

        def expire() -> None:
            occupant.stop()  # holds even if the actor swallows the cancellation
            task.cancel()

        loop = asyncio.get_running_loop()
        limit = loop.time() + self.spec.shutdown
        if deadline is not None:
            deadline = limit = min(limit, deadline)
        if self._cut is None or limit < self._cut.when():
            if self._cut is not None:
                self._cut.cancel()
            self._cut = loop.call_at(limit, expire)
        return deadline

    async def _keep(self) -> None:
        while not self._leaving.is_set():
            exit_ = await self._attempt()
            if self._leaving.is_set():
                return
            pause_s = self._judge(self, exit_)
            if pause_s is None:
                return
            del exit_  # its traceback would keep the old instance in memory
            _log.info("restart_scheduled", child=self.spec.name, pause_s=round(pause_s, 3))
            await self._pause(pause_s)

    async def _attempt(self) -> Exit:
        try:
            self._occupant = self._make()
            return Exit(await self._occupant.run() or StopReason.DRAINED)
        except Exception as error:  # noqa: BLE001  (whatever it is, the supervisor decides)
            _log.exception("child_crashed", child=self.spec.name)
            return Exit(StopReason.CRASHED, error)
        finally:
            self._occupant = None

    def _make(self) -> _Occupant:
        made = self.spec.factory()
        if isinstance(made, Actor):
            self.cell.open(made.mailbox_capacity)
            return Life(made, self.cell, self._started)
        self.branch = made
        made.adopt(self.cell, self._started)
        return made

    async def _pause(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._leaving.wait()

    def _started(self) -> None:
        self.cell.started()
        self.settled = True
        self._notify(self)

    def _gone(self, _: asyncio.Task[None]) -> None:
        if self._cut is not None:
            self._cut.cancel()
        self.settled = True
        self._notify(self)

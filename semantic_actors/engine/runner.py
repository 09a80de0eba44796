"""The engine thread: one thread of ours, one backend, one message out per step.

mlx arrays and streams belong to the thread that made them, so the thread that loads the model
executes every plan. A plan that waits is launched before the one under way is collected: the device
goes from one to the next while the loop reads the ids of the first.

Everything mutable here is written by the loop, except `_backend`, `_serving`, `_busy_since` and
what stands below it, which the thread writes.

Each `attach` begins an epoch. A thread that dies ends its epoch with `EngineDied`; the next
`attach` starts a new thread over the same weights. A thread that is merely slow is never replaced:
its output comes too late to be delivered, and the new epoch's steps wait for it.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from semantic_actors.engine.faults import describe
from semantic_actors.engine.protocol import (
    Backend,
    Collect,
    Deliver,
    EngineDied,
    ModelInfo,
    Plan,
    StepOutput,
)

PATIENCE: Final = 0.5
"""Share of a step's time for which the next plan is waited for while a step is under way: the loop
plans it once it has read the step before, and a plan that is launched in time leaves no gap."""


@dataclass(frozen=True, slots=True)
class _Begin:
    """Drop every cache."""

    epoch: int


@dataclass(frozen=True, slots=True)
class _Step:
    """Execute a plan."""

    epoch: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class _Leave:
    """End the thread."""

    epoch: int


_Command = _Begin | _Step | _Leave
_Launched = tuple[int, Collect]
"""A step under way, and its epoch."""


class EngineThread:
    """Implements `Engine`. Every method is called on `loop`; `busy_since` from any thread.

    `load` makes the backend, on the thread; if it raises it leaves nothing of mlx behind.
    """

    def __init__(self, load: Callable[[], Backend], loop: asyncio.AbstractEventLoop) -> None:
        self._load = load
        self._loop = loop
        self._backend: Backend | None = None
        self._commands: SimpleQueue[_Command] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = asyncio.Event()
        self._loaded: asyncio.Future[None] | None = None
        self._epoch = 0
        self._serving = 0
        self._deliver: Deliver | None = None
        self._busy_since: float | None = None
        self._under_way: _Launched | None = None
        self._last_seconds = 0.0
        self._listened_to = True

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        if self._backend is None:
            msg = "the engine has not loaded its model"
            raise RuntimeError(msg)
        return self._backend.info

    @property
    def busy_since(self) -> float | None:
        """`time.monotonic()` at which the step or load in hand began; None when idle."""
        return self._busy_since

    async def start(self) -> None:
        """Load the model on the thread. Raises what loading raised; then no thread is left."""
        self._loaded = self._loop.create_future()
        self._spawn()
        await self._loaded

    def attach(self, deliver: Deliver) -> None:
        """Begin a new epoch: all caches are dropped, outputs of earlier epochs never arrive."""
        self._epoch += 1
        self._deliver = deliver
        self._commands.put(_Begin(self._epoch))
        if self._thread is None:
            self._spawn()

    def submit(self, plan: Plan) -> None:
        """Queue one step; its output, or `EngineDied`, is delivered later."""
        self._commands.put(_Step(self._epoch, plan))

    async def stop(self, timeout: float) -> bool:  # noqa: ASYNC109 (late is an answer here)
        """End the thread after the step in hand; False if that takes over `timeout` seconds.

        Nothing is delivered any more. A thread stuck in native code stays behind.
        """
        self._epoch += 1
        self._deliver = None
        if self._thread is None:
            return True
        self._commands.put(_Leave(self._epoch))
        try:
            async with asyncio.timeout(timeout):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def _spawn(self) -> None:
        self._ended.clear()
        self._serving = self._epoch
        # A daemon, so that the process can exit around a stuck native call.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def _on_loaded(self) -> None:
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_result(None)

    def _on_output(self, epoch: int, output: StepOutput) -> None:
        if epoch == self._epoch and self._deliver is not None:
            self._deliver(output)

    def _on_end(self, thread: threading.Thread, error: BaseException | None) -> None:
        thread.join()  # telling us was its last act
        self._thread = None
        self._ended.set()
        if error is not None and self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(error)
        if self._deliver is None:
            return
        if self._serving != self._epoch:
            self._spawn()  # attached while that thread was ending: its commands are waiting
        elif error is not None:
            self._deliver(EngineDied(describe(error)))

    # On the thread.

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            try:
                self._serve()
            finally:
                if self._backend is not None:
                    self._backend.leave()
        except BaseException as raised:  # noqa: BLE001 (not even `sys.exit` may end it unseen)
            error = raised
        self._busy_since = None
        self._post(self._on_end, threading.current_thread(), error)

    def _serve(self) -> None:
        """Carry out commands until told to leave, the loop is closed, or a step raises."""
        if self._backend is None:
            self._busy_since = time.monotonic()
            self._backend = self._load()
            self._busy_since = None
        self._backend.reset()
        self._listened_to = self._post(self._on_loaded)
        patience: float | None = None
        while self._listened_to:
            command = self._next(patience)
            if isinstance(command, _Leave):
                self._under_way = None  # its arrays go before the thread's streams
                return
            patience = None
            if isinstance(command, _Begin):
                self._backend.reset()
                self._under_way = self._busy_since = None  # nobody waits for it
            elif command is None:
                self._collect()
            else:
                patience = PATIENCE * self._launch(command)

    def _launch(self, command: _Step) -> float:
        """Begin a step; the one before it is collected in any case. Returns its seconds."""
        assert self._backend is not None
        self._busy_since = self._busy_since or time.monotonic()
        self._last_seconds = 0.0
        try:
            launched = self._backend.launch(command.plan, self._collect_last)
        finally:  # what a step has drawn is not lost because the next raises
            self._collect()
        self._under_way = command.epoch, launched
        self._busy_since = time.monotonic()
        return self._last_seconds

    def _collect_last(self) -> None:
        """Collect while the next step is being launched."""
        self._collect()
        self._busy_since = time.monotonic()

    def _next(self, patience: float | None) -> _Command | None:
        """Take the next command of this epoch; None if there is none in so many seconds."""
        while True:
            try:
                command = self._commands.get(patience != 0, patience)
            except Empty:
                return None
            if command.epoch == self._epoch:  # of others, nobody waits for it
                self._serving = command.epoch
                return command

    def _collect(self) -> None:
        """Wait for the step under way, if there is one, and deliver its output."""
        if self._under_way is None:
            return
        (epoch, collect), self._under_way = self._under_way, None
        output = collect()
        self._last_seconds = output.seconds
        self._busy_since = None
        self._listened_to = self._post(self._on_output, epoch, output)

    def _post(self, callback: Callable[..., None], *arguments: object) -> bool:
        """Call back on the loop; False if it is closed."""
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return False
        return True

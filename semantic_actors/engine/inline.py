"""An engine without a thread: it runs any backend on the event loop, on a virtual-time one too."""

import asyncio
from collections import deque
from collections.abc import Callable

from semantic_actors.engine.faults import describe
from semantic_actors.engine.protocol import (
    Backend,
    Deliver,
    EngineDied,
    ModelInfo,
    Plan,
    StepOutput,
)


class InlineEngine:
    """Implements `Engine` on the running loop: one step at a time, in order.

    An output is delivered `delay_s` plus its own `seconds` after its step began, in loop time.
    `before` is called with each plan; what it raises kills the engine, as a step of the real one
    would, until the next `attach`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        delay_s: float = 0.0,
        before: Callable[[Plan], None] | None = None,
    ) -> None:
        self.backend = backend
        self._delay_s = delay_s
        self._before = before
        self._plans: deque[Plan] = deque()
        self._deliver: Deliver | None = None
        self._pending: asyncio.Handle | None = None

    @property
    def info(self) -> ModelInfo:
        """The backend's model."""
        return self.backend.info

    def attach(self, deliver: Deliver) -> None:
        """Begin a new epoch: all caches are dropped, outputs of earlier epochs never arrive."""
        self.stop()
        self.backend.reset()
        self._deliver = deliver

    def submit(self, plan: Plan) -> None:
        """Queue one step; its output, or `EngineDied`, is delivered later."""
        if self._deliver is None:
            return
        self._plans.append(plan)
        if self._pending is None:
            self._pending = asyncio.get_running_loop().call_soon(self._step)

    def stop(self) -> None:
        """Forget what is under way; nothing is delivered any more."""
        self._deliver = None
        self._plans.clear()
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _step(self) -> None:
        plan = self._plans.popleft()
        try:
            if self._before is not None:
                self._before(plan)
            output = self.backend.launch(plan)()
        except Exception as error:  # noqa: BLE001 (it stands for the thread's end)
            self._die(describe(error))
            return
        delay_s = self._delay_s + output.seconds
        loop = asyncio.get_running_loop()
        if delay_s > 0:
            self._pending = loop.call_later(delay_s, self._done, output)
        else:
            self._done(output)

    def _done(self, output: StepOutput) -> None:
        loop = asyncio.get_running_loop()
        self._pending = loop.call_soon(self._step) if self._plans else None
        if self._deliver is not None:
            self._deliver(output)

    def _die(self, reason: str) -> None:
        deliver, self._deliver, self._pending = self._deliver, None, None
        self._plans.clear()
        if deliver is not None:
            deliver(EngineDied(reason))

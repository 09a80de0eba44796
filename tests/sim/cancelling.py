"""Cancel a coroutine at every await of its life: k = 1..K, until it gets through uncancelled.

The checkpoints of a coroutine are its real suspensions, in its own frames and in those that it
awaits; each run cancels its task while it waits at one of them, as another task would.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator, Iterator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Cancelled:
    """One attempt: `await` it to run the coroutine, cancelled at checkpoint `k`."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.checkpoints = 0

    @property
    def delivered(self) -> bool:
        """Whether the coroutine got as far as checkpoint `k`."""
        return self.checkpoints >= self.k

    async def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Run `work` in a task of its own; None if the cancellation ended it."""
        task = asyncio.create_task(self._drive(work))
        try:
            return await task
        except asyncio.CancelledError:
            if not task.cancelled() or not self.delivered:
                raise
            return None

    async def _drive(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._steps(work)

    @types.coroutine
    def _steps(self, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        step = partial(work.send, None)
        while True:
            try:
                waiting_for = step()
            except StopIteration as stop:
                result: T = stop.value
                return result
            self.checkpoints += 1
            if self.checkpoints == self.k:
                _cancel_me()
            try:
                yield waiting_for
            except BaseException as error:  # noqa: BLE001  (all of it belongs to the coroutine)
                step = partial(work.throw, error)
            else:
                step = partial(work.send, None)


def _cancel_me() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def at_every_checkpoint(limit: int = 1000) -> Iterator[Cancelled]:
    """Yield attempts k = 1, 2, ... and end after the first that was never cancelled."""
    for k in range(1, limit + 1):
        attempt = Cancelled(k)
        yield attempt
        if not attempt.delivered:
            return
    msg = f"still checkpoints left after {limit}"
    raise AssertionError(msg)

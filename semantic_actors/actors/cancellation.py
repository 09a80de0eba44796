"""The law of cancellation: it always propagates, and it never cuts a cleanup in the middle."""

import asyncio
from collections.abc import Coroutine
from typing import Any


def being_cancelled() -> bool:
    """Whether somebody ordered the current task to leave.

    If not, a CancelledError in hand is a stray: a third party cancelled what was awaited.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def uncut(cleanup: Coroutine[Any, Any, None]) -> None:
    """Run `cleanup` to its end, however often the caller is cancelled; then let that propagate.

    `asyncio.shield` would let go of the inner task; this one keeps and awaits it.
    """
    task = asyncio.create_task(cleanup)
    interruption: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            interruption = error
    if interruption is not None:
        raise interruption
    task.result()

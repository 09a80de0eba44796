"""The way out, in phases, within one budget.

    refuse   at once         new work gets 503, readiness is gone
    finish   until 0.4 of it running answers may end
    cut      until 0.7 of it every other stream gets its last event, with the reason
    stop     the rest        the tree, in reverse order of start

A second signal jumps to `cut`.
"""

import asyncio
from collections.abc import Awaitable

import structlog

from semantic_actors.daemon.tree import House

FINISH_SHARE = 0.4
CUT_SHARE = 0.7

log = structlog.get_logger(__name__)


async def drain(house: House, budget_s: float, hasten: asyncio.Event) -> None:
    """Bring the house down in order; returns when nothing runs any more or the budget is spent."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    log.info("drain_began", budget_s=budget_s)
    house.directory.refuse()
    finished = await _either(house.server.quiet(), hasten, began + FINISH_SHARE * budget_s)
    if not finished:
        log.info("streams_cut")
        house.directory.cut()
        await _either(house.server.quiet(), asyncio.Event(), began + CUT_SHARE * budget_s)
    house.root.drain(began + budget_s)


async def _either(work: Awaitable[object], event: asyncio.Event, deadline: float) -> bool:
    """Wait for `work` until `event` or `deadline` (loop time); say whether it was done."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(event.wait())]
    left = deadline - asyncio.get_running_loop().time()
    done, pending = await asyncio.wait(
        tasks, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
    )
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return tasks[0] in done

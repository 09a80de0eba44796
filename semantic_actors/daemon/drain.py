"""The way out, in phases, within one budget.

    refuse   at once         new work gets 503, readiness is gone
    finish   until 0.4 of it running answers may end
    cut      until 0.7 of it every other stream gets its last event, with the reason
    keep     until 0.9 of it what caches hold goes to the store
    stop     the rest        the tree, in reverse order of start

A second signal jumps to `cut`.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from semantic_actors.actors import ActorError
from semantic_actors.daemon.tree import House
from semantic_actors.domain.errors import SemanticActorsError
from semantic_actors.scheduling import Flush

FINISH_SHARE = 0.4
CUT_SHARE = 0.7
KEEP_SHARE = 0.9

log = structlog.get_logger(__name__)


async def drain(house: House, budget_s: float, hasten: asyncio.Event) -> float:
    """Bring the house down in order; the tree may still be stopping when this returns.

    Returns the loop time at which the budget is spent.
    """
    began = asyncio.get_running_loop().time()
    log.info("drain_began", budget_s=budget_s)
    house.directory.refuse()
    finished = await _either(house.server.quiet(), hasten, began + FINISH_SHARE * budget_s)
    if not finished:
        log.info("streams_cut")
        house.directory.cut()
        await _either(house.server.quiet(), None, began + CUT_SHARE * budget_s)
    await _keep(house, began + KEEP_SHARE * budget_s)
    house.root.drain(began + budget_s)
    return began + budget_s


async def _keep(house: House, deadline: float) -> None:
    """Wait until the store has all that is worth keeping; what it has not by then is lost."""
    left = deadline - asyncio.get_running_loop().time()
    try:
        await house.scheduler.ask(Flush(), timeout=max(0.01, left))
    except (ActorError, SemanticActorsError) as error:
        log.warning("not_all_kept", reason=str(error))


async def _either(
    work: Coroutine[Any, Any, object], event: asyncio.Event | None, deadline: float
) -> bool:
    """Wait for `work` until `event` or `deadline` (loop time); say whether it was done."""
    tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(work)]
    if event is not None:
        tasks.append(asyncio.ensure_future(event.wait()))
    left = deadline - asyncio.get_running_loop().time()
    done, pending = await asyncio.wait(
        tasks, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
    )
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return tasks[0] in done

"""The simulator's own laws."""

import asyncio

import pytest

from tests import sim


def test_time_jumps_to_the_next_timer() -> None:
    """A day of sleep takes no time, and exactly a day on the loop's clock."""

    async def main() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert sim.run(main) == 86_400


def test_deadlock_is_reported() -> None:
    """When every task is blocked and no timer is left, the run ends with who waits."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(sim.Deadlock, match="main"):
        sim.run(main)


def test_left_tasks_are_reported() -> None:
    """A task that outlives the main coroutine is a fault."""

    async def main() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(9), name="orphan")

    with pytest.raises(sim.LeftBehind, match="orphan"):
        sim.run(main)


def test_left_timers_are_reported() -> None:
    """A timer that outlives the main coroutine is a fault."""

    async def main() -> None:
        asyncio.get_running_loop().call_later(9, print)

    with pytest.raises(sim.LeftBehind, match="print"):
        sim.run(main)


def test_unseen_exceptions_are_reported() -> None:
    """What asyncio would only log fails the run."""

    async def main() -> None:
        asyncio.get_running_loop().create_future().set_exception(OSError("unseen"))

    with pytest.raises(RuntimeError, match="unseen"):
        sim.run(main)


def _order(seed: int) -> list[int]:
    order: list[int] = []

    async def step(i: int) -> None:
        order.append(i)

    async def main() -> None:
        await asyncio.gather(*(step(i) for i in range(8)))

    sim.run(main, seed=seed)
    return order


def test_the_seed_decides_the_schedule() -> None:
    """The same seed repeats a schedule; other seeds give others."""
    assert _order(1) == _order(1)
    assert len({tuple(_order(seed)) for seed in range(5)}) > 1


def test_callbacks_keep_their_order() -> None:
    """Plain callbacks are never shuffled: asyncio promises their order."""
    order: list[int] = []

    async def main() -> None:
        for i in range(8):
            asyncio.get_running_loop().call_soon(order.append, i)
        await asyncio.sleep(1)

    sim.run(main, seed=3)

    assert order == list(range(8))


def test_every_checkpoint_is_cancelled_once() -> None:
    """A coroutine with three awaits is cancelled at 1, 2 and 3, and then gets through."""
    reached: list[int] = []

    async def work() -> str:
        for i in range(3):
            reached.append(i)
            await asyncio.sleep(1)
        return "through"

    results = [sim.run(lambda a=a: a.run(work())) for a in sim.at_every_checkpoint()]  # type: ignore[misc]

    assert results == [None, None, None, "through"]
    assert reached == [0, 0, 1, 0, 1, 2, 0, 1, 2]


def test_a_swallowed_cancellation_is_not_hidden() -> None:
    """If the coroutine survives its cancellation, its result shows."""

    async def work() -> str:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            return "swallowed"
        return "through"

    assert sim.run(lambda: sim.Cancelled(1).run(work())) == "swallowed"

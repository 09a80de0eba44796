"""Laws of the loop watch."""

import asyncio
import gc

from semantic_actors.daemon.loop import RESTING_S, WORKING_S, LoopWatch, settle
from semantic_actors.sessions import Surroundings
from tests import sim

GAP_S = 0.03


def told(watch: LoopWatch) -> float:
    """Read the figure, as `/health` does."""
    return watch.surroundings().counters["loop_gap_seconds_max"]


def loop() -> sim.SimLoop:
    """Return the running loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, sim.SimLoop)
    return running


def test_the_longest_gap_is_told_once() -> None:
    """To within an interval; the next reading begins anew."""

    async def main() -> tuple[float, ...]:
        with LoopWatch(cpu_s=lambda: loop().time()) as watch:
            await asyncio.sleep(RESTING_S)
            before = told(watch)
            for _ in range(3):
                await asyncio.sleep(10.3 * WORKING_S)
                loop()._now += GAP_S
            await asyncio.sleep(RESTING_S)
            return before, told(watch), told(watch)

    before, longest, after = sim.run(main)

    assert (before, after) == (0, 0)
    assert GAP_S - WORKING_S <= longest <= GAP_S


def test_a_process_at_rest_is_left_in_peace() -> None:
    """Ten looks a second, and hundreds only while it works."""
    share = [0.0]

    async def looks() -> int:
        before = loop().iterations
        await asyncio.sleep(1.0)
        return loop().iterations - before

    async def main() -> list[int]:
        counts = []
        with LoopWatch(cpu_s=lambda: share[0] * loop().time()):
            for share[0] in (0.0, 1.0, 0.01):
                counts.append(await looks())
        return counts

    before, meanwhile, after = sim.run(main)

    assert max(before, after) < 20
    assert meanwhile > 0.8 / WORKING_S


def test_what_others_tell_is_told_as_well() -> None:
    """It adds one figure to those of the surroundings."""
    watch = LoopWatch(lambda: Surroundings(("memory is low",), {"memory_own_bytes": 7}))

    around = watch.surroundings()

    assert around.warnings == ("memory is low",)
    assert around.counters == {"memory_own_bytes": 7, "loop_gap_seconds_max": 0}


def test_what_is_loaded_is_not_looked_at_again() -> None:
    """What was there is out of the collector's sight, what comes later is not."""
    before = [object()]
    try:
        settle()
        after = [object()]
        seen = {id(known) for known in gc.get_objects()}
    finally:
        gc.unfreeze()

    assert id(before) not in seen
    assert id(after) in seen

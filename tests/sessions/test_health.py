"""Laws of what the house says of itself."""

import pytest

from semantic_actors.domain.stream import TextDelta
from semantic_actors.sessions import Surroundings, Turn
from tests.sessions.rig import house

pytestmark = pytest.mark.asyncio

ONE_TURN = 1_024 * 1_280
"""Bytes reserved for a short prompt and its answer."""


async def until_it_speaks(turn: Turn) -> None:
    """Wait for the first word."""
    async for event in turn:
        if isinstance(event, TextDelta):
            return


async def test_a_pool_that_is_full_of_running_turns_is_degraded() -> None:
    """Above 90 % referenced or reserved it is not ready, and says so; idle caches count as free."""
    async with house(thinks=lambda _: ord("x"), pool_bytes=ONE_TURN * 10 // 9 - 5_000) as rig:
        turn = await rig.begin("forever", session="s")
        await until_it_speaks(turn)
        full = await rig.directory.health()
        turn.cancel()
        async for _ in turn:
            pass
        idle = await rig.at_rest()

    assert not full.ready
    assert full.reasons == ("degraded: 90% of the KV pool is referenced or reserved",)
    assert (idle.ready, idle.reasons) == (True, ())
    assert idle.counters["pool_used_bytes"] > 0


async def test_nine_tenths_are_not_too_much() -> None:
    """The bound itself is still ready."""
    async with house(thinks=lambda _: ord("x"), pool_bytes=ONE_TURN * 10 // 9 + 5_000) as rig:
        turn = await rig.begin("forever", session="s")
        await until_it_speaks(turn)

        assert (await rig.directory.health()).ready
        turn.cancel()


async def test_the_machine_around_it_is_part_of_the_account() -> None:
    """Its warnings are passed on and keep nobody from an answer; its figures are counters."""
    around = Surroundings(("memory is low",), {"memory_own_bytes": 7})
    async with house(surroundings=lambda: around) as rig:
        health = await rig.directory.health()

    assert health.ready
    assert health.warnings == ("memory is low",)
    assert health.counters["memory_own_bytes"] == 7

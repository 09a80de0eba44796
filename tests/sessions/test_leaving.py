"""Whoever leaves, and whenever, leaves nothing behind. On virtual time."""

import asyncio
from functools import partial

import pytest

from semantic_actors.domain.errors import Draining
from tests import sim
from tests.sessions.rig import AtOnce, Rig, collect, house

FOREVER = ord("x")


async def idle(rig: Rig) -> bool:
    """Whether nothing runs, waits or is pinned."""
    counters = (await rig.directory.health()).counters
    return not any(counters[name] for name in ("running", "waiting", "pool_pinned_bytes"))


async def _begin_and_leave(attempt: sim.Cancelled) -> None:
    async with house(text_thread=AtOnce(), delay_s=0.01, thinks=lambda _: FOREVER) as rig:
        turn = await attempt.run(rig.begin("forever", session="s"))
        if turn is not None:
            turn.cancel()
        await asyncio.sleep(1.0)

        assert await idle(rig)
        assert rig.root.statistics().restarts == 0


def test_a_caller_cancelled_at_any_await_of_begin_leaves_no_turn_running() -> None:
    """Also when it is cancelled just as the turn is given to it."""
    for attempt in sim.at_every_checkpoint():
        sim.run(partial(_begin_and_leave, attempt))

    assert attempt.k > 1


@sim.simulated
async def test_no_turn_begins_after_the_cut() -> None:
    """One that is still on its way when the streams are cut is refused."""
    async with house(text_thread=AtOnce(), thinks=lambda _: FOREVER, delay_s=0.01) as rig:
        late = asyncio.ensure_future(rig.begin("late", session="s"))
        await asyncio.sleep(0)
        rig.directory.cut()

        with pytest.raises(Draining):
            await collect(await late)
        await asyncio.sleep(1.0)
        assert await idle(rig)


@sim.simulated
async def test_sessions_beyond_the_bound_are_cut_and_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session forgotten with an open turn is still told of the end, and goes when idle."""
    monkeypatch.setattr("semantic_actors.sessions.directory.MAX_SESSIONS", 2)
    async with house(text_thread=AtOnce(), thinks=lambda _: FOREVER, delay_s=0.01) as rig:
        turns = [await rig.begin("forever", session=f"s{n}") for n in range(6)]
        sessions = rig.root.branch("sessions")
        assert sessions.statistics().children_alive == 6

        for turn in turns[:4]:
            turn.cancel()
        await asyncio.sleep(1.0)
        assert sessions.statistics().children_alive == 2

        rig.directory.cut()
        await asyncio.sleep(1.0)
        assert await idle(rig)


@sim.simulated
async def test_a_session_with_nothing_to_remember_leaves() -> None:
    """A refused or cancelled first turn keeps no actor."""
    async with house(text_thread=AtOnce(), thinks=lambda _: FOREVER, delay_s=0.01) as rig:
        turn = await rig.begin("forever", session="s")
        turn.cancel()
        await asyncio.sleep(1.0)

        assert rig.root.branch("sessions").statistics().children_alive == 0
        assert (await rig.directory.health()).counters["sessions"] == 0


@sim.simulated
async def test_streams_under_full_load_all_go_on_over_the_death_of_the_engine() -> None:
    """Running and queued turns together are more than the queue holds: none is refused."""
    died: list[int] = []

    def dies_once(_: object) -> None:
        if len(died) < 30:
            died.append(1)
        if len(died) == 30:
            died.append(1)
            message = "once"
            raise RuntimeError(message)

    async with house(text_thread=AtOnce(), before=dies_once, delay_s=0.01) as rig:
        turns = [await rig.begin(f"hello {n}", session=f"s{n}") for n in range(70)]
        answers = await asyncio.gather(*map(collect, turns))

        assert len(answers) == 70
        assert rig.root.statistics().restarts == 1

"""Laws of what got lost, and of what did not."""

import asyncio

import pytest
import structlog

from semantic_actors.actors import ActorStopped, Supervisor
from tests.actors.cast import (
    FAST,
    Do,
    Note,
    Puppet,
    crash,
    now,
    on_stage,
    puppet,
    refuse,
    settle,
)
from tests.sim import simulated


async def _block(_: Puppet) -> None:
    await asyncio.Event().wait()


@simulated
async def test_a_clean_drain_serves_everything_and_loses_nothing() -> None:
    """What was accepted is served, what comes later is refused, no dead letter is left."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal)])
    async with on_stage(root):
        ref = root.ref("a")
        for word in "1234":
            ref.tell(Note(word))
        root.drain(now() + 5)
        with pytest.raises(ActorStopped):
            await root.started()
        await settle()
        with pytest.raises(ActorStopped):
            ref.tell(Note("late"))

    assert journal == ["+a", "1", "2", "3", "4", "~a", "-a DRAINED"]
    assert root.statistics().dead_letters == 0


@simulated
async def test_dead_letters_are_counted_and_logged_without_their_content() -> None:
    """One line per loss: actor, message type, reason."""
    root = Supervisor("root", [puppet("a")], backoff=FAST)
    with structlog.testing.capture_logs() as lines:
        async with on_stage(root):
            root.ref("a").tell(Do(refuse))
            root.ref("a").tell(Do(crash))
            await asyncio.sleep(1)

    dead = [line for line in lines if line["event"] == "dead_letter_recorded"]
    assert [line["reason"] for line in dead] == ["refused", "crashed"]
    assert {line["actor"] for line in dead} == {"a"}
    assert {line["message_type"] for line in dead} == {"Do"}
    assert root.statistics().dead_letters == 2


@simulated
async def test_timers_that_come_too_late_are_no_dead_letters() -> None:
    """What an ended instance had under way for itself is void, not lost."""
    root = Supervisor("root", [puppet("a")])

    async def fire_and_block(self: Puppet) -> None:
        self.after(0.0, Note("fired"))
        await _block(self)

    async with on_stage(root, budget_s=1.0):
        asking = asyncio.create_task(root.ref("a").ask(Do(fire_and_block), timeout=9))
        await settle()

    with pytest.raises(ActorStopped):
        await asking
    assert root.statistics().dead_letters == 0

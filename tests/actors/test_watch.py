"""Laws of watching an actor for restarts."""

import asyncio

import pytest

from semantic_actors.actors import (
    ActorStopped,
    Supervisor,
)
from tests.actors.cast import (
    FAST,
    Do,
    Note,
    Puppet,
    crash,
    on_stage,
    puppet,
    settle,
)
from tests.sim import simulated


def _root(journal: list[str] | None = None) -> Supervisor:
    return Supervisor("root", [puppet("a", journal)], backoff=FAST)


@simulated
async def test_a_watcher_hears_of_each_restart() -> None:
    """The message is told after the new instance's on_start, once per restart, until unwatch."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("a", journal), puppet("w", journal)], backoff=FAST)
    async with on_stage(root):
        root.ref("a").watch(root.ref("w"), Note("restarted"))
        for _ in range(2):
            root.ref("a").tell(Do(crash))
            await asyncio.sleep(1)
        root.ref("a").unwatch(root.ref("w"))
        root.ref("a").tell(Do(crash))
        await asyncio.sleep(1)

        restarts = ["-a CRASHED", "+a", "restarted"] * 2 + ["-a CRASHED", "+a"]
        assert journal == ["+a", "+w", *restarts]


@simulated
async def test_the_first_start_is_no_restart() -> None:
    """Who watches an actor before it starts hears of restarts only."""
    journal: list[str] = []
    root = Supervisor("root", [puppet("w", journal), puppet("a")])
    root.ref("a").watch(root.ref("w"), Note("restarted"))
    async with on_stage(root):
        await settle()

        assert journal == ["+w"]


@simulated
async def test_news_reach_a_watcher_with_a_full_mailbox() -> None:
    """News of a restart wait for room instead of getting lost."""
    gate = asyncio.Event()
    journal: list[str] = []
    root = Supervisor("root", [puppet("a"), puppet("w", journal)], backoff=FAST)
    async with on_stage(root):
        watcher = root.ref("w")
        root.ref("a").watch(watcher, Note("restarted"))
        watcher.tell(Do(lambda _: gate.wait()))
        await settle()
        for _ in range(Puppet.mailbox_capacity):
            watcher.tell(Note("fill"))
        root.ref("a").tell(Do(crash))
        await asyncio.sleep(1)

        gate.set()
        await settle()

        assert journal[-1] == "restarted"


@simulated
async def test_a_stopped_watcher_is_forgotten() -> None:
    """Short-lived watchers leave nothing behind in the watched actor."""
    root = _root()
    async with on_stage(root):
        watched = root.ref("a")
        watcher = root.spawn(puppet("w"))
        watched.watch(watcher, Note("restarted"))
        assert len(watched._cell._watchers) == 1

        await watcher.ask(Do(lambda self: self.stop()), timeout=1)
        await root.ended("w")

        assert not watched._cell._watchers
        with pytest.raises(ActorStopped):
            watched.watch(watcher, Note("restarted"))

"""Cancel everything, everywhere: nothing hangs, nothing is left, nobody else is hurt."""

import asyncio
from functools import partial

import pytest

from semantic_actors.actors import ActorStopped, AskTimeout, ChildSpec, Supervisor
from semantic_actors.actors.cancellation import uncut
from tests.actors.cast import FAST, Do, Note, Puppet, crash, now, on_stage, puppet, settle
from tests.sim import Cancelled, SimLoop, at_every_checkpoint, run, simulated


async def _think(_: Puppet) -> str:
    for pause_s in (0.1, 0.2, 0.3):
        await asyncio.sleep(pause_s)
    return "thought"


async def _ask_through_a_full_mailbox(attempt: Cancelled) -> None:
    root = Supervisor("root", [puppet("a")])
    async with on_stage(root):
        ref = root.ref("a")
        for _ in range(Puppet.mailbox_capacity):
            ref.tell(Do(_think))

        answer = await attempt.run(ref.ask(Do(_think), timeout=9))

        assert answer in (None, "thought")
        assert await ref.ask(Do(lambda _: "well"), timeout=9) == "well"
        assert len(root._settle_in().children["a"].mailbox) == 0
    assert root.statistics().dead_letters == 0


def test_ask_cancelled_at_every_await() -> None:
    """The asker goes, the actor stays well, its mailbox is empty, no message is lost."""
    for attempt in at_every_checkpoint():
        run(partial(_ask_through_a_full_mailbox, attempt))

    assert attempt.k > 1


async def _ask_for_piped_work(attempt: Cancelled) -> None:
    root = Supervisor("root", [puppet("a"), puppet("b")])
    async with on_stage(root):

        def delegate(self: Puppet) -> None:
            reply = self.defer()
            self.pipe(
                attempt.run(root.ref("b").ask(Do(_think), timeout=9)),
                lambda thought: Do(lambda _: reply.resolve(thought)),
                lambda _: Do(lambda _: reply.resolve("error")),
            )

        answer = await root.ref("a").ask(Do(delegate), timeout=9)

        assert answer in (None, "thought")
        errands = await root.ref("a").ask(Do(lambda self: self._life.errands), timeout=9)
        assert (errands._work, errands._timers) == ({}, {})
        assert await root.ref("b").ask(Do(lambda _: "well"), timeout=9) == "well"


def test_piped_work_cancelled_at_every_await() -> None:
    """The outcome always comes, the book of errands is empty afterwards."""
    for attempt in at_every_checkpoint():
        run(partial(_ask_for_piped_work, attempt))

    assert attempt.k > 1


class _Scene:
    """A tree in which everything happens: restarts, escalation, pipes, timers, spawning, asks."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.answers: list[asyncio.Task[object]] = []
        branch = ChildSpec("s", self._branch)
        self.root = Supervisor("root", [self._leaf("a"), branch, self._leaf("b")], backoff=FAST)

    def _leaf(self, name: str) -> ChildSpec:
        return puppet(name, self.journal, shutdown=1.0)

    def _branch(self) -> Supervisor:
        return Supervisor("s", [self._leaf("s1"), self._leaf("s2")], intensity=1, backoff=FAST)

    async def play(self) -> None:
        """Use everything; the tree may be cancelled at any moment."""
        try:
            await self.root.started()
            refs = [self.root.ref(path) for path in ("a", "s/s1", "s/s2", "b")]
            refs.append(self.root.spawn(self._leaf("t")))
        except ActorStopped:
            return
        actions = (_think, crash, crash, Puppet.defer, _start_errands, _think)
        for ref in refs:
            asks = [ref.ask(Do(action), timeout=5) for action in actions]
            self.answers += [asyncio.create_task(ask) for ask in asks]

    def check(self) -> None:
        """Whoever started has stopped, after a crash too."""
        started = [word[1:] for word in self.journal if word.startswith("+")]
        stopped = [word[1:].split()[0] for word in self.journal if word.startswith("-")]
        assert sorted(started) == sorted(stopped)
        assert self.root.statistics().children_alive == 0


def _start_errands(self: Puppet) -> None:
    self.pipe(asyncio.sleep(1), lambda _: Note("pipe"), lambda _: Note("error"))
    self.after(1, Note("timer"))


async def _cancel_the_tree(turns: tuple[int, ...]) -> bool:
    """Play the scene, cancel the tree before each of those turns; False if it was over before."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    scene = _Scene()
    running = asyncio.create_task(scene.root.run())
    for turn in turns:
        loop.call_at_turn(turn, running.cancel)
    await scene.play()
    await asyncio.wait({running}, timeout=4)
    scene.root.drain(now() + 2)
    await asyncio.wait({running})
    results = await asyncio.gather(*scene.answers, return_exceptions=True)
    assert not any(isinstance(result, AskTimeout) for result in results)
    scene.check()
    return running.cancelled()


@pytest.mark.parametrize("again", [0, 1, 2, 5])
def test_a_tree_cancelled_before_every_turn_of_the_loop(again: int) -> None:
    """Wherever it hits, once or twice: actors stop, askers are answered, no task is left."""
    turn = 3  # in turn 2 the tree takes its first step; what never began has nothing to end
    while run(partial(_cancel_the_tree, (turn, turn + again)), seed=turn):
        turn += 1

    assert turn > 30


@simulated
async def test_uncut_finishes_first_and_cancels_then() -> None:
    """The cleanup runs to its end under any number of cancellations, which then go on."""
    done: list[str] = []

    async def cleanup() -> None:
        await asyncio.sleep(3)
        done.append("clean")

    task = asyncio.create_task(uncut(cleanup()))
    for _ in range(3):
        await settle()
        task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert done == ["clean"]

"""Laws of replies that are given later."""

import asyncio

import pytest

from semantic_actors.actors import (
    ActorStopped,
    AskTimeout,
    Deferred,
    Supervisor,
)
from tests.actors.cast import (
    FAST,
    Boom,
    Do,
    No,
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


def _root(journal: list[str] | None = None) -> Supervisor:
    return Supervisor("root", [puppet("a", journal)], backoff=FAST)


@simulated
async def test_a_deferred_reply_is_given_later() -> None:
    """The return value is ignored, the answer comes when the actor resolves or rejects."""
    owed: list[Deferred[str]] = []

    def defer(self: Puppet) -> str:
        owed.append(self.defer())
        return "ignored"

    async with on_stage(_root()) as root:
        ref = root.ref("a")
        asks = [asyncio.create_task(ref.ask(Do(defer), timeout=9)) for _ in range(2)]
        await settle()
        assert not any(reply.abandoned for reply in owed)

        await ref.ask(Do(lambda _: owed[0].resolve("later")), timeout=1)
        await ref.ask(Do(lambda _: owed[1].reject(No())), timeout=1)
        results = await asyncio.gather(*asks, return_exceptions=True)

        assert {str, No} == {type(result) for result in results}
        assert all(reply.abandoned for reply in owed)


@simulated
async def test_a_deferred_reply_notices_that_nobody_waits() -> None:
    """When the asker times out, the reply is abandoned and resolving it is harmless."""
    owed: list[Deferred[str]] = []
    async with on_stage(_root()) as root:
        with pytest.raises(AskTimeout):
            await root.ref("a").ask(Do(lambda self: owed.append(self.defer())), timeout=1)

        assert owed[0].abandoned
        owed[0].resolve("too late")


@simulated
async def test_deferring_a_tell_owes_nothing() -> None:
    """A request that was told has no asker: its reply is abandoned from the start."""
    owed: list[Deferred[str]] = []
    async with on_stage(_root()) as root:
        root.ref("a").tell(Do(lambda self: owed.append(self.defer())))
        await settle()

        assert owed[0].abandoned
        owed[0].resolve("to nobody")


@simulated
async def test_defer_belongs_to_the_message_in_hand() -> None:
    """Deferring twice, or between messages, is a bug of the actor and says so."""

    def twice(self: Puppet) -> None:
        self.defer()
        self.defer()

    async with on_stage(_root()) as root:
        with pytest.raises(RuntimeError, match="once per request"):
            await root.ref("a").ask(Do(twice), timeout=1)


@simulated
async def test_a_crash_rejects_the_replies_owed() -> None:
    """Who waits for a deferred reply gets the exception with which the actor crashed."""
    async with on_stage(_root()) as root:
        ref = root.ref("a")
        asking = asyncio.create_task(ref.ask(Do(lambda self: self.defer()), timeout=9))
        await settle()
        ref.tell(Do(crash))

        with pytest.raises(Boom):
            await asking


@simulated
async def test_a_refusal_after_defer_is_the_answer() -> None:
    """Refusing outranks deferring: the asker gets the refusal at once."""

    def defer_and_refuse(self: Puppet) -> None:
        self.defer()
        refuse(self)

    async with on_stage(_root()) as root:
        with pytest.raises(No):
            await root.ref("a").ask(Do(defer_and_refuse), timeout=1)


@simulated
async def test_a_drained_actor_gives_the_replies_it_owes() -> None:
    """A drain waits for deferred replies; pipes that feed them still arrive."""

    async def work() -> str:
        await asyncio.sleep(5)
        return "done"

    def start_work(self: Puppet) -> None:
        reply = self.defer()
        self.pipe(work(), lambda word: Do(lambda _: reply.resolve(word)), lambda _: Note("no"))

    root = Supervisor("root", [puppet("a", shutdown=30.0)])
    async with on_stage(root):
        asking = asyncio.create_task(root.ref("a").ask(Do(start_work), timeout=9))
        await settle()

    assert await asking == "done"


@simulated
async def test_a_drain_does_not_wait_for_an_asker_that_gave_up() -> None:
    """A deferred reply is owed only as long as somebody waits for it."""
    root = _root()
    async with on_stage(root, budget_s=5.0):
        asking = asyncio.create_task(root.ref("a").ask(Do(Puppet.defer), timeout=2))
        begun = now()
        await settle()

    assert now() == begun + 2
    with pytest.raises(AskTimeout):
        await asking


@simulated
async def test_replies_still_owed_at_the_deadline_are_rejected() -> None:
    """A reply that never comes holds the drain to its deadline and ends with ActorStopped."""
    root = _root()
    async with on_stage(root, budget_s=2.0):
        asking = asyncio.create_task(root.ref("a").ask(Do(lambda self: self.defer()), timeout=99))
        await settle()
        begun = now()

    assert now() == begun + 2
    with pytest.raises(ActorStopped):
        await asking

"""Laws of tracing: the sender's request, and nobody else's."""

import asyncio

import structlog

from semantic_actors.actors import Supervisor, bind_request, current_request
from tests.actors.cast import Do, Puppet, on_stage, puppet, settle
from tests.sim import simulated


def _seen(_: Puppet) -> tuple[str | None, object]:
    return current_request(), structlog.contextvars.get_contextvars().get("request_id")


@simulated
async def test_an_actor_serves_the_request_of_its_sender() -> None:
    """Both the context variable and structlog's context hold the sender's, per message."""
    async with on_stage(Supervisor("root", [puppet("a")])) as root:
        ref = root.ref("a")
        with bind_request("r1"):
            assert await ref.ask(Do(_seen), timeout=1) == ("r1", "r1")
            with bind_request(None):
                assert current_request() == "r1"
        assert await ref.ask(Do(_seen), timeout=1) == (None, None)


@simulated
async def test_a_request_travels_through_tells() -> None:
    """What an actor tells while it serves a request belongs to that request."""
    seen: list[object] = []
    async with on_stage(Supervisor("root", [puppet("a"), puppet("b")])) as root:
        pass_on = Do(lambda _: root.ref("b").tell(Do(lambda self: seen.append(_seen(self)))))
        with bind_request("r1"):
            root.ref("a").tell(pass_on)
        await settle()

    assert seen == [("r1", "r1")]


@simulated
async def test_outcomes_of_pipes_and_timers_belong_to_their_request() -> None:
    """The message that an errand ends in is served under the request that started it."""
    seen: list[object] = []
    note = Do(lambda self: seen.append(_seen(self)))

    def start(self: Puppet) -> None:
        self.pipe(asyncio.sleep(1), lambda _: note, lambda _: note)
        self.after(2, note)

    async with on_stage(Supervisor("root", [puppet("a")])) as root:
        with bind_request("r1"):
            root.ref("a").tell(Do(start))
        await asyncio.sleep(3)

    assert seen == [("r1", "r1")] * 2


@simulated
async def test_a_spawned_actor_does_not_inherit_its_starters_request() -> None:
    """An actor outlives the request during which it was spawned."""
    async with on_stage(Supervisor("root")) as root:
        with bind_request("r1"):
            ref = root.spawn(puppet("s"))

        assert await ref.ask(Do(_seen), timeout=1) == (None, None)

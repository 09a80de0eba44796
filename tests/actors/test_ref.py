"""Laws of tell, ask and watch."""

import asyncio
from functools import partial
from typing import assert_type

import pytest

from semantic_actors.actors import (
    Actor,
    ActorRef,
    ActorStopped,
    AskTimeout,
    ChildSpec,
    Deferred,
    MailboxFull,
    Message,
    Request,
    Supervisor,
)
from tests.actors.cast import (
    FAST,
    Boom,
    Do,
    No,
    Note,
    Puppet,
    Urgent,
    crash,
    on_stage,
    puppet,
    refuse,
    settle,
)
from tests.sim import simulated


class _Length(Request[int], frozen=True):
    text: str


class _Measure(Actor[_Length]):
    async def on_message(self, message: _Length) -> int:
        return len(message.text)


def _serve(served: list[int], i: int, _: Puppet) -> None:
    served.append(i)


def _root(journal: list[str] | None = None) -> Supervisor:
    return Supervisor("root", [puppet("a", journal)], backoff=FAST)


def test_messages_are_frozen_values_and_control_is_no_field() -> None:
    """Equal content is equal; nothing can be changed; the lane belongs to the type."""
    assert Note("x") == Note("x")
    assert Note.__struct_fields__ == ("word",)
    with pytest.raises(AttributeError):
        Note("x").word = "y"  # type: ignore[misc]
    assert (Message.control, Note.control, Urgent.control) == (False, False, True)


@simulated
async def test_the_answer_has_the_type_that_the_request_promises() -> None:
    """A `Request[int]` is answered with an int, for the type checker too."""
    async with on_stage(Supervisor("root", [ChildSpec("m", _Measure)])) as root:
        ref: ActorRef[_Length] = root.ref("m")

        answer = await ref.ask(_Length("four"), timeout=1)

        assert_type(answer, int)
        assert answer == 4


@simulated
async def test_a_refusal_is_an_answer() -> None:
    """The asker gets the refusal, the same instance serves on."""
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        with pytest.raises(No):
            await root.ref("a").ask(Do(refuse), timeout=1)

        assert await root.ref("a").ask(Do(lambda _: 7), timeout=1) == 7
        assert journal == ["+a"]


@simulated
async def test_a_failure_is_a_crash() -> None:
    """The asker gets the exception; a fresh instance serves the kept mailbox by the same ref."""
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        ref = root.ref("a")
        first = await ref.ask(Do(lambda self: self), timeout=1)

        def fail(self: Puppet) -> None:
            self.ref.tell(Note("kept"))
            raise Boom

        with pytest.raises(Boom):
            await ref.ask(Do(fail), timeout=1)

        assert await ref.ask(Do(lambda self: self), timeout=1) is not first
        assert journal == ["+a", "-a CRASHED", "+a", "kept"]
        assert root.statistics().dead_letters == 0


@simulated
async def test_ask_has_a_deadline_and_is_skipped_when_it_has_passed() -> None:
    """AskTimeout comes at the deadline; the request, still unread, is never served."""
    gate = asyncio.Event()
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        ref = root.ref("a")
        ref.tell(Do(lambda _: gate.wait()))
        begun = asyncio.get_running_loop().time()

        with pytest.raises(AskTimeout, match=r"within 2 s"):
            await ref.ask(Do(lambda self: self.journal.append("served")), timeout=2)

        assert asyncio.get_running_loop().time() == begun + 2
        gate.set()
    assert "served" not in journal


@simulated
async def test_a_cancelled_ask_is_skipped() -> None:
    """An asker that was cancelled while it waited is not served."""
    gate = asyncio.Event()
    journal: list[str] = []
    async with on_stage(_root(journal)) as root:
        ref = root.ref("a")
        ref.tell(Do(lambda _: gate.wait()))
        asking = asyncio.create_task(ref.ask(Do(lambda self: self.journal.append("x")), timeout=9))
        await settle()

        asking.cancel()
        await asyncio.wait({asking})

        assert asking.cancelled()
        gate.set()
    assert "x" not in journal


@simulated
async def test_a_cancellation_that_crosses_with_an_error_hides_it() -> None:
    """The asker is cancelled, and asyncio does not complain about an unseen exception."""
    owed: list[Deferred[None]] = []
    async with on_stage(_root()) as root:
        asking = asyncio.create_task(
            root.ref("a").ask(Do(lambda self: owed.append(self.defer())), timeout=9)
        )
        await settle()
        owed[0].reject(No())
        asking.cancel()
        await asyncio.wait({asking})

        assert asking.cancelled()


@simulated
async def test_an_answer_at_the_deadline_counts_once() -> None:
    """When answer and deadline meet in one turn of the loop, the first one counts."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 2

    def answer_at_the_deadline(self: Puppet) -> None:
        loop.call_at(deadline - loop._clock_resolution / 2, self.defer().resolve, "just in time")  # type: ignore[attr-defined]

    async with on_stage(_root()) as root:
        asking = root.ref("a").ask(Do(answer_at_the_deadline), timeout=deadline - loop.time())

        assert await asking == "just in time"


@simulated
async def test_an_answer_that_is_a_timeout_is_no_ask_timeout() -> None:
    """A TimeoutError raised by the actor reaches the asker as itself."""

    def time_out(_: Puppet) -> None:
        raise TimeoutError

    async with on_stage(_root()) as root:
        with pytest.raises(TimeoutError):
            await root.ref("a").ask(Do(time_out), timeout=1)


@simulated
async def test_tell_raises_when_full_and_ask_waits_for_room() -> None:
    """A full mailbox refuses tells at once; asks stand in line and are all answered, in order."""
    gate = asyncio.Event()
    served: list[int] = []
    async with on_stage(_root()) as root:
        ref = root.ref("a")
        ref.tell(Do(lambda _: gate.wait()))
        await settle()
        for _ in range(Puppet.mailbox_capacity):
            ref.tell(Note("fill"))
        with pytest.raises(MailboxFull):
            ref.tell(Note("too many"))
        asks = []
        for i in range(6):
            asks.append(asyncio.create_task(ref.ask(Do(partial(_serve, served, i)), timeout=9)))
            await settle()

        gate.set()
        await asyncio.gather(*asks)

        assert served == list(range(6))


@simulated
async def test_a_crash_does_not_starve_who_waits_for_room() -> None:
    """Asks in the line survive a restart like those in the mailbox."""
    async with on_stage(_root()) as root:
        ref = root.ref("a")
        ref.tell(Do(crash))
        for _ in range(3):
            ref.tell(Note("fill"))

        answers = await asyncio.gather(*(ref.ask(Do(lambda _: 1), timeout=9) for _ in range(5)))

        assert answers == [1] * 5


@simulated
async def test_a_stopped_actor_answers_everybody() -> None:
    """Asks read, unread and in line all end with ActorStopped when the actor stops for good."""
    root = _root()
    async with on_stage(root, budget_s=0.0):
        ref = root.ref("a")
        asks = [
            asyncio.create_task(ref.ask(Do(lambda _: asyncio.Event().wait()), timeout=99))
            for _ in range(9)
        ]
        await settle()
    results = await asyncio.gather(*asks, return_exceptions=True)

    assert {ActorStopped} == {type(result) for result in results}
    with pytest.raises(ActorStopped):
        ref.tell(Note("late"))
    with pytest.raises(ActorStopped):
        await ref.ask(Do(crash), timeout=1)


@simulated
async def test_refs_of_one_actor_are_equal() -> None:
    """A ref is a value: it can be compared and used as a key."""
    root = Supervisor("root", [puppet("a"), puppet("b")])
    async with on_stage(root):
        assert root.ref("a") == root.ref("a") != root.ref("b")
        assert len({root.ref("a"), root.ref("a")}) == 1
        assert repr(root.ref("a")) == "ActorRef('a')"

"""Laws of the scheduler actor, with an engine on virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from semantic_actors.actors import Actor, ActorRef, ChildSpec, Supervisor
from semantic_actors.domain.errors import Overloaded
from semantic_actors.domain.ids import LOCAL, TokenIds
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import FakeBackend, Footprint, InlineEngine, Plan, hashed_token
from semantic_actors.scheduling import (
    Abort,
    Accepted,
    Admitted,
    BatchLimits,
    Generated,
    Inspect,
    Probe,
    Refused,
    Scheduler,
    SchedulerMessage,
    Snapshot,
    Submit,
    new_sequence_id,
)
from semantic_actors.scheduling.messages import SubscriberMessage
from tests import sim

PROMPT = (1, 2, 3)


class Listener(Actor[SubscriberMessage]):
    """Hears the news of its sequences; its mailbox holds one message a lane."""

    mailbox_capacity = 1

    def __init__(self, news: list[SubscriberMessage], ended: asyncio.Event) -> None:
        self._news = news
        self._ended = ended

    async def on_message(self, message: SubscriberMessage) -> object:
        """Keep it."""
        self._news.append(message)
        if isinstance(message, Refused) or (isinstance(message, Generated) and message.finish):
            self._ended.set()
        return None


class Rig:
    """A scheduler, a listener and what it heard."""

    def __init__(self, root: Supervisor) -> None:
        self.root = root
        self.news: list[SubscriberMessage] = []
        self.ended = asyncio.Event()
        self.scheduler: ActorRef[SchedulerMessage] = root.ref("scheduler")

    def submit(self, max_tokens: int) -> Submit:
        """Queue the prompt."""
        submission = Submit(
            sequence=new_sequence_id(),
            principal=LOCAL,
            tokens=PROMPT,
            max_tokens=max_tokens,
            stop_ids=frozenset(),
            sampling=GREEDY,
            reply_to=self.root.ref("listener"),
        )
        self.scheduler.tell(submission)
        return submission

    async def look(self) -> Snapshot:
        """Ask for the counters."""
        return await self.scheduler.ask(Inspect(), timeout=10.0)


@asynccontextmanager
async def running(
    *,
    before: Callable[[Plan], None] | None = None,
    max_waiting: int = 4,
    delay_s: float = 0.0,
    backend: FakeBackend | None = None,
    pool_bytes: int = 10_000_000,
    max_running: int = 1,
) -> AsyncIterator[Rig]:
    """Run a scheduler for the length of a test."""
    engine = InlineEngine(backend or FakeBackend(), before=before, delay_s=delay_s)
    limits = BatchLimits(
        vocabulary=1_000,
        context=4_000,
        max_running=max_running,
        max_waiting=max_waiting,
        prefill_tokens=64,
    )
    rig: Rig
    root = Supervisor(
        "root",
        [
            ChildSpec("listener", lambda: Listener(rig.news, rig.ended)),
            ChildSpec("scheduler", lambda: Scheduler(engine, limits, pool_bytes)),
        ],
    )
    rig = Rig(root)
    task = asyncio.ensure_future(root.run())
    await root.started()
    try:
        yield rig
    finally:
        root.drain(asyncio.get_running_loop().time() + 5.0)
        await task


@sim.simulated
async def test_news_comes_in_order_and_none_is_lost_on_a_full_mailbox() -> None:
    """A listener whose mailbox holds one message hears every token, in order."""
    async with running() as rig:
        submission = rig.submit(50)
        await rig.ended.wait()

    assert rig.news[:2] == [Accepted(submission.sequence), Admitted(submission.sequence, 0)]
    tokens: TokenIds = PROMPT
    for news in rig.news[2:]:
        assert isinstance(news, Generated)
        tokens += news.tokens
    expected: TokenIds = PROMPT
    for _ in range(50):
        expected += (hashed_token(expected, 1_000, GREEDY),)
    assert tokens == expected


@sim.simulated
async def test_the_next_epoch_begins_empty() -> None:
    """An engine that dies takes its caches with it; the successor starts with an empty pool."""
    plans: list[Plan] = []

    def dies(plan: Plan) -> None:
        plans.append(plan)
        if len(plans) == 3:
            message = "dead"
            raise RuntimeError(message)

    async with running(before=dies) as rig:
        rig.submit(50)
        await asyncio.sleep(5.0)

        snapshot = await rig.look()

    assert (snapshot.caches, snapshot.running, snapshot.steps_total) == (0, 0, 0)


@sim.simulated
async def test_a_full_queue_answers_with_the_measured_time() -> None:
    """The time to come back follows from how long turns take, here ten seconds each."""
    async with running(max_waiting=0, delay_s=1.0) as rig:
        for _ in range(3):
            rig.ended.clear()
            rig.submit(10)
            await rig.ended.wait()
        rig.submit(10)
        rig.submit(10)
        await asyncio.sleep(20.0)

    refusal = next(news for news in rig.news if isinstance(news, Refused))
    assert isinstance(refusal.error, Overloaded)
    assert refusal.error.retry_after_s == 10


@sim.simulated
async def test_an_abort_silences_a_sequence_and_frees_its_place() -> None:
    """Nothing more is heard of it, nothing is pinned, the prefix stays."""
    async with running(delay_s=0.1) as rig:
        submission = rig.submit(3_000)
        await asyncio.sleep(1.0)
        rig.scheduler.tell(Abort(submission.sequence))
        await asyncio.sleep(0.2)
        heard = len(rig.news)
        await asyncio.sleep(5.0)

        snapshot = await rig.look()

    assert len(rig.news) == heard
    assert (snapshot.running, snapshot.pool_pinned_bytes, snapshot.caches) == (0, 0, 1)


@sim.simulated
async def test_who_waits_for_a_full_pool_is_served_when_it_is_free() -> None:
    """The first fills the pool until it is exhausted; nothing else happens, and the other goes on.

    Both begin together, so that the younger is preempted on the way.
    """
    footprint = Footprint(fixed_bytes=10, bytes_per_token=1, granularity=16)
    backend = FakeBackend(footprint=footprint)
    async with running(backend=backend, pool_bytes=110, max_running=2) as rig:
        rig.submit(150)
        rig.submit(150)
        finishes: list[str] = []
        async with asyncio.timeout(60.0):
            while len(finishes) < 2:
                await rig.ended.wait()
                rig.ended.clear()
                heard = [news for news in rig.news if isinstance(news, Generated)]
                finishes = [news.finish for news in heard if news.finish]

    assert finishes == ["context", "context"]


@sim.simulated
async def test_a_probe_proves_the_engine_and_leaves_nothing() -> None:
    """It is answered when a token came out; a hundred of them keep no cache."""
    async with running() as rig:
        for _ in range(100):
            await rig.scheduler.ask(Probe(), timeout=10.0)

        snapshot = await rig.look()

    assert (snapshot.caches, snapshot.tokens_generated_total) == (0, 100)
    assert snapshot.seconds_since_step < 1.0


@sim.simulated
async def test_who_comes_back_when_told_is_served() -> None:
    """Twelve clients at three places: each refusal names a time, and in the end all are served."""
    async with running(max_waiting=2, delay_s=0.5) as rig:
        refusals = []

        async def client() -> None:
            while True:
                submission = rig.submit(10)
                while True:
                    await asyncio.sleep(0.1)
                    mine = [news for news in rig.news if news.sequence == submission.sequence]
                    if isinstance(mine[-1], Refused):
                        break
                    if isinstance(mine[-1], Generated) and mine[-1].finish:
                        return
                assert isinstance(mine[-1].error, Overloaded)
                refusals.append(mine[-1].error.retry_after_s)
                await asyncio.sleep(mine[-1].error.retry_after_s)

        await asyncio.gather(*(client() for _ in range(12)))
        took = asyncio.get_running_loop().time()

    assert all(1 <= seconds <= 60 for seconds in refusals)
    assert refusals[-1] >= 10  # two turns before one's own, five seconds each
    assert took <= 12 * 5.0 * 2

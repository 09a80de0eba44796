"""Nobody freezes anybody: prompts and streams together, in virtual time.

A step of the machine costs 10 ms, 0.2 ms for each token fed, and half as much again for each ten
thousand tokens before it: a 16K prompt alone takes some five seconds.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec

from semantic_actors.actors import Actor, ChildSpec, Supervisor
from semantic_actors.domain.ids import LOCAL, SequenceId, TokenIds
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import FakeBackend, InlineEngine, Plan
from semantic_actors.engine.protocol import Collect, CollectLast, nothing
from semantic_actors.scheduling import (
    Abort,
    BatchLimits,
    Generated,
    Scheduler,
    Submit,
    new_sequence_id,
)
from semantic_actors.scheduling.messages import SubscriberMessage
from semantic_actors.scheduling.pace import ALONE
from tests import sim

TARGET_S = 0.1
STEP_S, TOKEN_S, ATTENTION = 0.01, 2e-4, 5e-5
LONG = tuple(index % 500 for index in range(16_384))


class Machine(FakeBackend):
    """The fake, with a price for every token."""

    def launch(self, plan: Plan, _: CollectLast = nothing) -> Collect:
        """Carry out a step and say what it would have taken."""
        tokens = sum(feed.count * (1 + ATTENTION * feed.position) for feed in plan.feeds)
        output = super().launch(plan)()
        return lambda: msgspec.structs.replace(output, seconds=STEP_S + TOKEN_S * tokens)


class Listener(Actor[SubscriberMessage]):
    """Notes when each token came, in loop time."""

    mailbox_capacity = 1024

    def __init__(self, heard: dict[SequenceId, list[float]], news: asyncio.Condition) -> None:
        self._heard = heard
        self._news = news

    async def on_message(self, message: SubscriberMessage) -> object:
        """Look at the clock."""
        if isinstance(message, Generated):
            now = asyncio.get_running_loop().time()
            self._heard.setdefault(message.sequence, []).append(now)
            async with self._news:
                self._news.notify_all()
        return None


class Rig:
    """A scheduler, and the times at which tokens came."""

    def __init__(self, root: Supervisor) -> None:
        self.heard: dict[SequenceId, list[float]] = {}
        self.news = asyncio.Condition()
        self._root = root

    def submit(self, tokens: TokenIds, max_tokens: int) -> SequenceId:
        """Queue a prompt."""
        submission = Submit(
            sequence=new_sequence_id(),
            principal=LOCAL,
            tokens=tokens,
            max_tokens=max_tokens,
            stop_ids=frozenset(),
            sampling=GREEDY,
            reply_to=self._root.ref("listener"),
        )
        self._root.ref("scheduler").tell(submission)
        return submission.sequence

    def abort(self, sequence: SequenceId) -> None:
        """Leave."""
        self._root.ref("scheduler").tell(Abort(sequence))

    async def tokens(self, sequence: SequenceId, count: int) -> float:
        """Wait until so many have come; the time at which the last of them did."""
        async with self.news:
            await self.news.wait_for(lambda: len(self.heard.get(sequence, ())) >= count)
        return self.heard[sequence][count - 1]


@asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    """Run a scheduler for the length of a test."""
    engine = InlineEngine(Machine(context=40_000))
    limits = BatchLimits(
        vocabulary=1_000,
        context=40_000,
        max_running=16,
        max_waiting=4,
        prefill_tokens=2_048,
        inter_token_target_s=TARGET_S,
    )
    rig: Rig
    root = Supervisor(
        "root",
        [
            ChildSpec("listener", lambda: Listener(rig.heard, rig.news)),
            ChildSpec("scheduler", lambda: Scheduler(engine, limits, 1_000_000_000)),
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
        engine.stop()


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


async def alone() -> float:
    """Seconds to the first token of the long prompt, with the machine to itself."""
    async with running() as rig:
        return await rig.tokens(rig.submit(LONG, 1), 1)


async def beside_a_stream() -> tuple[float, list[float]]:
    """The same beside a stream, and the times between the stream's tokens meanwhile."""
    async with running() as rig:
        stream = rig.submit((1, 2, 3), 10_000)
        await rig.tokens(stream, 20)
        began = now()
        ended = await rig.tokens(rig.submit(LONG, 1), 1)
        rig.abort(stream)
        times = [time for time in rig.heard[stream] if began - TARGET_S <= time <= ended]
        return ended - began, [later - earlier for earlier, later in pairwise(times)]


def test_a_long_prompt_stalls_no_stream_and_takes_little_longer_itself() -> None:
    """No gap of the stream exceeds the target by a fifth, the prompt takes less than 1.3 times."""
    seconds, gaps = sim.run(beside_a_stream)

    assert max(gaps) <= 1.2 * TARGET_S
    assert seconds <= 1.3 * sim.run(alone)


def test_a_newcomer_joins_a_long_prompt_soon_and_finishes_first() -> None:
    """A short prompt has its first token within two long steps, the long one goes on beside it."""

    async def main() -> tuple[float, float]:
        async with running() as rig:
            long = rig.submit(LONG, 1)
            await asyncio.sleep(2.5)
            began = now()
            short = await rig.tokens(rig.submit((7, 8, 9) * 50, 1), 1)
            return short - began, await rig.tokens(long, 1) - began

    short_s, long_s = sim.run(main)

    assert short_s <= 2 * ALONE * TARGET_S
    assert short_s < long_s / 2


def test_of_several_prompts_the_short_ones_finish_first() -> None:
    """Equal shares: sixteen times the length behind it holds up a prompt of a thousand little."""

    async def main() -> list[float]:
        async with running() as rig:
            prompts = [LONG, LONG[::-1], tuple(range(500)), tuple(range(500, 1_000)) * 2]
            ids = [rig.submit(prompt, 1) for prompt in prompts]
            return [await rig.tokens(id_, 1) for id_ in ids]

    times = sim.run(main)

    assert times[2] < times[3] < times[0] / 4
    assert times[3] <= 2.0


def test_many_streams_and_many_prompts_keep_the_target() -> None:
    """Eight streams beside three prompts of various lengths, which end one after the other."""

    async def main() -> list[float]:
        async with running() as rig:
            streams = [rig.submit((n, n + 1), 10_000) for n in range(8)]
            await rig.tokens(streams[-1], 20)
            began = now()
            prompts = LONG[1:3_000], LONG[2:9_000], LONG[3:4_000]
            for id_ in [rig.submit(prompt, 1) for prompt in prompts]:
                await rig.tokens(id_, 1)
            for stream in streams:
                rig.abort(stream)
            times = [time for time in rig.heard[streams[0]] if time >= began]
            return sorted(later - earlier for earlier, later in pairwise(times))

    gaps = sim.run(main)

    assert gaps[-1] <= 1.2 * TARGET_S

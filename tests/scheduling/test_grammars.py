"""Constrained answers and log-probabilities on their way through the scheduler."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

from semantic_actors.actors import Actor, ActorRef, ChildSpec, Supervisor
from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import LOCAL, SequenceId, TokenIds
from semantic_actors.domain.request import Sampling
from semantic_actors.engine import FakeBackend, InlineEngine, Plan
from semantic_actors.engine.fake import fake_logprobs
from semantic_actors.scheduling import (
    BatchLimits,
    Generated,
    Scheduler,
    SchedulerMessage,
    SequenceFailed,
    Submit,
    new_sequence_id,
)
from semantic_actors.scheduling.messages import SubscriberMessage
from tests import sim
from tests.engine.grammars import Failing, Places, limit
from tests.scheduling.rig import STOP, VOCABULARY, Rig, expected, sequence

HALVES = (range(0, VOCABULARY, 2), range(1, VOCABULARY, 2))
PROMPT = (1, 2, 3)


def test_a_preempted_answer_goes_on_in_its_grammar() -> None:
    """What it has answered so far is handed to the engine again, and nothing else changes."""
    rig = Rig(pool_bytes=110)
    grammars = {1: Places(HALVES), 2: Places(HALVES)}
    for id_, grammar in grammars.items():
        rig.submit(sequence(id_, PROMPT * 3, max_tokens=150, stop_ids=frozenset(), grammar=grammar))

    rig.finish()

    for id_, grammar in grammars.items():
        answer = tuple(rig.answers[SequenceId(id_)])
        assert answer == expected(PROMPT * 3, len(answer), id_, frozenset(), Places(HALVES))
        assert all(answer[: len(begun)] == begun for begun in grammar.begun)
    assert [len(grammar.begun) for grammar in grammars.values()] == [1, 2]
    assert grammars[2].begun[1]
    assert set(rig.finishes.values()) == {"context"}


def test_the_token_that_ends_an_answer_leaves_its_cache_for_reuse() -> None:
    """The step that was under way with it asks the guide once more, and harms nothing."""
    rig = Rig()
    grammar = Places((range(8, 20), range(20, 30), STOP))
    rig.submit(sequence(1, PROMPT * 10, grammar=grammar))
    rig.finish()
    answer = tuple(rig.answers[SequenceId(1)])

    rig.submit(sequence(2, (*PROMPT * 10, *answer, 5)))
    rig.finish()

    assert rig.finishes[SequenceId(1)] == "stop"
    assert grammar.pushed == list(answer)
    assert rig.cached[SequenceId(2)] == 30 + len(answer)
    assert rig.failed == []


def test_a_grammar_that_fails_ends_its_own_sequence_for_good() -> None:
    """It is told once, with what was drawn before; the others go on, and its memory is free."""
    rig = Rig()
    rig.submit(sequence(1, PROMPT, grammar=Failing(HALVES, after=3, fail=limit)))
    rig.submit(sequence(2, PROMPT, grammar=Places(HALVES)))
    rig.submit(sequence(3, PROMPT))

    rig.finish()

    [failed] = rig.failed
    assert (failed.sequence, failed.permanent) == (SequenceId(1), True)
    assert "a limit was reached" in failed.reason
    assert tuple(rig.answers[SequenceId(1)]) == expected(PROMPT, 3, 1, grammar=Places(HALVES))
    assert tuple(rig.answers[SequenceId(2)]) == expected(PROMPT, 8, 2, grammar=Places(HALVES))
    assert tuple(rig.answers[SequenceId(3)]) == expected(PROMPT, 8, 3)
    assert rig.batch.pool.pinned_bytes == 0


class Listener(Actor[SubscriberMessage]):
    """Passes on what it hears."""

    def __init__(self, hear: Callable[[SubscriberMessage], None]) -> None:
        self._hear = hear

    async def on_message(self, message: SubscriberMessage) -> object:
        """Pass it on."""
        self._hear(message)
        return None


class Stage:
    """A scheduler, and what its submitter hears."""

    def __init__(self, before: Callable[[Plan], None] | None) -> None:
        self._heard: asyncio.Queue[SubscriberMessage] = asyncio.Queue()
        engine = InlineEngine(FakeBackend(vocabulary=VOCABULARY), before=before)
        limits = BatchLimits(VOCABULARY, 4_000, max_running=4, max_waiting=4, prefill_tokens=64)
        listening = partial(Listener, self._heard.put_nowait)
        scheduling = partial(Scheduler, engine, limits, 10_000_000)
        specs = [ChildSpec("listener", listening), ChildSpec("scheduler", scheduling)]
        self.root = Supervisor("root", specs)

    def submit(
        self, grammar: Grammar | None = None, answered: TokenIds = (), **sampling: float
    ) -> None:
        """Submit the prompt."""
        scheduler: ActorRef[SchedulerMessage] = self.root.ref("scheduler")
        scheduler.tell(
            Submit(
                sequence=new_sequence_id(),
                principal=LOCAL,
                tokens=PROMPT + answered,
                max_tokens=20,
                stop_ids=frozenset(),
                sampling=Sampling(seed=5, **sampling),  # type: ignore[arg-type]
                reply_to=self.root.ref("listener"),
                generated=len(answered),
                resumed=bool(answered),
                grammar=grammar,
            )
        )

    async def hear(self, count: int = 20) -> list[Generated | SequenceFailed]:
        """Wait for so many tokens, or a failure."""
        heard: list[Generated | SequenceFailed] = []
        async with asyncio.timeout(60):
            while len(heard) < count:
                news = await self._heard.get()
                if isinstance(news, Generated | SequenceFailed):
                    heard.append(news)
                if isinstance(news, SequenceFailed):
                    break
        return heard


@asynccontextmanager
async def running(before: Callable[[Plan], None] | None = None) -> AsyncIterator[Stage]:
    """Run a stage for the length of a test."""
    stage = Stage(before)
    task = asyncio.ensure_future(stage.root.run())
    await stage.root.started()
    try:
        yield stage
    finally:
        stage.root.drain(asyncio.get_running_loop().time() + 5.0)
        await task


def tokens_of(heard: list[Generated | SequenceFailed]) -> TokenIds:
    """List what was generated."""
    return tuple(token for news in heard if isinstance(news, Generated) for token in news.tokens)


@sim.simulated
async def test_an_answer_outlives_the_engine_in_its_grammar() -> None:
    """Submitted again with what was answered, it goes on as it would have."""
    steps: Iterator[int] = iter(range(1_000))

    def dies(_: Plan) -> None:
        if next(steps) == 8:
            message = "dead"
            raise RuntimeError(message)

    grammar = Places(HALVES)
    async with running(dies) as stage:
        stage.submit(grammar)
        answer = tokens_of(await stage.hear(8))
        await asyncio.sleep(5.0)
        stage.submit(grammar, answer)
        answer += tokens_of(await stage.hear(12))

    assert answer == expected(PROMPT, 20, 5, frozenset(), Places(HALVES))
    assert grammar.begun == [(), answer[:8]]


@sim.simulated
async def test_who_submitted_hears_that_a_grammar_failed_for_good() -> None:
    """An engine's other failures may pass; this one would come again."""
    async with running() as stage:
        stage.submit(Failing(HALVES, after=2, fail=limit))
        heard = await stage.hear()

    assert tokens_of(heard) == expected(PROMPT, 2, 5, frozenset(), Places(HALVES))
    assert isinstance(heard[-1], SequenceFailed)
    assert heard[-1].permanent


@sim.simulated
async def test_every_token_comes_with_its_log_probabilities() -> None:
    """From the first to the last, with a grammar or without; who asked for none has none."""
    for grammar in (None, Places(HALVES)):
        async with running() as stage:
            stage.submit(grammar, logprobs=4)
            heard = await stage.hear()
            stage.submit(grammar)
            silent = await stage.hear()

        answer = expected(PROMPT, 20, 5, frozenset(), grammar)
        assert tokens_of(heard) == tokens_of(silent) == answer
        for place, news in enumerate(heard):
            assert isinstance(news, Generated)
            favourites = expected(PROMPT + answer[:place], 1, 0)
            said = fake_logprobs(favourites[0], answer[place], VOCABULARY, 4)
            assert news.logprobs == (said,)
        assert not any(news.logprobs for news in silent if isinstance(news, Generated))

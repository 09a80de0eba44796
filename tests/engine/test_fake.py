"""The fake engine: same on every machine, on any loop, with faults on demand."""

import asyncio

from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY, Sampling
from semantic_actors.engine import (
    EngineDied,
    FakeBackend,
    Fed,
    Feed,
    Footprint,
    InlineEngine,
    Plan,
    Start,
    StepOutput,
    hashed_token,
)
from semantic_actors.engine.fake import allowed_token
from tests.engine.grammars import mask_of
from tests.sim import simulated

A = CacheId(1)
Output = StepOutput | EngineDied


def _feed(step: int, position: int = 0, count: int = 1) -> Plan:
    starts = (Start(A),) if position == 0 else ()
    return Plan(step, starts=starts, feeds=(Feed(A, position, (5,) * count, GREEDY),))


def test_the_hash_is_the_same_in_every_process() -> None:
    """These tokens are golden: a change of the hash changes every test that counts on it."""
    assert hashed_token((1, 2, 3), 1_000, GREEDY) == 471
    assert hashed_token((1, 2, 3), 1_000, Sampling(seed=1)) == 127


def test_a_script_decides() -> None:
    """`think` sees every token held, and its answer is what is drawn."""
    backend = FakeBackend(think=sum)

    [fed] = backend.launch(_feed(1, count=3))().results

    assert isinstance(fed, Fed)
    assert fed.token == 15


def test_a_grammar_moves_a_token_to_the_next_allowed_one() -> None:
    """Around the end of the vocabulary, if need be."""
    assert allowed_token(None, 7) == 7
    found = [allowed_token(mask_of((3, 40)), token) for token in (0, 3, 4, 40, 41)]
    assert found == [3, 3, 40, 40, 3]


def test_sizes_and_seconds_are_as_declared() -> None:
    """The size follows the footprint, the duration the cost per step and token."""
    backend = FakeBackend(
        footprint=Footprint(fixed_bytes=10, bytes_per_token=2, granularity=4),
        step_seconds=1.0,
        token_seconds=0.5,
    )

    output = backend.launch(_feed(1, count=5))()

    assert output.seconds == 3.5
    [fed] = output.results
    assert isinstance(fed, Fed)
    assert fed.size_bytes == 26


@simulated
async def test_outputs_come_later_and_in_order() -> None:
    """`submit` returns before anything is delivered; steps take their time one after another."""
    engine = InlineEngine(FakeBackend(token_seconds=1.0), delay_s=0.5)
    outputs: asyncio.Queue[Output] = asyncio.Queue()
    engine.attach(outputs.put_nowait)
    seen = []

    for position in range(3):
        engine.submit(_feed(position, position))

    assert outputs.empty()
    for _ in range(3):
        output = await outputs.get()
        assert isinstance(output, StepOutput)
        seen.append((output.step, asyncio.get_running_loop().time()))
    assert seen == [(0, 1.5), (1, 3.0), (2, 4.5)]


@simulated
async def test_attach_forgets_the_epoch_before() -> None:
    """What was submitted before an `attach` is neither done nor delivered."""
    engine = InlineEngine(FakeBackend())
    outputs: asyncio.Queue[Output] = asyncio.Queue()
    engine.attach(outputs.put_nowait)
    engine.submit(_feed(1))
    engine.submit(_feed(2, 1))

    engine.attach(outputs.put_nowait)
    engine.submit(_feed(3))

    output = await outputs.get()
    assert isinstance(output, StepOutput)
    assert output.step == 3
    assert outputs.empty()


@simulated
async def test_a_fault_kills_until_the_next_attach() -> None:
    """A step that raises is told once; later plans are lost; an `attach` revives."""

    def before(plan: Plan) -> None:
        if plan.step == 2:
            raise ZeroDivisionError

    engine = InlineEngine(FakeBackend(), before=before)
    outputs: asyncio.Queue[Output] = asyncio.Queue()
    engine.attach(outputs.put_nowait)
    for step in range(1, 5):
        engine.submit(_feed(step, step - 1))

    first, died = await outputs.get(), await outputs.get()
    engine.submit(_feed(5))
    engine.attach(outputs.put_nowait)
    engine.submit(_feed(6))

    assert isinstance(first, StepOutput)
    assert isinstance(died, EngineDied)
    assert "ZeroDivisionError" in died.reason
    revived = await outputs.get()
    assert isinstance(revived, StepOutput)
    assert revived.step == 6
    assert outputs.empty()

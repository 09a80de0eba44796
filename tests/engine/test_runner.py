"""The engine thread: epochs, death, leaving."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from semantic_actors.domain.errors import ModelLoadFailed
from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import (
    EngineDied,
    EngineThread,
    FakeBackend,
    Feed,
    Plan,
    Start,
    StepOutput,
    hashed_token,
)
from semantic_actors.engine.protocol import Collect, CollectLast, nothing
from tests.engine.driver import tokens_of

A = CacheId(1)
FATAL = Plan(13, drops=(CacheId(99),))
Output = StepOutput | EngineDied


class Gated(FakeBackend):
    """A backend that notes what is asked of it, and whose step 7 waits for `gate`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.entered = threading.Event()
        self.gate = threading.Event()

    def launch(self, plan: Plan, collect_last: CollectLast = nothing) -> Collect:
        """Note the step; wait, if it is the seventh."""
        self.calls.append(f"step {plan.step}")
        if plan.step == 7:
            collect_last()
            self.entered.set()
            assert self.gate.wait(30)
        return super().launch(plan)

    def reset(self) -> None:
        """Note it."""
        self.calls.append("reset")
        super().reset()

    def leave(self) -> None:
        """Note it."""
        self.calls.append("leave")


class Noting(FakeBackend):
    """A backend that notes in which order steps are launched and collected."""

    def __init__(self, step_seconds: float) -> None:
        super().__init__(step_seconds=step_seconds)
        self.order: list[str] = []

    def launch(self, plan: Plan, _: CollectLast = nothing) -> Collect:
        """Note both."""
        self.order.append(f"launch {plan.step}")
        collect = super().launch(plan)

        def noted() -> StepOutput:
            self.order.append(f"collect {plan.step}")
            return collect()

        return noted


class Stage:
    """An engine with its backend, and what was delivered."""

    def __init__(self) -> None:
        self.backend = Gated()
        self.loads = 0
        self.engine = EngineThread(self._load, asyncio.get_running_loop())
        self.outputs: asyncio.Queue[Output] = asyncio.Queue()

    def _load(self) -> Gated:
        self.loads += 1
        return self.backend

    async def next(self) -> Output:
        """Wait for the next delivery."""
        async with asyncio.timeout(30):
            return await self.outputs.get()

    async def entered(self) -> None:
        """Wait until step 7 has begun."""
        await asyncio.to_thread(self.backend.entered.wait, 30)


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    """Start an engine, which must leave no thread behind."""
    stage = Stage()
    await stage.engine.start()
    stage.engine.attach(stage.outputs.put_nowait)
    yield stage
    stage.backend.gate.set()
    assert await stage.engine.stop(30)
    assert "engine" not in {thread.name for thread in threading.enumerate()}


def _feed(step: int, position: int = 0) -> Plan:
    starts = (Start(A),) if position == 0 else ()
    return Plan(step, starts=starts, feeds=(Feed(A, position, (5,), GREEDY),))


@pytest.mark.asyncio
async def test_steps_are_done_in_order(stage: Stage) -> None:
    """Each plan submitted is delivered once, in order, with its result."""
    stage.engine.submit(_feed(1))
    stage.engine.submit(_feed(2, 1))

    first, second = await stage.next(), await stage.next()

    assert isinstance(first, StepOutput)
    assert isinstance(second, StepOutput)
    assert [first.step, second.step] == [1, 2]
    assert tokens_of(second) == [hashed_token((5, 5), 1_000, GREEDY)]


@pytest.mark.asyncio
async def test_a_step_is_delivered_while_the_next_is_launched(stage: Stage) -> None:
    """Where a launch takes as long as the step; the watchdog counts from then on."""
    stage.engine.submit(_feed(6))
    stage.engine.submit(_feed(7, 1))
    await stage.entered()

    first = await stage.next()

    assert isinstance(first, StepOutput)
    assert first.step == 6
    assert stage.engine.busy_since is not None
    assert stage.outputs.empty()


@pytest.mark.asyncio
async def test_the_next_plan_is_waited_for_while_a_step_is_under_way() -> None:
    """It is launched before that step is collected, though it comes after the step before."""
    backend = Noting(step_seconds=60.0)
    engine = EngineThread(lambda: backend, asyncio.get_running_loop())
    outputs: asyncio.Queue[Output] = asyncio.Queue()
    await engine.start()
    engine.attach(outputs.put_nowait)
    for plan in (_feed(1), _feed(2, 1)):
        engine.submit(plan)

    async with asyncio.timeout(20):
        await outputs.get()
        engine.submit(_feed(3, 2))
        await outputs.get()

    assert backend.order == ["launch 1", "launch 2", "collect 1", "launch 3", "collect 2"]
    assert await engine.stop(20)


@pytest.mark.asyncio
async def test_death_is_told_once_and_weights_survive(stage: Stage) -> None:
    """A step that raises ends the epoch with one `EngineDied`; `attach` goes on without a load."""
    for plan in (_feed(1), FATAL, _feed(2, 1), _feed(3, 2)):
        stage.engine.submit(plan)

    told = [await stage.next(), await stage.next()]
    stage.engine.submit(_feed(4))
    stage.engine.attach(stage.outputs.put_nowait)
    stage.engine.submit(_feed(5))

    assert isinstance(told[1], EngineDied)
    assert "BrokenLaw" in told[1].reason
    revived = await stage.next()
    assert isinstance(revived, StepOutput)
    assert revived.step == 5
    assert stage.outputs.empty()
    assert stage.loads == 1
    assert stage.backend.calls[:5] == ["reset", "reset", "step 1", "step 13", "leave"]
    assert stage.backend.calls[5] == "reset"


@pytest.mark.asyncio
async def test_attach_waits_for_the_step_in_hand(stage: Stage) -> None:
    """A slow step is neither doubled nor delivered: the new epoch's steps come after it."""
    stage.engine.submit(_feed(7))
    stage.engine.submit(_feed(8, 1))
    await stage.entered()

    stage.engine.attach(stage.outputs.put_nowait)
    stage.engine.submit(_feed(9))
    stage.backend.gate.set()

    output = await stage.next()
    assert isinstance(output, StepOutput)
    assert output.step == 9
    assert stage.backend.calls == ["reset", "reset", "step 7", "reset", "step 9"]


@pytest.mark.asyncio
async def test_attach_before_death_is_known(stage: Stage) -> None:
    """An epoch begun while the thread dies of the last one is served, and is not told of it."""
    stage.engine.submit(Plan(7, drops=(CacheId(99),)))
    await stage.entered()

    stage.engine.attach(stage.outputs.put_nowait)
    stage.engine.submit(_feed(9))
    stage.backend.gate.set()

    output = await stage.next()
    assert isinstance(output, StepOutput)
    assert output.step == 9
    assert stage.backend.calls[3:] == ["leave", "reset", "reset", "step 9"]


@pytest.mark.asyncio
async def test_stop_tells_when_it_could_not(stage: Stage) -> None:
    """A thread stuck in a step is not joined, and says so; later it still ends."""
    stage.engine.submit(_feed(7))
    await stage.entered()

    stuck = [await stage.engine.stop(0.01), stage.engine.busy_since is None]
    stage.backend.gate.set()
    done = [await stage.engine.stop(30), stage.engine.busy_since is None]

    assert stuck == [False, False]
    assert done == [True, True]
    assert stage.outputs.empty()


@pytest.mark.asyncio
async def test_a_stopped_engine_can_be_attached_again(stage: Stage) -> None:
    """Stopping keeps the weights; a new epoch starts a new thread."""
    assert await stage.engine.stop(30)

    stage.engine.attach(stage.outputs.put_nowait)
    stage.engine.submit(_feed(3))

    assert isinstance(await stage.next(), StepOutput)
    assert stage.loads == 1


@pytest.mark.asyncio
async def test_a_failed_load_is_raised_to_the_caller() -> None:
    """What loading raises comes out of `start`, and no thread is left."""

    def load() -> FakeBackend:
        raise ModelLoadFailed

    engine = EngineThread(load, asyncio.get_running_loop())

    with pytest.raises(ModelLoadFailed):
        await engine.start()

    assert "engine" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RuntimeError, match="has not loaded"):
        _ = engine.info


def test_a_closed_loop_ends_the_thread() -> None:
    """With nobody left to tell, the thread lets go of its resources and ends."""
    loop = asyncio.new_event_loop()
    backend = Gated()
    engine = EngineThread(lambda: backend, loop)
    loop.run_until_complete(engine.start())
    engine.attach(lambda _: None)
    engine.submit(_feed(7))
    assert backend.entered.wait(30)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "engine"]

    loop.close()
    backend.gate.set()
    thread.join(30)

    assert not thread.is_alive()
    assert backend.calls[-1] == "leave"


EXIT = """
    import asyncio, sys
    from semantic_actors.engine import EngineDied, EngineThread, Feed, Plan, Start
    from semantic_actors.domain.request import GREEDY
    from tests.engine import tiny

    async def main(dies: bool) -> None:
        engine = EngineThread(lambda: tiny.backend("llama"), asyncio.get_running_loop())
        outputs = asyncio.Queue()
        await engine.start()
        engine.attach(outputs.put_nowait)
        if dies:
            engine.submit(Plan(1, drops=(9,)))
            assert isinstance(await outputs.get(), EngineDied)
            engine.attach(outputs.put_nowait)
        engine.submit(Plan(2, starts=(Start(1),), feeds=(Feed(1, 0, (1, 2, 3), GREEDY),)))
        assert (await outputs.get()).results[0].token is not None
        assert await engine.stop(30)

    asyncio.run(main(sys.argv[1] == "dies"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lives", "dies"])
def test_every_exit_is_clean(how: str) -> None:
    """A process whose engine stopped, or died and was revived, exits with 0; ten times of ten."""
    command = [sys.executable, "-c", textwrap.dedent(EXIT), how]

    codes = [
        subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode  # noqa: S603
        for _ in range(10)
    ]

    assert codes == [0] * 10


@pytest.mark.asyncio
async def test_a_real_model_survives_its_thread() -> None:
    """After a death the same weights answer the same on another thread."""
    from tests.engine import tiny  # noqa: PLC0415 (mlx belongs to this test only)

    loads: list[Callable[[], object]] = []

    def load() -> object:
        loads.append(load)
        return tiny.backend("llama")

    engine = EngineThread(load, asyncio.get_running_loop())  # type: ignore[arg-type]
    outputs: asyncio.Queue[Output] = asyncio.Queue()
    tokens = []
    await engine.start()
    for _ in range(3):
        engine.attach(outputs.put_nowait)
        engine.submit(_feed(1))
        engine.submit(FATAL)
        output, died = await outputs.get(), await outputs.get()
        assert isinstance(died, EngineDied)
        tokens += tokens_of(output)

    assert len(set(tokens)) == 1
    assert len(loads) == 1
    assert await engine.stop(30)

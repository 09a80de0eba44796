"""Laws of the pace: a pure object, driven by machines that are a formula."""

import random
from collections import deque
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import Feed
from semantic_actors.scheduling.pace import ALONE, LEAST_TOKENS, Pace, Work

TARGET_S = 0.1


@dataclass
class Machine:
    """A step costs `base_s`, and each prompt token `token_s`.

    Attention adds `attention` times as much for each token before it: 1 / (6 * width) in theory.
    """

    base_s: float
    token_s: float
    attention: float = 0.0
    overlaps: bool = False
    """The first rows cost nothing, as on a GPU that reads weights more slowly than it computes."""

    def seconds(self, load: Work) -> float:
        """Time a step."""
        prompt_s = load.prefill_tokens * self.token_s * (1 + self.attention * load.depth)
        return max(self.base_s, prompt_s) if self.overlaps else self.base_s + prompt_s


@dataclass
class Reading:
    """One prompt read at a pace, `ahead` steps planned before the first of them is heard of."""

    pace: Pace
    machine: Machine
    ahead: int = 0
    depth: int = 0
    noise: random.Random | None = None
    steps: list[tuple[int, float]] = field(default_factory=list)
    _unheard: deque[tuple[Work, float]] = field(default_factory=deque)

    def run(self, count: int, rows: int = 1) -> list[tuple[int, float]]:
        """Make `count` steps; tokens and seconds of each."""
        for _ in range(count):
            load = Work(self.pace.budget(rows, self.depth), rows, self.depth)
            seconds = self.machine.seconds(load)
            if self.noise is not None:
                slow = 5.0 if self.noise.random() < 0.05 else 1.0
                seconds *= slow * self.noise.uniform(0.9, 1.1)
            self.steps.append((load.prefill_tokens, seconds))
            self.depth += load.prefill_tokens
            self._unheard.append((load, seconds))
            if len(self._unheard) > self.ahead:
                self.pace.observe(*self._unheard.popleft())
        return self.steps[-count:]


def decoded(pace: Pace, machine: Machine, rows: int = 1) -> None:
    """Let it see what a step takes without a prompt."""
    for _ in range(5):
        pace.observe(Work(0, rows), machine.seconds(Work(0, rows)))


machines = st.builds(
    Machine,
    base_s=st.floats(0.001, 0.05),
    token_s=st.floats(1e-5, 3e-3),
    attention=st.floats(0, 5e-4),
    overlaps=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(machine=machines, ahead=st.integers(0, 2), warm=st.booleans())
def test_steps_come_to_take_the_target(machine: Machine, ahead: int, *, warm: bool) -> None:
    """Within twenty plans on any machine, and from there on to the end of a long prompt."""
    pace = Pace(TARGET_S, 4_096)
    if warm:
        decoded(pace, machine)
    reading = Reading(pace, machine, ahead)
    reading.run(20 * (ahead + 1))

    for tokens, seconds in reading.run(60):
        if tokens not in (LEAST_TOKENS, 4_096):
            assert TARGET_S * 0.75 <= seconds <= TARGET_S * 1.25


@settings(max_examples=300, deadline=None)
@given(machines, st.integers(0, 2))
def test_no_step_on_the_way_is_twice_the_target(machine: Machine, ahead: int) -> None:
    """It feels its way up; only a machine too slow for the least chunk takes longer."""
    reading = Reading(Pace(TARGET_S, 4_096), machine, ahead)

    for tokens, seconds in reading.run(100):
        assert tokens == LEAST_TOKENS or seconds <= 2 * TARGET_S


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_it_follows_a_change_of_speed_down_and_up(ahead: int) -> None:
    """A machine that becomes four times slower, or faster, is followed within a few steps."""
    machine = Machine(0.01, 2e-4)
    reading = Reading(Pace(TARGET_S, 4_096), machine, ahead)
    reading.run(30)

    machine.token_s *= 4
    slow = reading.run(10)
    assert sum(seconds > 1.2 * TARGET_S for _, seconds in slow) <= 2 + ahead

    machine.token_s /= 4
    fast = reading.run(12)
    assert fast[-1][1] >= 0.9 * TARGET_S


def test_one_slow_step_changes_nothing() -> None:
    """A hiccup is not a slow machine: the next budget is that of before."""
    pace = Pace(TARGET_S, 4_096)
    Reading(pace, Machine(0.01, 2e-4)).run(20)
    before = pace.budget(1)

    pace.observe(Work(before, 1), 5.0)

    assert pace.budget(1) == pytest.approx(before, rel=0.02)


@given(st.integers(0, 2**32))
def test_noise_is_averaged_out(seed: int) -> None:
    """With ten percent of noise and hiccups five times as long the typical step is the target."""
    reading = Reading(Pace(TARGET_S, 4_096), Machine(0.01, 2e-4), noise=random.Random(seed))
    reading.run(20)

    typical = sorted(seconds for _, seconds in reading.run(60))[30]

    assert typical == pytest.approx(TARGET_S, rel=0.2)


def test_a_prompt_that_goes_on_deep_in_a_conversation_stalls_nobody() -> None:
    """What a token cost at the beginning says little at its thirty-thousandth: careful at first."""
    machine = Machine(0.01, 1e-4, attention=2e-4)
    pace = Pace(TARGET_S, 4_096)
    Reading(pace, machine).run(10)

    steps = Reading(pace, machine, ahead=1, depth=30_000).run(20)

    assert max(seconds for _, seconds in steps) <= 1.2 * TARGET_S
    assert steps[-1][1] >= 0.85 * TARGET_S


def test_a_prompt_alone_takes_larger_steps() -> None:
    """Nobody waits for a token: a step takes a few targets, so that a newcomer joins soon."""
    machine = Machine(0.01, 2e-4)
    reading = Reading(Pace(TARGET_S, 100_000), machine)
    decoded(reading.pace, machine)

    alone = reading.run(20, rows=0)[-1][1]
    joined = reading.run(3)

    assert alone == pytest.approx(ALONE * TARGET_S, rel=0.05)
    assert max(seconds for _, seconds in joined) <= 1.05 * TARGET_S


def test_a_machine_that_misses_the_target_anyway_still_reads() -> None:
    """Where decoding alone takes two targets, prompts may make it four, not more."""
    machine = Machine(2 * TARGET_S, 1e-3)
    pace = Pace(TARGET_S, 4_096)
    decoded(pace, machine, rows=8)

    steps = Reading(pace, machine).run(20, rows=8)

    assert steps[-1][1] == pytest.approx(4 * TARGET_S, rel=0.05)


def test_fewer_rows_are_not_mistaken_for_many() -> None:
    """What eight rows took does not excuse a long step of one."""
    pace = Pace(TARGET_S, 4_096)
    decoded(pace, Machine(0.3, 0.0), rows=8)

    steps = Reading(pace, Machine(0.01, 1e-4)).run(20, rows=1)

    assert max(seconds for _, seconds in steps) <= 1.05 * TARGET_S


def test_splinters_teach_nothing() -> None:
    """The few tokens of a short turn say nothing of the speed of a long prompt."""
    pace = Pace(TARGET_S, 4_096)
    Reading(pace, Machine(0.01, 2e-4)).run(20)
    before = pace.budget(1)

    for _ in range(10):
        pace.observe(Work(LEAST_TOKENS - 1, 1), 0.09)

    assert pace.budget(1) == before


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 16), st.floats(0, 10), st.floats(0, 1e5))
    ),
    st.integers(1, 4_096),
    st.floats(0.001, 10),
)
def test_the_budget_is_always_between_its_bounds(
    steps: list[tuple[int, int, float, float]], largest: int, target_s: float
) -> None:
    """Whatever was observed, prompts go on, and no chunk is larger than allowed."""
    pace = Pace(target_s, largest)
    for tokens, rows, seconds, depth in steps:
        pace.observe(Work(tokens, rows, depth), seconds)

    for rows in (0, 1, 16):
        assert min(LEAST_TOKENS, largest) <= pace.budget(rows, 1e4) <= largest


def test_without_a_target_every_chunk_is_the_largest() -> None:
    """Nothing is measured then: the same requests make the same steps."""
    pace = Pace(inf, 512)
    pace.observe(Work(512, 1), 100.0)

    assert pace.budget(1) == pace.budget(0) == 512


def test_a_load_is_added_up_from_the_feeds() -> None:
    """Single tokens are decode rows; the depth is where chunks begin, by their length."""
    feeds = [
        Feed(CacheId(1), 900, (1,), GREEDY),
        Feed(CacheId(2), 0, (1,) * 30),
        Feed(CacheId(3), 400, (1,) * 10, GREEDY),
    ]

    assert Work.of(feeds) == Work(40, 1, 100.0)
    assert Work.of([]) == Work(0, 0, 0.0)

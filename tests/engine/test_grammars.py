"""The law of constrained answers, held by the fake and by the real backend alike."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.domain.ids import CacheId
from semantic_actors.domain.request import GREEDY, Sampling
from semantic_actors.engine import EngineThread, Fed, Feed, Plan, Start, StepOutput
from semantic_actors.engine.guided import Guided
from semantic_actors.engine.protocol import Backend, EngineDied
from tests.engine import tiny
from tests.engine.ahead import STEPS, Row, alone, hear, play
from tests.engine.backends import ALL
from tests.engine.grammars import FAILURES, Failing, Places, bug, limit, mask_of

WARM = Sampling(temperature=1.0, seed=7)
EVEN, ODD = range(0, 320, 2), range(1, 320, 2)
FEW, HIGH = (3, 40, 200), range(290, 320)


def at_once() -> Backend:
    """Make a backend that takes a graph as a whole, as one on a GPU does."""
    backend = tiny.backend("llama", context=512)
    backend._fills_slowly = False
    return backend


BACKENDS = ALL | {
    "llama at once": at_once,
    "gpt_bigcode": lambda: tiny.backend("gpt_bigcode", context=512),
}
"""All ways of a forward are among them."""


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest) -> Backend:
    """Make a backend."""
    return BACKENDS[request.param]()


@pytest.fixture
def backend(made: Backend) -> Backend:
    """Take a backend, empty."""
    made.reset()
    return made


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_every_token_is_one_that_the_grammar_allows(
    backend: Backend,
    sampling: Sampling,
    told: bool,  # noqa: FBT001
) -> None:
    """Place by place, though the step that draws a token is launched before the last is known."""
    grammar = Places((FEW, EVEN, None, ODD, HIGH))
    row = Row(tiny.words(1, 30), grammar, sampling)

    play(backend, row, told=told)

    assert len(row.drawn) == STEPS
    assert all(token in (grammar.at(place) or [token]) for place, token in enumerate(row.drawn))
    assert grammar.pushed == row.drawn[:-1]
    assert tuple(row.drawn) == alone(backend, row, ahead=False)


def test_the_likeliest_allowed_token_is_drawn(backend: Backend) -> None:
    """Among the tokens that the grammar leaves, nothing changes."""
    asked = Sampling(temperature=0.0, logprobs=20)
    free = Row(tiny.words(1, 30), None, asked)
    play(backend, free, steps=1)
    assert free.logprobs[0] is not None
    ranked = [token for token, _ in free.logprobs[0].top]

    for best in ranked[:5]:
        allowed = ranked[ranked.index(best) :]
        assert alone(backend, Row(free.prompt, Places((allowed,))), steps=1) == (best,)


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
def test_who_has_no_grammar_does_not_notice(backend: Backend, sampling: Sampling) -> None:
    """Beside constrained rows, the others draw what they draw alone; and the other way round."""
    rows = [
        Row(tiny.words(1, 30), None, sampling),
        Row(tiny.words(2, 31), Places((FEW, ODD)), sampling),
        Row(tiny.words(3, 29), None, GREEDY),
        Row(tiny.words(4, 30), Places((EVEN, None)), sampling),
        Row(tiny.words(5, 30), Places((None,)), sampling),
    ]

    play(backend, *rows)

    assert [tuple(row.drawn) for row in rows] == [alone(backend, row) for row in rows]
    assert tuple(rows[4].drawn) == alone(backend, replace(rows[4], grammar=None))


def test_an_answer_goes_on_where_it_was(backend: Backend) -> None:
    """Handed its answer so far, on a new cache, a row draws the rest of the unbroken answer."""
    grammar = Places((FEW, EVEN, ODD, HIGH))
    unbroken = Row(tiny.words(1, 30), grammar, WARM)
    play(backend, unbroken)

    for held in (1, 4, STEPS - 1):
        rest = replace(unbroken, answered=tuple(unbroken.drawn[:held]), sampling=WARM)
        assert unbroken.drawn[held:] == list(alone(backend, rest, steps=STEPS - held))


def test_rows_may_miss_steps_and_begin_with_a_chunk(backend: Backend) -> None:
    """A row that is not fed for a while, or prefilled in parts, knows what it drew last."""
    places = (FEW, EVEN, ODD, HIGH)
    rows = [
        Row(tiny.words(1, 30), Places(places), WARM, skipped=frozenset({2, 3, 6})),
        Row(tiny.words(2, 30), Places(places), WARM, skipped=frozenset({0, 1, 3})),
        Row(tiny.words(3, 30), Places(places), WARM, skipped=frozenset({0, 1}), chunk=21),
        Row(tiny.words(4, 30), None, WARM, skipped=frozenset({5, 6})),
    ]

    play(backend, *rows)

    assert [len(row.drawn) for row in rows] == [6, 6, 6, 7]
    for row in rows:
        whole = alone(backend, replace(row, skipped=frozenset(), chunk=0), steps=len(row.drawn))
        assert tuple(row.drawn) == whole


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_grammar_that_cannot_go_on_loses_its_own_row(
    backend: Backend,
    after: int,
    told: bool,  # noqa: FBT001
) -> None:
    """What was drawn before is heard; the row fails for good, and nobody else notices."""
    sound = [Row(tiny.words(1, 30), Places((FEW, EVEN))), Row(tiny.words(3, 29))]
    failing = [
        Row(tiny.words(place, 31), Failing((ODD,), after=after, fail=fail))
        for place, fail in enumerate(FAILURES.values(), 5)
    ]

    play(backend, sound[0], *failing, sound[1], told=told)

    for row in failing:
        assert len(row.drawn) == after
        assert len(row.failed) == STEPS - after
        [failed] = set(row.failed)
        assert failed.permanent
        assert "grammar" in failed.reason
        assert "secret" not in failed.reason
    assert [row.failed for row in sound] == [[], []]
    assert [tuple(row.drawn) for row in sound] == [alone(backend, row) for row in sound]


@pytest.mark.parametrize("fail", [limit, bug])
def test_a_grammar_that_cannot_begin_loses_its_own_row(
    backend: Backend, fail: Callable[[], bytes]
) -> None:
    """As one that cannot go on; its cache can be dropped, and its id used again."""
    failing = Row(tiny.words(1, 30), Failing((None,), fail=fail, begins=False))
    other = Row(tiny.words(2, 30), Places((FEW, ODD)))

    play(backend, failing, other)

    assert (failing.drawn, len(failing.failed)) == ([], STEPS)
    backend.launch(Plan(1, drops=(CacheId(1),)))()
    again = Row(tiny.words(1, 30))
    play(backend, again)
    assert tuple(again.drawn) == alone(backend, again)
    assert tuple(other.drawn) == alone(backend, other)


@pytest.mark.parametrize("take", [False, True])
def test_a_cache_started_from_a_constrained_one_is_free(
    backend: Backend,
    take: bool,  # noqa: FBT001
) -> None:
    """The grammar is the answer's, not the cache's: neither a fork nor a heir has it."""
    grammar = Places((FEW,))
    row = Row(tiny.words(1, 30), grammar)
    play(backend, row, steps=3)
    held = row.prompt + tuple(row.drawn[:2])
    told = len(grammar.pushed)

    heir = CacheId(9)
    feed = Feed(heir, len(held), (5,), GREEDY)
    starts = (Start(heir, CacheId(1), len(held), take=take),)
    [result] = backend.launch(Plan(1, starts=starts, feeds=(feed,)))().results

    assert isinstance(result, Fed)
    assert (result.token,) == alone(backend, Row((*held, 5)), steps=1)
    assert result.token not in FEW
    assert len(grammar.pushed) == told


def test_a_constrained_row_is_dropped_in_flight(backend: Backend) -> None:
    """Its last token is heard, and told to nobody; who takes its id has nothing of its."""
    grammar = Places((FEW,))
    going = Row(tiny.words(1, 30), grammar)
    first = backend.launch(Plan(1, starts=(Start(CacheId(1)),), feeds=(going.feed(CacheId(1)),)))
    fresh = Row(tiny.words(2, 30))

    plan = Plan(2, (CacheId(1),), (Start(CacheId(1)),), (fresh.feed(CacheId(1)),))
    second = backend.launch(plan)
    hear([going], first)
    hear([fresh], second)

    assert going.drawn[0] in FEW
    assert grammar.pushed == []
    assert tuple(fresh.drawn) == alone(backend, fresh, steps=1)


def test_neither_bias_nor_penalty_revives_a_forbidden_token(backend: Backend) -> None:
    """A grammar is stronger than an order to say something else."""
    ordered = msgspec.structs.replace(
        WARM, logit_bias=((7, 100.0), (9, 100.0)), presence_penalty=-2.0, repetition_penalty=0.5
    )
    rows = [Row(tiny.words(1, 30), Places((FEW, EVEN, ODD)), ordered), Row((7, 9), None, ordered)]

    play(backend, *rows)

    places = Places((FEW, EVEN, ODD))
    assert all(token in (places.at(place) or ()) for place, token in enumerate(rows[0].drawn))
    assert [tuple(row.drawn) for row in rows] == [alone(backend, row) for row in rows]


def test_log_probabilities_are_the_model_s_own(backend: Backend) -> None:
    """Every token has them, the first too; a grammar decides what is drawn, and not how likely."""
    asked = Sampling(temperature=1.0, seed=3, logprobs=5)
    free = Row(tiny.words(1, 30), None, asked)
    bound = Row(tiny.words(1, 30), Places((FEW, ODD)), asked)

    play(backend, Row(tiny.words(2, 30)), free, bound)

    for row in (free, bound):
        assert [said.token for said in row.logprobs if said] == row.drawn
        for said in row.logprobs:
            assert said is not None
            assert len(said.top) == 5
            values = [value for _, value in said.top]
            assert values == sorted(values, reverse=True)
            assert max(said.chosen, values[0]) <= 0
            assert said.chosen == pytest.approx(dict(said.top).get(said.token, said.chosen))
            assert said.chosen <= values[0] + 1e-5
    assert free.logprobs[0] is not None
    assert bound.logprobs[0] is not None
    assert dict(free.logprobs[0].top) == pytest.approx(dict(bound.logprobs[0].top), abs=1e-4)


def test_a_mask_is_cut_to_the_vocabulary() -> None:
    """What it says of tokens that are none is of no account; what it does not say, it forbids."""
    masks = {token: Guided(Places(((token, 310),)), (), 301).mask() for token in (0, 31, 300)}

    assert all(mask and len(mask) == 40 for mask in masks.values())
    with pytest.raises(GrammarFailed):
        Guided(Places(((301, 310),)), (), 301).mask()


@pytest.mark.parametrize("name", ["llama", "llama at once"])
@pytest.mark.parametrize("bound", [True, False])
def test_only_a_guide_waits_for_the_step_before(
    name: str,
    bound: bool,  # noqa: FBT001
) -> None:
    """It is asked once that is collected.

    Where no row has a grammar, a device that takes a graph as a whole is not waited for.
    """
    backend = BACKENDS[name]()
    order: list[str] = []

    def asked() -> bytes:
        order.append("asked")
        return mask_of(FEW)

    row = Row(tiny.words(1, 30), Failing((FEW,), after=1, fail=asked) if bound else None)
    first = backend.launch(Plan(1, starts=(Start(CacheId(1)),), feeds=(row.feed(CacheId(1)),)))
    plan = Plan(2, feeds=(row.feed(CacheId(1)),))

    second = backend.launch(plan, lambda: order.append("collected"))

    hear([row], first)
    hear([row], second)
    assert order[:2] == (["collected", "asked"] if bound else ["collected"] * (name == "llama"))


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["fake", "llama", "llama at once"])
async def test_a_guide_lives_on_the_engine_thread(name: str) -> None:
    """It is begun, asked and told there alone, and the thread outlives what it raises."""
    engine = EngineThread(BACKENDS[name], asyncio.get_running_loop())
    outputs: asyncio.Queue[StepOutput | EngineDied] = asyncio.Queue()
    await engine.start()
    [thread] = [one.ident for one in threading.enumerate() if one.name == "engine"]
    engine.attach(outputs.put_nowait)
    grammar = Places((FEW, ODD))
    good = Row(tiny.words(1, 30), grammar)
    bad = Row(tiny.words(2, 30), Failing((EVEN,), after=2, fail=FAILURES["a panic"]))
    for step in range(STEPS):
        starts = () if step else (Start(CacheId(1)), Start(CacheId(2)))
        feeds = (good.feed(CacheId(1)), bad.feed(CacheId(2)))
        engine.submit(Plan(step, starts=starts, feeds=feeds))

    for _ in range(STEPS):
        async with asyncio.timeout(30):
            output = await outputs.get()
        assert isinstance(output, StepOutput)
        for row, result in zip((good, bad), output.results, strict=True):
            row.hear(result)

    assert grammar.threads == {thread}
    assert (len(good.drawn), len(bad.drawn), len(bad.failed)) == (STEPS, 2, STEPS - 2)
    assert await engine.stop(30)

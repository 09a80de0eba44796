"""The protocol's law, held by the fake and by the real backend alike."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantic_actors.domain.ids import CacheId, TokenIds
from semantic_actors.domain.request import GREEDY, Sampling
from semantic_actors.engine import BrokenLaw, Fed, Feed, Plan, Start
from semantic_actors.engine.protocol import Backend, Export, Load
from semantic_actors.kv.layout import Rows
from tests.engine import tiny
from tests.engine.backends import ALL, CUTTABLE, LASTING
from tests.engine.driver import Driver
from tests.engine.grammars import Places

WARM = Sampling(temperature=1.0, seed=7)
A, B, C = CacheId(101), CacheId(102), CacheId(103)


@pytest.fixture(scope="module", params=CUTTABLE)
def cuttable(request: pytest.FixtureRequest) -> Backend:
    """Make a backend whose caches can be cut anywhere."""
    return CUTTABLE[request.param]()


@pytest.fixture(scope="module", params=LASTING)
def lasting(request: pytest.FixtureRequest) -> Backend:
    """Make a backend whose long caches cannot be cut."""
    return LASTING[request.param]()


@pytest.fixture(scope="module", params=ALL)
def any_backend(request: pytest.FixtureRequest) -> Backend:
    """Make any backend."""
    return ALL[request.param]()


@pytest.fixture
def driver(any_backend: Backend) -> Driver:
    """Take any backend, empty, and drive it."""
    any_backend.reset()
    return Driver(any_backend)


BROKEN = {
    "drop unknown": Plan(1, drops=(B,)),
    "drop twice": Plan(1, drops=(A, A)),
    "start held": Plan(1, starts=(Start(A),)),
    "start twice": Plan(1, starts=(Start(B), Start(B))),
    "start from unknown": Plan(1, starts=(Start(B, C, 1),)),
    "start from dropped": Plan(1, drops=(A,), starts=(Start(B, A, 40),)),
    "start from taken": Plan(1, starts=(Start(B, A, 40, take=True), Start(C, A, 40))),
    "start onto its own source": Plan(1, starts=(Start(A, A, 40, take=True),)),
    "keep of nothing": Plan(1, starts=(Start(B, None, 1),)),
    "keep too much": Plan(1, starts=(Start(B, A, 41),)),
    "keep less than nothing": Plan(1, starts=(Start(B, A, -1),)),
    "export unknown": Plan(1, exports=(Export(B, 0, 1),)),
    "export beyond the end": Plan(1, exports=(Export(A, 0, 41),)),
    "export nothing": Plan(1, exports=(Export(A, 3, 3),)),
    "load unknown": Plan(1, loads=(Load(B, 0, 1, (Rows(0, 1, b""),)),)),
    "load elsewhere": Plan(1, loads=(Load(A, 39, 41, (Rows(39, 41, b""),)),)),
    "load with a gap": Plan(1, loads=(Load(A, 40, 42, (Rows(41, 42, b""),)),)),
    "load too little": Plan(1, loads=(Load(A, 40, 42, (Rows(40, 41, b""),)),)),
    "load past the context": Plan(1, loads=(Load(A, 40, 513, (Rows(40, 513, b""),)),)),
    "load and feed": Plan(
        1, loads=(Load(A, 40, 41, (Rows(40, 41, b""),)),), feeds=(Feed(A, 40, (1,)),)
    ),
    "feed unknown": Plan(1, feeds=(Feed(B, 0, (1,)),)),
    "feed dropped": Plan(1, drops=(A,), feeds=(Feed(A, 40, (1,)),)),
    "feed twice": Plan(1, feeds=(Feed(A, 40, (1,)), Feed(A, 41, (1,)))),
    "feed too early": Plan(1, feeds=(Feed(A, 39, (1,)),)),
    "feed too late": Plan(1, feeds=(Feed(A, 41, (1,)),)),
    "feed nothing": Plan(1, feeds=(Feed(A, 40, ()),)),
    "feed a negative token": Plan(1, feeds=(Feed(A, 40, (1, -1)),)),
    "feed an unknown token": Plan(1, feeds=(Feed(A, 40, (320,)),)),
    "feed a history for nothing": Plan(1, feeds=(Feed(A, 40, (1,), history=((1,), ())),)),
    "feed a grammar for nothing": Plan(
        1, feeds=(Feed(A, 40, (1,), constraint=(Places((None,)), ())),)
    ),
    "feed past the context": Plan(1, feeds=(Feed(A, 40, (1,) * 473),)),
}


@pytest.mark.parametrize("plan", BROKEN.values(), ids=BROKEN)
def test_a_broken_plan_is_refused_whole(any_backend: Backend, plan: Plan) -> None:
    """A plan that breaks a law raises before anything is done: its caches go on as they were."""
    any_backend.reset()
    head = tiny.words(1, 40)
    any_backend.launch(Plan(1, starts=(Start(A),), feeds=(Feed(A, 0, head),)))()

    with pytest.raises(BrokenLaw):
        any_backend.launch(plan)()

    after = any_backend.launch(Plan(2, feeds=(Feed(A, 40, (1,), GREEDY),)))().results
    driver = Driver(any_backend)
    assert [driver.token(driver.new(), (*head, 1), GREEDY)] == [
        fed.token for fed in after if isinstance(fed, Fed)
    ]


def test_a_cache_below_its_floor_is_refused(lasting: Backend) -> None:
    """What cannot be cut says so in its floor, and a start below it is refused."""
    lasting.reset()
    driver = Driver(lasting)
    cache = driver.new()

    floor = driver.feed(cache, tiny.words(1, 40)).floor

    assert floor == 40
    with pytest.raises(BrokenLaw):
        driver.new(cache, 39)


def test_a_plan_is_done_in_order(driver: Driver) -> None:
    """Drops come before starts, starts before feeds; a start may use what an earlier one made."""
    old = driver.new()
    driver.feed(old, (1, 2))

    output = driver.backend.launch(
        Plan(
            7,
            drops=(old,),
            starts=(Start(A), Start(B, A, 0), Start(old)),
            feeds=(Feed(old, 0, (3,), GREEDY), Feed(A, 0, (3,), GREEDY), Feed(B, 0, (4,))),
        )
    )()

    first, second, third = output.results
    assert output.step == 7
    assert [old, A, B] == [result.cache for result in output.results]
    assert isinstance(first, Fed)
    assert isinstance(second, Fed)
    assert first.token == second.token
    assert isinstance(third, Fed)
    assert third.token is None


def test_a_prefix_alone_decides(driver: Driver) -> None:
    """However a prefix came into a cache, the same token follows."""
    prompt = tiny.words(2, 90)
    whole, chunked, interleaved, other = (driver.new() for _ in range(4))

    expected = driver.token(whole, prompt, GREEDY)
    driver.feed(chunked, prompt[:1])
    driver.feed(chunked, prompt[1:50])
    for i in range(50, 60):
        driver.feed(chunked, prompt[i : i + 1])
    for i in range(0, 80, 10):
        driver.step({interleaved: prompt[i : i + 10], other: tiny.words(i, 5)})

    assert expected == driver.token(chunked, prompt[60:], GREEDY)
    assert expected == driver.token(interleaved, prompt[80:], GREEDY)


def test_a_copy_is_independent(driver: Driver) -> None:
    """A fork and its source go their own ways, and each way is what a single run gives."""
    head, left, right = tiny.words(3, 40), tiny.words(4, 20), tiny.words(5, 20)
    source = driver.new()
    driver.feed(source, head)

    copy = driver.new(source, 40)
    driver.step({source: left[:10], copy: right[:10]})
    drawn = driver.step({source: left[10:], copy: right[10:]}, GREEDY)

    alone = [driver.token(driver.new(), head + tail, GREEDY) for tail in (left, right)]
    assert alone == [fed.token for fed in drawn if isinstance(fed, Fed)]


def test_a_taken_source_is_gone(driver: Driver) -> None:
    """A take moves the cache: its tokens go on under the new id, the old id is unknown."""
    head = tiny.words(3, 40)
    source = driver.new()
    driver.feed(source, head)

    moved = driver.new(source, 40, take=True)

    assert driver.token(driver.new(), (*head, 9), GREEDY) == driver.token(moved, (9,), GREEDY)
    with pytest.raises(BrokenLaw):
        driver.feed(source, (9,))


@pytest.mark.parametrize("take", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 150, 299])
def test_a_cut_forgets(cuttable: Backend, keep: int, take: bool) -> None:  # noqa: FBT001
    """A cache cut back to a prefix goes on as if the rest had never been fed."""
    cuttable.reset()
    driver = Driver(cuttable)
    head, tail = tiny.words(6, 300), tiny.words(7, 30)
    source = driver.new()
    driver.feed(source, head)

    cut = driver.new(source, keep, take=take)

    expected = driver.answer(driver.new(), head[:keep] + tail, 3, GREEDY)
    assert expected == driver.answer(cut, tail, 3, GREEDY)


@pytest.mark.parametrize("keep", [1, 150, 299, 300])
def test_a_shared_beginning_is_nobodys_to_change(cuttable: Backend, keep: int) -> None:
    """Source and fork go their own ways from what both have behind them, and can be cut into it."""
    cuttable.reset()
    driver = Driver(cuttable)
    head, left, right = tiny.words(6, 300), tiny.words(7, 30), tiny.words(8, 30)
    source = driver.new()
    driver.feed(source, head)

    fork = driver.new(source, keep, share=True)
    after = driver.feed(source, left)
    answers = [driver.answer(fork, right, 3, GREEDY)]
    answers.append(driver.answer(source, right, 3, GREEDY))
    again = driver.new(source, 100, take=True)
    answers.append(driver.answer(again, right, 3, GREEDY))

    expected = [head[:keep], head + left, head[:100]]
    assert after.frozen == (300 if driver.backend.info.footprint.share else 0)
    assert answers == [driver.answer(driver.new(), one + right, 3, GREEDY) for one in expected]


@pytest.mark.parametrize("name", ["fake", "llama", "nemotron-nas"])
def test_what_is_shared_occupies_memory_once(name: str) -> None:
    """A fork that shares costs what it adds."""
    driver = Driver(CUTTABLE[name]())
    source = driver.new()
    whole = driver.feed(source, tiny.words(6, 400)).size_bytes

    forks = [driver.new(source, 380, share=True) for _ in range(8)]
    sizes = [driver.feed(fork, (1, 2)).size_bytes for fork in forks]

    assert sum(sizes) <= 8 * driver.backend.info.footprint.size_bytes(2)
    assert max(sizes) < whole


@pytest.mark.parametrize(("copied", "stop"), [(300, 300), (300, 297), (1, 1), (256, 256)])
def test_loaded_rows_are_what_was_fed(cuttable: Backend, copied: int, stop: int) -> None:
    """A cache made of another's rows goes on as that one does, wherever its rows end."""
    cuttable.reset()
    driver = Driver(cuttable)
    head, tail = tiny.words(6, 300), tiny.words(7, 30)
    source, kept = driver.new(), driver.new()
    driver.feed(source, head)

    rows = driver.export(source, 0, copied)
    loaded = driver.load(kept, rows, stop)

    expected = driver.answer(driver.new(source, stop), tail, 3, GREEDY)
    assert expected == driver.answer(kept, tail, 3, GREEDY)
    assert loaded.floor == 0
    assert loaded.size_bytes <= driver.backend.info.footprint.size_bytes(stop)


def test_rows_are_loaded_behind_others(cuttable: Backend) -> None:
    """Rows may begin before the end of the cache that they go on from, and come in parts."""
    cuttable.reset()
    driver = Driver(cuttable)
    head, tail = tiny.words(6, 300), tiny.words(7, 30)
    source, kept = driver.new(), driver.new()
    driver.feed(source, head)
    driver.feed(kept, head[:90])

    rows = driver.export(source, 0, 300)
    driver.load(kept, rows[:1], 200)
    driver.load(kept, rows, 300)

    expected = driver.answer(source, tail, 3, GREEDY)
    assert expected == driver.answer(kept, tail, 3, GREEDY)


def test_rows_of_a_group_are_exported(cuttable: Backend) -> None:
    """Sequences that decode together are exported while they do, each with rows of its own."""
    cuttable.reset()
    driver = Driver(cuttable)
    heads = [tiny.words(6, 40), tiny.words(7, 37)]
    pair = [driver.new(), driver.new()]
    driver.step(dict(zip(pair, heads, strict=True)))
    for token in (1, 2, 3):
        driver.step(dict.fromkeys(pair, (token,)))

    exported = [driver.export(cache, 0, driver.positions[cache]) for cache in pair]

    for cache, head, rows in zip(pair, heads, exported, strict=True):
        kept = driver.new()
        driver.load(kept, rows, len(head) + 3)
        alone = driver.token(driver.new(), (*head, 1, 2, 3, 9), GREEDY)
        assert [alone] * 2 == [driver.token(one, (9,), GREEDY) for one in (kept, cache)]


def test_a_seed_and_a_position_decide(driver: Driver) -> None:
    """A resumed answer draws what the unbroken one drew; another seed draws otherwise."""
    prompt = tiny.words(8, 40)
    unbroken = driver.answer(driver.new(), prompt, 12, WARM)

    resumed = driver.answer(driver.new(), prompt + unbroken[:5], 7, WARM)
    other = driver.answer(driver.new(), prompt, 12, Sampling(temperature=1.0, seed=8))

    assert unbroken[5:] == resumed
    assert unbroken != other


def test_greedy_ignores_the_seed(driver: Driver) -> None:
    """At temperature 0 nothing is random."""
    prompt = tiny.words(9, 40)

    drawn = {
        driver.answer(driver.new(), prompt, 4, Sampling(temperature=0.0, seed=seed))
        for seed in (0, 1, -5)
    }

    assert len(drawn) == 1


def test_a_reset_drops_everything(driver: Driver) -> None:
    """After a reset no cache is known, and ids may begin anew."""
    cache = driver.new()
    driver.feed(cache, (1, 2))

    driver.backend.reset()

    with pytest.raises(BrokenLaw):
        driver.feed(cache, (3,))


def test_a_full_context_is_within_the_footprint(driver: Driver) -> None:
    """A cache never occupies more than the footprint says, up to the whole context."""
    cache, tokens = driver.new(), tiny.words(10, 512)
    bound = driver.backend.info.footprint.size_bytes

    for start in (0, 1, 2, 3, 100, 300, 511):
        stop = {0: 1, 1: 2, 2: 3, 3: 100, 100: 300, 300: 511, 511: 512}[start]
        fed = driver.feed(cache, tokens[start:stop])
        assert fed.size_bytes <= bound(stop)


@pytest.mark.slow
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_history_gives_the_same_answer(driver: Driver, data: st.DataObject) -> None:
    """Whatever was fed, forked and cut before, tokens held plus tokens fed decide the answer."""
    driver.backend.reset()
    cache, floor = driver.new(), 0
    held: TokenIds = ()
    bound = driver.backend.info.footprint.size_bytes
    for round_ in range(data.draw(st.integers(1, 5))):
        tokens = tiny.words(round_, data.draw(st.sampled_from([1, 2, 31, 33, 70])))
        fed = driver.feed(cache, tokens)
        held, floor = held + tokens, fed.floor
        assert fed.size_bytes <= bound(len(held))
        keep = data.draw(st.integers(floor, len(held)))
        take = data.draw(st.booleans())
        cache = driver.new(cache, keep, take=take, share=not take and data.draw(st.booleans()))
        held = held[:keep]

    expected = driver.token(driver.new(), (*held, 5), GREEDY)

    assert expected == driver.token(cache, (5,), GREEDY)

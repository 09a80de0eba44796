"""Laws of the plan: a pure function, so a law needs no engine."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.domain.ids import LOCAL, CacheId, SequenceId
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import Footprint
from semantic_actors.kv import Pool
from semantic_actors.scheduling.pace import EVEN_TOKENS, Pace, share_prefill
from semantic_actors.scheduling.plan import Decision, View, plan
from semantic_actors.scheduling.sequence import Sequence

wants = st.lists(st.integers(2, 5_000), min_size=1, max_size=20)
FOOTPRINT = Footprint(fixed_bytes=5, bytes_per_token=1, granularity=8)
CONTEXT = 200


def sequence(id_: int, tokens: list[int]) -> Sequence:
    """A greedy submission of up to 50 tokens."""
    return Sequence(
        id=SequenceId(id_),
        principal=LOCAL,
        tokens=tokens,
        prompt_tokens=len(tokens),
        max_tokens=50,
        stop_ids=frozenset(),
        sampling=GREEDY,
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    """A pool with idle caches, running sequences that may have outgrown it, and a queue."""
    prompts = st.lists(st.integers(0, 2), min_size=1, max_size=60)
    pool = Pool(draw(st.integers(80, 600)))
    running = []
    for number, tokens in enumerate(draw(st.lists(prompts, max_size=4)), 1):
        one = sequence(number, tokens)
        one.cache = CacheId(number)
        one.fed = draw(st.integers(0, len(tokens) - 1))
        one.reserved_tokens = draw(st.integers(one.fed, len(tokens) + 10))
        one.deaths = draw(st.integers(0, 1))
        reserved = FOOTPRINT.size_bytes(one.reserved_tokens)
        pool.open(one.cache, LOCAL, reserved_bytes=reserved)
        pool.grow(one.cache, tuple(tokens[: one.fed]), size_bytes=reserved, floor=0)
        running.append(one)
    for number, tokens in enumerate(draw(st.lists(prompts, max_size=5)), 101):
        floor = draw(st.sampled_from([0, len(tokens)]))
        pool.open(CacheId(number), LOCAL, reserved_bytes=0)
        size = FOOTPRINT.size_bytes(len(tokens))
        pool.grow(CacheId(number), tuple(tokens), size_bytes=size, floor=floor)
        pool.release(CacheId(number))
    waiting = [sequence(id_, t) for id_, t in enumerate(draw(st.lists(prompts, max_size=5)), 50)]
    return View(
        waiting=waiting,
        running=running,
        pool=pool,
        footprint=FOOTPRINT,
        context=CONTEXT,
        room=draw(st.integers(0, 6)),
        settled=draw(st.booleans()),
        pace=Pace(inf, draw(st.integers(1, 64))),
    )


def charge_after(view: View, decision: Decision) -> int:
    """What the pool would be charged once the decision is carried out."""
    used = view.pool.used_bytes
    used -= sum(view.pool[cache].charged_bytes for cache in decision.evicted)
    by_id = {one.id: one for one in view.running}
    for id_ in decision.preempted:
        cache = by_id[id_].cache
        assert cache is not None
        used -= view.pool[cache].charged_bytes
    for grant in decision.granted:
        before = FOOTPRINT.size_bytes(by_id[grant.sequence].reserved_tokens)
        used += FOOTPRINT.size_bytes(grant.tokens) - before
    for admission in decision.admitted:
        used += FOOTPRINT.size_bytes(admission.tokens)
        if admission.take:
            assert admission.match is not None
            used -= view.pool[admission.match.cache].charged_bytes
    return used


@given(views())
def test_it_never_promises_more_than_the_pool_holds(view: View) -> None:
    """Growth and admissions fit, unless the pool was overdrawn by running sequences alone."""
    decision = plan(view)

    overdrawn = view.pool.pinned_bytes > view.pool.budget_bytes
    assert overdrawn or charge_after(view, decision) <= view.pool.budget_bytes


@given(views())
def test_it_changes_nothing(view: View) -> None:
    """The same view twice gives the same decision."""
    assert plan(view) == plan(view)


@given(views())
def test_every_sequence_has_one_fate(view: View) -> None:
    """Running ones move, are parked, preempted or exhausted; whoever is admitted moves."""
    decision = plan(view)

    moving = [share.sequence for share in decision.shares]
    fates = [*moving, *decision.parked, *decision.preempted, *decision.exhausted]
    assert len(fates) == len(set(fates))
    running = {one.id for one in view.running}
    assert set(fates) == running | {admission.sequence for admission in decision.admitted}


@given(views())
def test_no_cache_is_used_in_two_ways(view: View) -> None:
    """What is evicted or taken is used for nothing else, and nothing pinned is either."""
    decision = plan(view)

    taken = [a.match.cache for a in decision.admitted if a.match and a.take]
    copied = [a.match.cache for a in decision.admitted if a.match and not a.take]
    gone = [*decision.evicted, *taken]
    assert len(gone) == len(set(gone))
    assert not set(gone) & set(copied)
    assert not any(view.pool[cache].pinned for cache in gone)


@given(views())
def test_a_match_can_be_cut_and_leaves_a_token_to_feed(view: View) -> None:
    """What is kept is a true prefix, at or above the cache's floor, short of the whole prompt."""
    tokens = {one.id: one.tokens for one in view.waiting}

    for admission in plan(view).admitted:
        if admission.match is not None:
            entry = view.pool[admission.match.cache]
            keep = admission.match.keep
            assert entry.floor <= keep < len(tokens[admission.sequence])
            assert entry.tokens[:keep] == tokens[admission.sequence][:keep]


@given(views())
def test_the_queue_is_served_in_order_and_one_suspect_at_a_time(view: View) -> None:
    """Admissions are a prefix of the queue; nobody is admitted past someone parked."""
    decision = plan(view)

    admitted = [admission.sequence for admission in decision.admitted]
    assert admitted == [one.id for one in view.waiting][: len(admitted)]
    assert not (admitted and decision.parked)


@given(wants, st.integers(1, 4_096))
def test_everyone_moves_and_nobody_gets_more_than_he_wants(unfed: list[int], budget: int) -> None:
    """Each prompt gets at least one token and at most what is left of it."""
    shares = share_prefill(unfed, budget)

    assert all(1 <= share <= want for share, want in zip(shares, unfed, strict=True))


@given(wants, st.integers(1, 4_096))
def test_the_budget_is_not_exceeded_and_half_of_it_is_spent(unfed: list[int], budget: int) -> None:
    """What one prompt leaves goes to the others; little is given away for even chunks."""
    shares = share_prefill(unfed, budget)

    most = min(sum(unfed), max(budget, len(unfed)))
    assert most // 2 <= sum(shares) <= most


@given(wants, st.integers(4 * EVEN_TOKENS, 4_096))
def test_no_chunk_is_silly(unfed: list[int], budget: int) -> None:
    """A large chunk is a multiple of 16, unless what is left is split in halves or taken whole."""
    for share, want in zip(share_prefill(unfed, budget), unfed, strict=True):
        assert want - share == 0 or want - share >= min(EVEN_TOKENS, want // 2)
        even = share % EVEN_TOKENS == 0 or share < 4 * EVEN_TOKENS
        assert even or share in (want, (want + 1) // 2)


@given(wants, st.integers(20, 4_096))
def test_a_short_prompt_is_not_stuck_behind_a_long_one(unfed: list[int], budget: int) -> None:
    """Whoever wants no more than an equal share is served whole."""
    shares = share_prefill(unfed, budget)

    equal = budget // len(unfed)
    assert all(share == want for share, want in zip(shares, unfed, strict=True) if want <= equal)

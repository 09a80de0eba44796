"""A beginning that several sequences have in common is held, computed and charged once."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_actors.domain.ids import SequenceId, TokenIds
from tests.scheduling.rig import FOOTPRINT, VOCABULARY, Rig, expected, sequence

PREFIX = 1_500


def words(seed: int, count: int) -> TokenIds:
    """Random token ids."""
    rng = random.Random(seed)
    return tuple(rng.randrange(VOCABULARY) for _ in range(count))


def rig(pool_bytes: int = 1_000_000, max_running: int = 16) -> Rig:
    """Make a batch for long prompts."""
    return Rig(pool_bytes=pool_bytes, context=4_000, prefill_tokens=512, max_running=max_running)


def test_sixteen_sessions_with_one_prefix_hold_it_once() -> None:
    """Memory is that of one prefix and the tails; the prefix is fed once."""
    all_ = rig()
    prefix = words(1, PREFIX)
    for id_ in range(1, 17):
        all_.submit(sequence(id_, (*prefix, id_, 2, 3), stop_ids=frozenset()))
    all_.finish()

    tails = 16 * FOOTPRINT.size_bytes(3 + 8)
    assert all_.batch.pool.used_bytes <= FOOTPRINT.size_bytes(PREFIX + 3) + tails
    assert all_.batch.fed_total == PREFIX + 16 * (3 + 8 - 1)


def test_a_pool_for_one_copy_serves_many() -> None:
    """Sequences that share are admitted together where copies of their prefix would not fit."""
    small = rig(pool_bytes=4_000)
    prefix = words(1, PREFIX)
    for id_ in range(1, 9):
        small.submit(sequence(id_, (*prefix, id_, 2, 3), stop_ids=frozenset()))
    together = 0
    while small.step():
        together = max(together, len(small.batch.running))

    assert together == 8
    assert len(small.finishes) == 8


def test_a_prefix_outlives_whoever_computed_it() -> None:
    """What another one has behind him is not evicted with the cache that it came from."""
    small = rig(pool_bytes=4_000)
    prefix = words(1, PREFIX)
    for id_ in (1, 2):
        small.submit(sequence(id_, (*prefix, id_, 2, 3), stop_ids=frozenset()))
        small.finish()
    small.submit(sequence(3, words(9, 2_000), max_tokens=2))
    small.finish()

    small.submit(sequence(4, (*prefix, 2, 2, 3, 4), stop_ids=frozenset()))
    small.finish()

    assert small.cached[SequenceId(4)] >= PREFIX
    assert tuple(small.answers[SequenceId(4)]) == expected((*prefix, 2, 2, 3, 4), 8, 4, frozenset())


def test_what_only_idle_caches_share_can_be_evicted() -> None:
    """Two idle caches over one span make room for another prompt, though neither would alone."""
    small = rig(pool_bytes=2_600)
    prefix = words(1, PREFIX)
    for id_ in (1, 2):
        small.submit(sequence(id_, (*prefix, id_, 2, 3), stop_ids=frozenset()))
    small.finish()

    small.submit(sequence(3, words(9, 2_400), max_tokens=2, stop_ids=frozenset()))
    small.finish()

    assert len(small.answers[SequenceId(3)]) == 2
    assert small.batch.pool.span_bytes == 0


def test_a_long_conversation_leaves_no_more_than_its_beginning() -> None:
    """When the cache that a short prefix came from is evicted, its long rest goes with it."""
    small = rig(pool_bytes=4_500)
    long = words(1, 2_500)
    small.submit(sequence(1, long, stop_ids=frozenset()))
    small.finish()
    small.submit(sequence(2, (*long[:300], 1, 2), stop_ids=frozenset()))
    small.finish()
    small.submit(sequence(3, (*long[:300], 3, 2), stop_ids=frozenset()))
    small.finish()

    small.submit(sequence(4, words(9, 3_000), max_tokens=2, stop_ids=frozenset()))
    small.finish()

    assert small.batch.pool.span_bytes <= 2 * FOOTPRINT.size_bytes(300)
    assert len(small.answers[SequenceId(4)]) == 2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), pool_bytes=st.sampled_from([1_700, 2_500, 6_000, 1_000_000]))
def test_sharing_changes_no_token(seed: int, pool_bytes: int) -> None:
    """Forks of idle and of running sequences, at any depth, in any order, with little memory."""
    rng = random.Random(seed)
    now = rig(pool_bytes, max_running=4)
    base = words(seed, 1_400)
    prompts: dict[int, TokenIds] = {}
    for id_ in range(1, 9):
        origin = rng.choice([base, *prompts.values()])
        fresh = words(rng.randint(0, 3), rng.choice([3, 40, 300]))
        prompts[id_] = (*origin[: rng.randint(1, 1_200)], *fresh)[:1_500]
        now.submit(sequence(id_, prompts[id_], max_tokens=rng.randint(1, 30)))
        for _ in range(rng.randint(0, 8)):
            now.step()
        if rng.random() < 0.15:
            now.step(between=SequenceId(rng.randint(1, id_)))
    now.finish()

    for id_, tokens in prompts.items():
        answer = tuple(now.answers.get(SequenceId(id_), ()))
        assert answer == expected(tokens, len(answer), seed=id_)
    assert now.batch.pool.pinned_bytes == 0

"""What caches held is in the store, and comes back instead of being computed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_actors.domain.ids import LOCAL, Principal, SequenceId, TokenIds
from semantic_actors.scheduling.notices import AdmittedNotice
from tests.scheduling.rig import VOCABULARY, Rig, Shelf, expected, sequence

ROW_BYTES = 4


def words(seed: int, count: int) -> TokenIds:
    """Random token ids."""
    rng = random.Random(seed)
    return tuple(rng.randrange(VOCABULARY) for _ in range(count))


def rig(shelf: Shelf, **options: int) -> Rig:
    """Make a batch over `shelf`, as after a restart."""
    settings = {"context": 3_000, "pool_bytes": 100_000, "prefill_tokens": 256} | options
    return Rig(shelf=shelf, **settings)  # type: ignore[arg-type]


def answer(rig: Rig, id_: int, tokens: TokenIds, principal: Principal = LOCAL) -> TokenIds:
    """Have a prompt answered."""
    rig.submit(sequence(id_, tokens, stop_ids=frozenset(), principal=principal))
    rig.finish()
    return tuple(rig.answers[SequenceId(id_)])


def test_a_conversation_survives_a_restart() -> None:
    """All that was fed comes from the store; only what is new is fed."""
    shelf, prompt = Shelf(), words(1, 700)
    first = answer(rig(shelf), 1, prompt)
    second = (*prompt, *first, *words(2, 20))

    after = rig(shelf)
    again = answer(after, 2, second)

    assert again == expected(second, 8, 2, frozenset())
    assert after.cached[SequenceId(2)] == len(prompt) + len(first) - 1
    assert after.batch.fed_total == len(second) - after.cached[SequenceId(2)] + len(again) - 1


def test_a_running_sequence_keeps_its_full_blocks() -> None:
    """Blocks go to the store while the answer is still being given."""
    shelf = Shelf()
    before = rig(shelf)
    before.submit(sequence(1, words(1, 1_000), max_tokens=50, stop_ids=frozenset()))
    for _ in range(6):
        before.step()
    assert before.answers

    assert shelf.look_up(LOCAL, words(1, 1_000)) == 768


def test_a_prompt_is_kept_while_it_is_read() -> None:
    """What was read of a prompt that nobody waits for any more, or that is killed, is stored."""
    shelf, prompt = Shelf(), words(1, 1_500)
    both = rig(shelf)
    both.submit(sequence(1, prompt, stop_ids=frozenset()))
    both.step()
    both.step()
    assert shelf.look_up(LOCAL, prompt) == 256
    both.step(between=SequenceId(1))
    both.finish()

    assert shelf.look_up(LOCAL, prompt) == both.batch.fed_total


def test_what_is_not_numbers_is_not_kept() -> None:
    """Rows that come without a buffer are not saved: they would be wrong for ever."""
    shelf, prompt = Shelf(), words(1, 700)
    both = rig(shelf)
    export = both.backend._export
    both.backend._export = lambda one: None if one.start == 256 else export(one)  # type: ignore[method-assign,assignment,return-value]

    answer(both, 1, prompt)

    assert shelf.look_up(LOCAL, prompt) == 256
    assert both.batch.keeping.clean
    assert both.batch.keeping.dirty_bytes == 0


def test_what_diverges_is_restored_up_to_there() -> None:
    """A prompt that shares a beginning with a stored path takes those tokens, and no more."""
    shelf, prompt = Shelf(), words(1, 700)
    answer(rig(shelf), 1, prompt)
    other = (*prompt[:601], *words(3, 50))

    after = rig(shelf)
    answer(after, 2, other)

    assert after.cached[SequenceId(2)] == shelf.look_up(LOCAL, prompt[:601]) == 601


def test_ram_is_asked_first() -> None:
    """What a cache holds is not read from the store."""
    shelf, prompt = Shelf(), words(1, 700)
    both = rig(shelf)
    first = answer(both, 1, prompt)

    answer(both, 2, (*prompt, *first, 1, 2, 3))

    assert shelf.fetched == 0
    assert both.cached[SequenceId(2)] == len(prompt) + len(first) - 1


def test_another_principal_finds_nothing() -> None:
    """The store is asked with the principal's name."""
    shelf, prompt = Shelf(), words(1, 700)
    answer(rig(shelf), 1, prompt)

    after = rig(shelf)
    answer(after, 2, prompt, principal=Principal("other"))

    assert after.cached[SequenceId(2)] == 0


def test_followers_of_one_that_is_restored_wait_for_it() -> None:
    """A stored prefix that several ask for at once is read once."""
    shelf, prompt = Shelf(), words(1, 1_500)
    answer(rig(shelf), 1, prompt)

    after = rig(shelf)
    for id_ in range(2, 6):
        after.submit(sequence(id_, (*prompt, id_, 1), stop_ids=frozenset()))
    after.finish()

    assert shelf.fetched == 1_500
    assert {after.cached[SequenceId(id_)] for id_ in range(2, 6)} == {1_500}


def test_no_more_is_dirty_than_is_allowed() -> None:
    """What the store cannot take in time waits in its cache; then it is offered again."""
    shelf = Shelf(slow=1.0)
    slow = rig(shelf, dirty_bytes=2 * 256 * ROW_BYTES)
    slow.submit(sequence(1, words(1, 1_500), max_tokens=2, stop_ids=frozenset()))
    for _ in range(40):
        slow.step()
    assert slow.batch.keeping.dirty_bytes == 2 * 256 * ROW_BYTES

    shelf.slow = 0.0
    slow.finish()

    assert slow.batch.keeping.clean
    assert shelf.look_up(LOCAL, words(1, 1_500)) == 1_500


def test_what_is_evicted_unsaved_is_counted() -> None:
    """Memory is not held for a store that does not keep up."""
    shelf = Shelf(slow=1.0)
    slow = rig(shelf, dirty_bytes=1, pool_bytes=2_000)
    for id_ in range(1, 4):
        slow.submit(sequence(id_, words(id_, 900), max_tokens=1, stop_ids=frozenset()))
    for _ in range(60):
        slow.step()

    assert slow.batch.keeping.lost_tokens > 0
    assert len(slow.answers) == 3


def test_what_could_not_be_kept_is_offered_again() -> None:
    """A failed save costs nothing now; the next turn saves the whole path."""
    shelf, prompt = Shelf(failing=1.0), words(1, 700)
    both = rig(shelf)
    first = answer(both, 1, prompt)
    assert shelf.look_up(LOCAL, prompt) == 0

    shelf.failing = 0.0
    second = answer(both, 2, (*prompt, *first, 1, 2, 3))

    path = (*prompt, *first, 1, 2, 3, *second)
    assert shelf.look_up(LOCAL, path) == len(path) - 1


def test_a_lost_store_holds_nobody_up() -> None:
    """Who waits for rows of a store that was restarted goes on by itself."""
    shelf, prompt = Shelf(), words(1, 700)
    answer(rig(shelf), 1, prompt)
    shelf.slow = 1.0

    after = rig(shelf)
    after.submit(sequence(2, prompt, max_tokens=4, stop_ids=frozenset()))
    for _ in range(5):
        after.step()
    assert SequenceId(2) not in after.cached
    for notice in after.batch.store_lost():
        assert isinstance(notice, AdmittedNotice)
        after.cached[notice.sequence] = notice.cached
    shelf.asked.clear()
    shelf.slow = 0.0
    after.finish()

    assert after.cached[SequenceId(2)] == 0
    assert tuple(after.answers[SequenceId(2)]) == expected(prompt, 4, 2, frozenset())


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    pool_bytes=st.sampled_from([1_500, 3_000, 100_000]),
    failing=st.sampled_from([0.0, 0.3]),
    slow=st.sampled_from([0.0, 0.7]),
    dirty_bytes=st.sampled_from([1, 3_000, 1 << 30]),
)
def test_every_answer_is_that_of_an_undisturbed_run(
    seed: int, pool_bytes: int, failing: float, slow: float, dirty_bytes: int
) -> None:
    """Restores, failures, evictions, restarts and aborts in any order change no token."""
    rng = random.Random(seed)
    shelf = Shelf(rng, failing, slow)
    base = words(seed, 900)
    number = 0
    for _ in range(3):
        now = rig(shelf, pool_bytes=pool_bytes, dirty_bytes=dirty_bytes, max_running=3)
        prompts: dict[int, TokenIds] = {}
        for _ in range(rng.randint(1, 5)):
            number += 1
            prompts[number] = (*base[: rng.randint(1, 900)], *words(rng.randint(0, 3), 40))
            now.submit(sequence(number, prompts[number], max_tokens=rng.randint(1, 20)))
            for _ in range(rng.randint(0, 6)):
                now.step()
            if rng.random() < 0.2:
                now.step(between=SequenceId(rng.choice(list(prompts))))
        now.finish()
        for id_, tokens in prompts.items():
            given_ = tuple(now.answers.get(SequenceId(id_), ()))
            assert given_ == expected(tokens, len(given_), seed=id_)
        assert now.batch.pool.pinned_bytes == 0
        shelf.asked.clear()

"""Laws of the batch, driven step by step with the deterministic fake engine.

The fake draws a hash of every token it holds: one wrong, missing or doubled token anywhere in a
cache changes everything after it.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_actors.domain.errors import InvalidRequest, NeverFits, Overloaded, PromptTooLong
from semantic_actors.domain.ids import Principal, SequenceId, TokenIds
from semantic_actors.domain.request import Sampling
from tests.engine.grammars import Places
from tests.scheduling.rig import VOCABULARY, Rig, expected, sequence

THIRDS = tuple(range(place, VOCABULARY, 3) for place in range(3))
prompts = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(tuple)


@settings(max_examples=150, deadline=None)
@given(
    prompts=st.lists(prompts, min_size=1, max_size=12),
    seed=st.integers(0, 2**32),
    pool_bytes=st.sampled_from([110, 200, 400, 10_000]),
    cuttable=st.booleans(),
    window=st.sampled_from([None, 8, 40]),
)
def test_every_answer_is_that_of_an_undisturbed_run(
    prompts: list[TokenIds], seed: int, pool_bytes: int, *, cuttable: bool, window: int | None
) -> None:
    """Joins, leaves, reuse, eviction and preemption in any order change no token of any answer.

    Every third has a grammar.
    """
    grammars = {id_: Places(THIRDS) for id_ in range(3, len(prompts) + 1, 3)}
    rng = random.Random(seed)
    rig = Rig(pool_bytes=pool_bytes, cuttable=cuttable, window=window, max_running=3)
    waiting = list(enumerate(prompts, 1))
    aborted: set[int] = set()
    while waiting:
        if rng.random() < 0.5:
            id_, tokens = waiting.pop(0)
            grammar, most = grammars.get(id_), rng.randint(1, 30)
            rig.batch.submit(sequence(id_, tokens, max_tokens=most, grammar=grammar))
        victim = rng.randint(1, len(prompts)) if rng.random() < 0.1 else None
        if victim is not None and rig.step(between=SequenceId(victim)):
            aborted.add(victim)
        rig.step()
    rig.finish()

    for id_, tokens in enumerate(prompts, 1):
        answer = tuple(rig.answers.get(SequenceId(id_), ()))
        assert answer == expected(tokens, len(answer), seed=id_, grammar=grammars.get(id_))
        assert id_ in aborted or SequenceId(id_) in rig.finishes
    assert rig.batch.pool.pinned_bytes == 0
    assert rig.batch.pool.used_bytes <= pool_bytes


def test_the_next_turn_feeds_only_what_is_new() -> None:
    """Prompt and answer of the first turn are found, but the last token, which was never fed."""
    rig = Rig()
    first = tuple(range(20))
    rig.batch.submit(sequence(1, first, max_tokens=5, stop_ids=frozenset()))
    rig.finish()
    answer = tuple(rig.answers[SequenceId(1)])
    second = (*first, *answer, 1, 2, 3)

    rig.batch.submit(sequence(2, second))
    rig.finish()

    assert len(first) + len(answer) - 1 == rig.cached[SequenceId(2)]


def test_an_exact_repeat_still_feeds_one_token() -> None:
    """A prompt that is wholly cached keeps its last token to be fed."""
    rig = Rig()
    rig.batch.submit(sequence(1, tuple(range(20)), max_tokens=1))
    rig.finish()

    rig.batch.submit(sequence(2, tuple(range(20)), max_tokens=1))
    rig.finish()

    assert rig.cached[SequenceId(2)] == 19


def test_a_principal_never_hits_anothers_cache() -> None:
    """The same tokens from another principal are computed anew."""
    rig = Rig()
    rig.batch.submit(sequence(1, tuple(range(20))))
    rig.finish()

    rig.batch.submit(sequence(2, tuple(range(20)), principal=Principal("other")))
    rig.finish()

    assert rig.cached[SequenceId(2)] == 0


def test_an_abort_frees_the_reservation_within_the_step() -> None:
    """After the step it was in, an aborted sequence pins nothing; its prefix stays."""
    rig = Rig()
    rig.batch.submit(sequence(1, tuple(range(40)), max_tokens=300))
    rig.step()
    assert rig.batch.pool.pinned_bytes > 0

    rig.step(between=SequenceId(1))

    assert rig.batch.pool.pinned_bytes == 0
    assert len(rig.batch.pool) == 1
    assert not rig.step()


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    """The queue is bounded; the refusal says when to try again, in whole seconds."""
    rig = Rig(max_running=1, max_waiting=1)
    rig.batch.submit(sequence(1, (1, 2)))
    rig.step()
    rig.batch.submit(sequence(2, (1, 2)))

    with pytest.raises(Overloaded, match="1 requests are waiting") as refusal:
        rig.batch.submit(sequence(3, (1, 2)), retry_after_s=3)

    assert refusal.value.retry_after_s == 3


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers() -> None:
    """Context 400 holds a prompt of 399 and one token."""
    rig = Rig()

    with pytest.raises(PromptTooLong, match="prompt is too long: 400 tokens > 399 maximum"):
        rig.batch.submit(sequence(1, (1,) * 400))


def test_a_token_that_the_model_does_not_know_is_refused() -> None:
    """A tokenizer with more ids than the model has must not reach the engine."""
    rig = Rig()

    with pytest.raises(InvalidRequest, match="token 50, the model knows 50"):
        rig.batch.submit(sequence(1, (1, 50)))


def test_a_bias_of_a_token_that_the_model_does_not_know_is_refused() -> None:
    """It would be written beside the logits; the last token that there is can have one."""
    rig = Rig()
    known, unknown = sequence(1, (1, 2)), sequence(2, (1, 2))
    known.sampling = Sampling(logit_bias=((3, 1.0), (49, 1.0)))
    unknown.sampling = Sampling(logit_bias=((3, 1.0), (50, 1.0)))

    rig.batch.submit(known)

    with pytest.raises(InvalidRequest, match="logit_bias: token 50 is not in the") as refusal:
        rig.batch.submit(unknown)
    assert refusal.value.field == "logit_bias"


def test_a_prompt_that_can_never_fit_is_refused_before_any_work() -> None:
    """A pool of 100 bytes cannot hold 200 tokens."""
    rig = Rig(pool_bytes=100)

    with pytest.raises(NeverFits, match="218 bytes of KV cache, the pool holds 100"):
        rig.batch.submit(sequence(1, (1,) * 200))


def test_a_sequence_alone_in_a_full_pool_ends_with_context() -> None:
    """Who cannot grow and has nobody to wait for is told that the context is full."""
    rig = Rig(pool_bytes=60)
    rig.batch.submit(sequence(1, (1,) * 10, max_tokens=300, stop_ids=frozenset()))

    rig.finish()

    assert rig.finishes[SequenceId(1)] == "context"


def test_prefill_goes_on_between_the_decode_steps_of_others() -> None:
    """While a long prompt is read in chunks, a decoding sequence gets a token in every step."""
    rig = Rig(prefill_tokens=10)
    rig.batch.submit(sequence(1, (1, 2), max_tokens=100, stop_ids=frozenset()))
    rig.step()
    rig.batch.submit(sequence(2, (3,) * 100))
    before = len(rig.answers[SequenceId(1)])

    steps = 0
    while SequenceId(2) not in rig.answers:
        rig.step()
        steps += 1

    assert steps == 10
    assert before + steps == len(rig.answers[SequenceId(1)])


def test_a_resumed_sequence_is_never_one_too_many() -> None:
    """Who had a place before an engine died has one afterwards."""
    rig = Rig(max_running=1, max_waiting=0)
    rig.batch.submit(sequence(1, (1, 2)))

    rig.batch.submit(sequence(2, (1, 2)), resumed=True)
    rig.finish()

    assert set(rig.finishes) == {1, 2}


def test_no_place_to_wait_still_serves_who_can_run() -> None:
    """`max_waiting` 0 means: run at once or be refused."""
    rig = Rig(max_running=2, max_waiting=0)
    rig.batch.submit(sequence(1, (1, 2)))
    rig.batch.submit(sequence(2, (1, 2)))

    with pytest.raises(Overloaded):
        rig.batch.submit(sequence(3, (1, 2)))


def test_suspects_are_admitted_one_at_a_time() -> None:
    """The next one waits until the last has drawn a token; others are not held up."""
    rig = Rig(prefill_tokens=4)
    for id_ in (1, 2, 3):
        one = sequence(id_, (id_,) * 8, max_tokens=50, stop_ids=frozenset())
        one.deaths = int(id_ < 3)
        rig.batch.submit(one)

    running = []
    for _ in range(4):
        rig.step()
        running.append([one.id for one in rig.batch.running])

    assert running[:2] == [[1], [1]]
    assert running[2] == [1, 2, 3]


def test_a_probe_leaves_nothing_behind() -> None:
    """A sequence that is not worth keeping takes no place in the pool when it has ended."""
    rig = Rig()
    one = sequence(1, (0,), max_tokens=1)
    one.keep = False
    rig.batch.submit(one)

    rig.finish()

    assert len(rig.batch.pool) == 0
    assert not rig.backend._held


def test_an_empty_prompt_is_refused() -> None:
    """There is nothing to draw from."""
    with pytest.raises(InvalidRequest, match="no tokens"):
        Rig().batch.submit(sequence(1, ()))


def test_a_long_answer_uses_the_last_of_the_pool() -> None:
    """A sequence alone goes on until not one more block fits."""
    rig = Rig(pool_bytes=10 + 16 * 5, context=4_000)
    rig.batch.submit(sequence(1, (1,) * 10, max_tokens=300, stop_ids=frozenset()))

    rig.finish()

    assert len(rig.answers[SequenceId(1)]) == 16 * 5 + 1 - 10

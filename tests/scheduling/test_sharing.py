"""Laws of in-flight prefix sharing: what is being computed is not computed again.

Driven by hand like the batch, with prompts of blocks: 256 tokens and more in common.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_actors.domain.ids import LOCAL, CacheId, Principal, SequenceId, TokenIds
from semantic_actors.domain.request import Sampling
from semantic_actors.engine import FakeBackend, FeedFailed, Footprint, Plan, hashed_token
from semantic_actors.kv import Pool
from semantic_actors.kv.blocks import BLOCK_TOKENS
from semantic_actors.scheduling.batch import Batch, BatchLimits
from semantic_actors.scheduling.notices import AdmittedNotice, FailedNotice, TokenNotice
from semantic_actors.scheduling.plan import LOOKS
from semantic_actors.scheduling.sequence import Sequence

VOCABULARY = 50
FOOTPRINT = Footprint(fixed_bytes=0, bytes_per_token=1)
PREFIX = tuple(index * 7 % VOCABULARY for index in range(1_536))
CHUNK = 128


class Rig:
    """A batch over the fake engine; counts what is fed, and keeps who was admitted and failed."""

    def __init__(
        self,
        *,
        pool_bytes: int = 1_000_000,
        max_running: int = 8,
        cuttable: bool = True,
        window: int | None = None,
    ) -> None:
        limits = BatchLimits(
            vocabulary=VOCABULARY,
            context=8_000,
            max_running=max_running,
            max_waiting=100,
            prefill_tokens=CHUNK,
        )
        self.backend = FakeBackend(
            vocabulary=VOCABULARY,
            context=8_000,
            footprint=FOOTPRINT,
            cuttable=cuttable,
            window=window,
            think=self.think,
        )
        self.batch = Batch(Pool(pool_bytes), self.backend.info.footprint, limits)
        self.fed = 0
        self.admitted: dict[SequenceId, int] = {}
        self.answers: dict[SequenceId, TokenIds] = {}
        self.failed: list[SequenceId] = []
        self.poison: int | None = None

    def think(self, tokens: TokenIds) -> int:
        """Draw a hash, but raise on a poisoned prompt."""
        if self.poison in tokens:
            message = "poison"
            raise ValueError(message)
        return hashed_token(tokens, VOCABULARY - 1, Sampling())

    def submit(self, id_: int, tokens: TokenIds, principal: Principal = LOCAL) -> SequenceId:
        """Queue a prompt; two tokens are drawn after it."""
        sequence = Sequence(
            id=SequenceId(id_),
            principal=principal,
            tokens=list(tokens),
            prompt_tokens=len(tokens),
            max_tokens=2,
            stop_ids=frozenset(),
            sampling=Sampling(),
        )
        self.batch.submit(sequence)
        return sequence.id

    def step(self, *, fail: CacheId | None = None) -> Plan | None:
        """Run one step; the engine loses `fail` in it."""
        plan, notices = self.batch.next_plan()
        if plan is not None:
            self.fed += sum(feed.count for feed in plan.feeds)
            output = self.backend.launch(plan)()
            if fail is not None:
                results = tuple(
                    FeedFailed(fail, "injected") if result.cache == fail else result
                    for result in output.results
                )
                output = type(output)(output.step, results, output.seconds)
            notices += self.batch.apply(output)
        self.batch.check_integrity()
        for notice in notices:
            match notice:
                case AdmittedNotice(sequence=sequence, cached=cached):
                    self.admitted[sequence] = cached
                case TokenNotice(sequence=sequence, token=token):
                    drawn = () if token is None else (token,)
                    self.answers[sequence] = (*self.answers.get(sequence, ()), *drawn)
                case FailedNotice(sequence=sequence):
                    self.failed.append(sequence)
        return plan

    def finish(self) -> None:
        """Run until nothing is left to do."""
        for _ in range(2_000):
            if self.step() is None:
                assert not self.batch.waiting
                return
        pytest.fail("the batch does not come to rest")

    def running(self) -> list[int]:
        """Who runs."""
        return [sequence.id for sequence in self.batch.running]


def expected(tokens: TokenIds) -> TokenIds:
    """What a prompt is answered with."""
    first = hashed_token(tokens, VOCABULARY - 1, Sampling())
    return (first, hashed_token((*tokens, first), VOCABULARY - 1, Sampling()))


def test_four_sessions_with_one_new_prefix_compute_it_once() -> None:
    """All arrive together: the first computes it, the others only what is their own."""
    rig = Rig()
    prompts = [(*PREFIX, *range(id_, id_ + 40)) for id_ in range(4)]
    for id_, prompt in enumerate(prompts):
        rig.submit(id_, prompt)

    rig.step()
    assert rig.running() == [0]
    assert rig.batch.following == 3
    rig.finish()

    tails = sum(len(prompt) - len(PREFIX) for prompt in prompts)
    assert rig.fed == len(PREFIX) + tails + 4  # and one drawn token each
    assert [rig.admitted[SequenceId(id_)] for id_ in range(4)] == [0, *[len(PREFIX)] * 3]
    for id_, prompt in enumerate(prompts):
        assert rig.answers[SequenceId(id_)] == expected(prompt)


def test_a_late_follower_is_admitted_as_soon_as_the_prefix_is_there() -> None:
    """It does not wait for the leader's own part, nor for its answer."""
    rig = Rig()
    rig.submit(1, (*PREFIX[:512], *(9,) * 3_000))
    rig.step()
    rig.submit(2, (*PREFIX[:512], 1, 2, 3))

    steps = 0
    while SequenceId(2) not in rig.admitted:
        rig.step()
        steps += 1

    assert steps <= 512 // CHUNK + 1
    assert rig.admitted[SequenceId(2)] == 512


def test_less_than_a_block_is_not_worth_a_wait() -> None:
    """Computing the rest oneself is as good: both are admitted at once."""
    rig = Rig()
    shared = PREFIX[: BLOCK_TOKENS - 1]
    rig.submit(1, (*shared, 1, 2))
    rig.submit(2, (*shared, 3, 4))

    rig.step()

    assert rig.running() == [1, 2]


def test_another_principal_never_follows() -> None:
    """Neither the tokens nor the time of others can be told."""
    rig = Rig()
    rig.submit(1, PREFIX)
    rig.submit(2, PREFIX, Principal("other"))

    rig.step()

    assert rig.running() == [1, 2]
    assert rig.batch.following == 0


def test_an_exact_repeat_waits_for_all_but_the_last_token() -> None:
    """A client that retries while its first request is read has it read once."""
    rig = Rig()
    rig.submit(1, PREFIX)
    rig.step()
    rig.submit(2, PREFIX)

    rig.finish()

    assert rig.fed == len(PREFIX) + 1 + 2
    assert rig.admitted[SequenceId(2)] == len(PREFIX) - 1


def test_who_has_nothing_in_common_is_not_held_up() -> None:
    """Those behind the followers are admitted in the same step, in their order."""
    rig = Rig()
    for id_ in (1, 2, 3):
        rig.submit(id_, (*PREFIX, id_))
    rig.submit(4, (4,) * 300)
    rig.submit(5, (5,) * 300)

    rig.step()

    assert rig.running() == [1, 4, 5]


def test_a_follower_keeps_its_place_in_the_queue() -> None:
    """When its prefix is there it is served before those that came later and still wait."""
    rig = Rig(max_running=2)
    rig.submit(1, (*PREFIX, 1))
    rig.submit(2, (*PREFIX, 2))
    for id_ in range(3, 20):
        rig.submit(id_, (id_,) * 200)

    while SequenceId(2) not in rig.admitted:
        rig.step()

    assert rig.admitted[SequenceId(2)] == len(PREFIX)
    assert SequenceId(19) not in rig.admitted


def test_two_branches_that_begin_at_one_end_share_it() -> None:
    """The first takes the cache over as it is; the second waits a step to see it there."""
    rig = Rig()
    first = rig.submit(1, PREFIX)
    rig.finish()
    known = (*PREFIX, rig.answers[first][0])
    fed = rig.fed

    for id_ in (2, 3):
        rig.submit(id_, (*known, *(id_,) * 300))
    rig.step()
    assert rig.running() == [2]
    rig.finish()

    assert [rig.admitted[SequenceId(id_)] for id_ in (2, 3)] == [len(known)] * 2
    assert rig.fed - fed == 2 * (300 + 1)


def test_when_the_leader_is_cancelled_a_follower_takes_over() -> None:
    """It goes on from what the leader has computed, and now leads the others."""
    rig = Rig()
    for id_ in (1, 2, 3, 4):
        rig.submit(id_, (*PREFIX, id_))
    for _ in range(4):
        rig.step()

    rig.batch.abort(SequenceId(1))
    rig.step()
    assert rig.running() == [2]
    assert rig.batch.following == 2
    rig.finish()

    assert rig.admitted[SequenceId(2)] == 4 * CHUNK
    assert rig.fed == len(PREFIX) + 3 + 3
    assert set(rig.answers) == {2, 3, 4}


def test_when_the_leader_fails_a_follower_begins_anew() -> None:
    """A cache that is gone is computed again, once."""
    rig = Rig()
    for id_ in (1, 2, 3):
        rig.submit(id_, (*PREFIX, id_))
    for _ in range(3):
        rig.step()
    leader = rig.batch.running[0].cache

    rig.step(fail=leader)
    lost = rig.fed
    rig.step()
    assert rig.running() == [2]
    assert rig.batch.following == 1
    rig.finish()

    assert rig.failed == [1]
    assert rig.fed == lost + len(PREFIX) + 2 + 2
    assert rig.answers[SequenceId(3)] == expected((*PREFIX, 3))


def test_a_leader_that_fails_on_its_own_part_has_served_the_others() -> None:
    """Its followers left it at the end of the common prefix."""
    rig = Rig()
    rig.poison = VOCABULARY - 1
    rig.submit(1, (*(token % 7 for token in PREFIX), *(1,) * 3_000, VOCABULARY - 1))
    rig.submit(2, (*(token % 7 for token in PREFIX), 2))

    rig.finish()

    assert rig.failed == [1]
    assert rig.admitted[SequenceId(2)] == len(PREFIX)


def test_an_aborted_follower_leaves_no_trace() -> None:
    """It is gone from the queue, and nobody waits for it."""
    rig = Rig()
    for id_ in (1, 2, 3):
        rig.submit(id_, (*PREFIX, id_))
    rig.step()

    rig.batch.abort(SequenceId(2))
    rig.finish()

    assert set(rig.answers) == {1, 3}


@pytest.mark.parametrize(("cuttable", "window"), [(False, None), (True, 512)])
def test_nobody_waits_for_a_cache_that_cannot_be_cut(*, cuttable: bool, window: int | None) -> None:
    """Its owner is past the end of the common prefix when that is computed."""
    rig = Rig(cuttable=cuttable, window=window)
    rig.submit(1, (*PREFIX, 1))
    rig.submit(2, (*PREFIX, 2))

    rig.step()

    assert rig.running() == [1, 2]


def test_a_follower_costs_its_prompt_once_not_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing changes, a plan compares numbers and no prompts."""
    rig = Rig()
    for id_ in range(20):
        rig.submit(id_, (*PREFIX, id_))
    while rig.batch.following < 19:
        rig.step()
    matched: list[Principal] = []
    match = Pool.match

    def counting(pool: Pool, principal: Principal, tokens: TokenIds, **options: object) -> object:
        matched.append(principal)
        return match(pool, principal, tokens, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Pool, "match", counting)
    while rig.batch.running[0].fed < len(PREFIX):
        rig.step()
        assert not matched

    rig.step()
    assert len(matched) == 7  # as many as there is room for


blocks = st.lists(st.integers(0, 1), max_size=4)


def test_a_crowd_is_looked_at_little_by_little() -> None:
    """The event loop is not held up by a hundred long prompts at once; none is forgotten."""
    rig = Rig()
    for id_ in range(40):
        rig.submit(id_, (*PREFIX, id_))
    following = []
    for _ in range(5):
        rig.step()
        following.append(rig.batch.following)

    assert following == [LOOKS * n - 1 for n in range(1, 6)]


@settings(max_examples=100, deadline=None)
@given(
    prompts=st.lists(st.tuples(blocks, st.integers(1, 30)), min_size=1, max_size=10),
    seed=st.integers(0, 2**32),
    pool_bytes=st.sampled_from([3_000, 6_000, 1_000_000]),
    max_running=st.sampled_from([1, 2, 8]),
    cuttable=st.booleans(),
    window=st.sampled_from([None, 400, 700]),
)
def test_every_answer_is_that_of_an_undisturbed_run(
    prompts: list[tuple[list[int], int]],
    seed: int,
    pool_bytes: int,
    max_running: int,
    window: int | None,
    *,
    cuttable: bool,
) -> None:
    """Prompts that share blocks, in any order, with cancels: all are served, none is changed."""
    rng = random.Random(seed)
    rig = Rig(pool_bytes=pool_bytes, max_running=max_running, cuttable=cuttable, window=window)
    tokens = {
        SequenceId(id_): tuple(b for block in path for b in [block] * 300) + (id_ + 2,) * tail
        for id_, (path, tail) in enumerate(prompts)
    }
    waiting = list(tokens)
    aborted = set()
    while waiting:
        if rng.random() < 0.5:
            id_ = waiting.pop(0)
            rig.submit(id_, tokens[id_])
        if rng.random() < 0.1:
            victim = rng.choice(list(tokens))
            rig.batch.abort(victim)
            aborted.add(victim)
        rig.step()
    rig.finish()

    for id_ in tokens.keys() - aborted:
        assert rig.answers[id_] == expected(tokens[id_])
    assert rig.batch.pool.pinned_bytes == 0

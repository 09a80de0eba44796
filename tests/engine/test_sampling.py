"""Drawing: mlx-lm's distribution, a seed and a position for its chance, each row for itself."""

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tests.engine import tiny  # noqa: F401 (it loads the BLAS)

import mlx.core as mx  # isort: skip (after the BLAS)
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

from semantic_actors.domain.request import GREEDY, Sampling
from semantic_actors.engine import sampling
from semantic_actors.engine.protocol import TokenLogprobs
from semantic_actors.engine.sampling import NOT_A_NUMBER, History, Row, draw

WORDS = 12
LOGITS = mx.array([2.0, 1.0, 0.0, -1.0, -50.0])
NAN, INF = math.nan, math.inf


@pytest.fixture
def plain_filters() -> Iterator[None]:
    """Keep mlx-lm from compiling its filters for each value, by a C++ compiler here."""
    mx.disable_compile()
    yield
    mx.enable_compile()


def drawn(logits: mx.array | list[list[float]], rows: Sequence[Row]) -> list[int]:
    """Draw, and read."""
    return draw(mx.array(logits), rows).read()


def many(asked: Sampling, count: int = 120) -> list[int]:
    """Draw at so many positions, all in one batch, from the same logits."""
    return drawn(mx.stack([LOGITS] * count), [Row(asked, position) for position in range(count)])


def stock(logits: mx.array, asked: Sampling, position: int) -> int:
    """Draw one token with nothing but mlx-lm's filters and mlx's chance."""
    if asked.temperature == 0:
        likeliest: Any = mx.argmax(logits).item()
        return int(likeliest)
    logits = logits.astype(mx.float32)[None]
    logits = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    if asked.top_p < 1:
        logits = apply_top_p(logits, asked.top_p)
    if asked.min_p > 0:
        logits = apply_min_p(logits, asked.min_p)
    if 0 < asked.top_k < WORDS:
        logits = apply_top_k(logits, asked.top_k)
    digest = hashlib.blake2b(struct.pack(">qq", asked.seed, position), digest_size=8).digest()
    key = mx.random.key(int.from_bytes(digest, "big"))
    token: Any = mx.random.categorical(logits / asked.temperature, key=key).item()
    return int(token)


def penalised(
    logits: Sequence[float], asked: Sampling, prompt: Sequence[int], answer: Sequence[int]
) -> list[float]:
    """Steer logits in plain Python."""
    steered = list(logits)
    for token, bias in asked.logit_bias:
        steered[token] += bias
    for token in {*prompt, *answer}:
        positive = steered[token] > 0
        factor = asked.repetition_penalty
        steered[token] = steered[token] / factor if positive else steered[token] * factor
    for token in {*answer}:
        steered[token] -= asked.presence_penalty
        steered[token] -= asked.frequency_penalty * answer.count(token)
    return steered


def word(bits: int) -> bytes:
    """Write a mask of one word."""
    return struct.pack("<I", bits)


tokens = st.integers(0, WORDS - 1)
histories = st.lists(tokens, max_size=9)
quarters = st.integers(-8, 8).map(lambda value: value / 4)
vectors = st.lists(st.integers(-40, 40).map(lambda v: v / 8), min_size=WORDS, max_size=WORDS)
unsound = st.sampled_from([[NAN, *[0.0] * (WORDS - 1)], [-INF] * WORDS, [INF] * WORDS])
settings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1e-9, 0.5, 1.0, 2.0]),
    top_p=st.sampled_from([1.0, 0.0, 0.5, 0.9]),
    top_k=st.sampled_from([0, 1, 3, 99]),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(-9, 9),
    repetition_penalty=st.sampled_from([1.0, 0.5, 1.3]),
    presence_penalty=quarters,
    frequency_penalty=quarters,
    logit_bias=st.dictionaries(tokens, quarters, max_size=3).map(
        lambda d: tuple(sorted(d.items()))
    ),
    logprobs=st.sampled_from([None, None, 0, 1, 5, 20]),
)


masks = st.sets(tokens, min_size=1).map(lambda allowed: sum(1 << one for one in allowed))
"""Which tokens a grammar allows, as the bits of one word."""


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[list[float], Row]]:
    """Rows of all kinds, sound or not, with a history or without."""
    some = draw(st.lists(settings, min_size=1, max_size=3))
    batch = []
    for _ in range(draw(st.integers(1, 6))):
        history = None
        if draw(st.booleans()):
            history = History(draw(histories), draw(histories), WORDS)
        mask = draw(st.none() | masks.map(word))
        row = Row(draw(st.sampled_from(some)), draw(st.integers(0, 99)), history, mask)
        batch.append((draw(vectors | unsound), row))
    return batch


@given(batches(), st.sampled_from([mx.float32, mx.bfloat16, mx.float16]))
def test_a_row_is_drawn_in_a_batch_as_alone(
    batch: list[tuple[list[float], Row]], dtype: mx.Dtype
) -> None:
    """Whatever is drawn beside it, a row has the token and the log-probabilities it has alone."""
    logits = mx.array([vector for vector, _ in batch]).astype(dtype)
    rows = [row for _, row in batch]

    together = draw(logits, rows)
    alone = [draw(logits[place : place + 1], [row]) for place, row in enumerate(rows)]

    assert [one.read()[0] for one in alone] == together.read()
    for place, one in enumerate(alone):
        if together.read()[place] != NOT_A_NUMBER:
            assert one.logprobs(0) == together.logprobs(place)


@pytest.mark.usefixtures("plain_filters")
@given(
    st.lists(
        st.tuples(vectors, st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0, 2.0])),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([1.0, 0.3, 0.8]),
    st.sampled_from([0, 1, 4, 99]),
    st.sampled_from([0.0, 0.05, 1.0]),
)
def test_a_row_is_drawn_as_by_mlx_lm(
    drawings: list[tuple[list[float], int, float]], top_p: float, top_k: int, min_p: float
) -> None:
    """The filters of mlx-lm, in its order, and mlx's own draw from the key of seed and position."""
    asked = [
        Sampling(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=place)
        for place, (_, _, temperature) in enumerate(drawings)
    ]
    logits = mx.array([vector for vector, _, _ in drawings])
    positions = [position for _, position, _ in drawings]

    expected = [stock(*one) for one in zip(logits, asked, positions, strict=True)]

    assert expected == drawn(logits, [Row(*one) for one in zip(asked, positions, strict=True)])


@pytest.mark.parametrize(
    ("asked", "possible"),
    [
        (GREEDY, {0}),
        (Sampling(temperature=1e-9), {0}),
        (Sampling(top_k=1), {0}),
        (Sampling(top_k=2), {0, 1}),
        (Sampling(top_k=99), {0, 1, 2, 3}),
        (Sampling(top_p=0.0), {0}),
        (Sampling(top_p=0.7), {0, 1}),
        (Sampling(min_p=0.2), {0, 1}),
        (Sampling(min_p=1.0), {0}),
        (Sampling(), {0, 1, 2, 3}),
    ],
)
def test_filters_bound_what_can_be_drawn(asked: Sampling, possible: set[int]) -> None:
    """Each filter leaves exactly the tokens it should, at its edges too."""
    assert possible == set(many(asked))


def test_frequencies_are_those_of_the_softmax() -> None:
    """Over many positions, tokens come as often as the logits at this temperature say."""
    asked = many(Sampling(temperature=0.7), 3_000)

    weights = [math.exp(logit / 0.7) for logit in (2.0, 1.0, 0.0, -1.0, -50.0)]
    for token, weight in enumerate(weights):
        assert abs(asked.count(token) / 3_000 - weight / sum(weights)) < 0.03


def test_the_draw_depends_on_seed_and_position_alone() -> None:
    """Same seed and position, same token, whatever mlx's global chance did meanwhile."""
    first = many(Sampling(seed=-(2**63)))
    mx.random.seed(99)

    assert first == many(Sampling(seed=-(2**63)))
    assert first != many(Sampling(seed=2**63 - 1))
    assert len({*first}) > 1


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
@pytest.mark.parametrize("asked", [GREEDY, Sampling(), Sampling(top_p=0.5, top_k=2)])
def test_what_is_not_a_number_is_no_token(asked: Sampling, dtype: mx.Dtype) -> None:
    """Logits with a NaN or without a largest number give no token at all, and harm no other row."""
    logits = [[1.0, NAN, 2.0], [3.0, -60.0, -INF], [-INF] * 3, [0.0, INF, 0.0]]
    logprobs = Row(Sampling(temperature=0, logprobs=2), 0)

    found = draw(mx.array(logits).astype(dtype), [Row(asked, 0), logprobs, logprobs, Row(asked, 0)])

    assert found.read() == [NOT_A_NUMBER, 0, NOT_A_NUMBER, NOT_A_NUMBER]
    assert found.logprobs(1) == TokenLogprobs(0, 0.0, ((0, 0.0), (1, -63.0)))


def test_a_token_of_no_weight_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest chance there is finds the last token that can be, not one behind it."""
    monkeypatch.setattr(sampling, "_chance", lambda key: key[:1] * 0 + (1 - 2**-24))
    mx.random.seed(3)
    logits = mx.random.normal((4, 5_000))
    logits[:, 4_000:] = -INF

    asked = drawn(logits, [Row(Sampling(), position) for position in range(4)])

    assert 3_000 < min(asked) <= max(asked) < 4_000


@given(vectors, settings, histories, histories)
def test_penalties_and_biases(
    vector: list[float], asked: Sampling, prompt: list[int], answer: list[int]
) -> None:
    """Greedy takes the largest of the steered logits; tokens still unread count like known ones."""
    asked = Sampling(
        temperature=0,
        repetition_penalty=asked.repetition_penalty,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        logit_bias=asked.logit_bias,
    )
    history = History(prompt, answer[:4], WORDS)
    for token in answer[4:]:
        history.add(mx.array([token, 0], mx.int32)[0])

    steered = penalised(vector, asked, prompt, answer)
    [token] = drawn([vector], [Row(asked, 0, history)])

    assert max(steered) - steered[token] < 1e-5


def test_without_a_history_nothing_is_penalised() -> None:
    """A first token of nothing, or one whose past nobody kept, is drawn from the bare logits."""
    asked = Sampling(temperature=0, repetition_penalty=9.0, presence_penalty=2.0)

    assert drawn(LOGITS[None], [Row(asked, 0)]) == [0]
    assert drawn(LOGITS[None], [Row(asked, 0, History((), (0, 0), 5))]) == [1]


def test_a_bias_bans_or_orders_a_token() -> None:
    """-100 is a ban and 100 an order, for this row only."""
    ban, order = Sampling(logit_bias=((0, -100.0), (1, -100.0))), Sampling(logit_bias=((4, 100.0),))
    rows = [Row(asked, at) for at in range(60) for asked in (ban, Sampling(), order)]

    found = drawn(mx.stack([LOGITS] * 180), rows)

    assert {2, 3} == {*found[0::3]}
    assert {0, 1} <= {*found[1::3]} <= {0, 1, 2, 3}
    assert {4} == {*found[2::3]}


@given(batches(), masks)
def test_a_mask_stands_before_all_else(batch: list[tuple[list[float], Row]], bits: int) -> None:
    """A row is drawn as from logits without what is forbidden; its log-probabilities are all's."""
    allowed = [-INF if not bits >> token & 1 else 0.0 for token in range(WORDS)]
    for vector, row in batch:
        steered = [logit + ban for logit, ban in zip(vector, allowed, strict=True)]
        masked = replace(row, mask=word(bits))

        found = draw(mx.array([vector]), [masked])
        bare = draw(mx.array([vector]), [replace(row, mask=None)])

        [token] = found.read()
        assert [token] == drawn([steered], [replace(row, mask=None)])
        assert token == NOT_A_NUMBER or bits >> token & 1
        if token != NOT_A_NUMBER and (own := bare.logprobs(0)) is not None:
            said = found.logprobs(0)
            assert said is not None
            assert said.top == own.top
            assert said.token == token


@pytest.mark.parametrize("asked", [GREEDY, Sampling(), Sampling(top_p=0.5, top_k=2, min_p=0.1)])
@pytest.mark.parametrize("width", [31, 32, 33, 4_099])
def test_a_mask_finds_its_tokens_in_a_vocabulary_of_any_width(asked: Sampling, width: int) -> None:
    """Every token can be the only one allowed, the last one too."""
    places = sorted({0, 1, 30, width // 2, width - 1})
    size = -(-width // 32) * 4
    rows = [
        Row(asked, at, mask=(1 << place).to_bytes(size, "little"))
        for at, place in enumerate(places)
    ]

    found = drawn(mx.zeros((len(places) + 1, width)), [*rows, Row(GREEDY, 0)])

    assert found == [*places, 0]


@pytest.mark.parametrize("asked", [GREEDY, Sampling(logit_bias=((2, 100.0),))])
def test_where_the_model_rules_out_all_that_is_allowed_there_is_no_token(asked: Sampling) -> None:
    """Nothing forbidden takes its place."""
    logits = mx.array([[1.0, -INF, 0.0]] * 2)

    assert drawn(logits, [Row(asked, 0, mask=word(0b010)), Row(GREEDY, 0)]) == [NOT_A_NUMBER, 0]


def test_logprobs_are_the_model_s_own() -> None:
    """Neither temperature nor filter nor bias moves them; the likeliest come first."""
    asked = Sampling(temperature=0, logprobs=3, top_k=1, logit_bias=((3, 100.0),))
    exact = [logit - math.log(sum(map(math.exp, [2, 1, 0, -1]))) for logit in (2, 1, 0, -1)]

    found = draw(mx.stack([LOGITS] * 3), [Row(GREEDY, 0), Row(asked, 0), Row(GREEDY, 0)])

    assert found.read() == [0, 3, 0]
    assert found.logprobs(0) is found.logprobs(2) is None
    said = found.logprobs(1)
    assert said is not None
    assert said.chosen == pytest.approx(exact[3])
    assert [token for token, _ in said.top] == [0, 1, 2]
    assert [value for _, value in said.top] == pytest.approx(exact[:3])


def test_only_what_is_asked_for_is_computed() -> None:
    """Without a row that wants log-probabilities there is nothing to evaluate but the tokens."""
    bare = draw(mx.stack([LOGITS] * 2), [Row(GREEDY, 0), Row(Sampling(), 1)])
    chosen = draw(LOGITS[None], [Row(Sampling(temperature=0, logprobs=0), 0)])
    said = chosen.logprobs(0)

    assert len(bare.arrays) == 1
    assert len(chosen.arrays) == 4
    assert said is not None
    assert said.top == ()

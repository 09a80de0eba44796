"""Drawing: mlx-lm's distribution, a seed and a position for its chance."""

from typing import Any

from tests.engine import tiny  # noqa: F401 (it loads the BLAS)

import mlx.core as mx  # isort: skip (after the BLAS)
import pytest
from mlx_lm.sample_utils import make_sampler

from semantic_actors.domain.request import GREEDY, Sampling
from semantic_actors.engine.sampling import NOT_A_NUMBER, draw

LOGITS = mx.array([2.0, 1.0, 0.0, -1.0, -50.0])


def _draw(logits: mx.array, sampling: Sampling, position: int) -> int:
    token: Any = draw(logits, sampling, position).item()
    return int(token)


def _drawn(sampling: Sampling, count: int = 120) -> list[int]:
    return [_draw(LOGITS, sampling, position) for position in range(count)]


@pytest.mark.parametrize(
    ("sampling", "possible"),
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
def test_filters_bound_what_can_be_drawn(sampling: Sampling, possible: set[int]) -> None:
    """Each filter leaves exactly the tokens it should, at its edges too."""
    assert possible == set(_drawn(sampling))


def test_frequencies_are_those_of_mlx_lm() -> None:
    """Over many positions, tokens come as often as mlx-lm's own sampler draws them."""
    sampling = Sampling(temperature=0.7, top_p=0.95, top_k=3)
    stock = make_sampler(temp=0.7, top_p=0.95, top_k=3)
    mx.random.seed(1)

    ours = _drawn(sampling, 600)
    theirs = [int(stock(LOGITS[None] - mx.logsumexp(LOGITS)).item()) for _ in range(600)]

    for token in range(5):
        assert abs(ours.count(token) - theirs.count(token)) < 60


def test_the_draw_depends_on_seed_and_position_alone() -> None:
    """Same seed and position, same token, whatever mlx's global chance did meanwhile."""
    first = _drawn(Sampling(seed=-(2**63)), 50)
    mx.random.seed(99)

    assert first == _drawn(Sampling(seed=-(2**63)), 50)
    assert first != _drawn(Sampling(seed=2**63 - 1), 50)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling()])
def test_what_is_not_a_number_is_no_token(sampling: Sampling) -> None:
    """Logits with a NaN give no token at all."""
    logits = mx.array([1.0, float("nan"), 2.0])

    assert _draw(logits, sampling, 0) == NOT_A_NUMBER


def test_half_precision_logits_are_drawn_from() -> None:
    """The dtype of the model's logits does not matter."""
    half = LOGITS.astype(mx.bfloat16)

    assert {0, 1, 2, 3} >= {_draw(half, Sampling(), i) for i in range(50)}

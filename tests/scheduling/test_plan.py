"""Laws of sharing the prefill budget."""

from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.scheduling.plan import share_prefill

wants = st.lists(st.integers(2, 5_000), min_size=1, max_size=20)


@given(wants, st.integers(1, 4_096))
def test_everyone_moves_and_nobody_gets_more_than_he_wants(unfed: list[int], budget: int) -> None:
    """Each prompt gets at least one token and at most what is left of it."""
    shares = share_prefill(unfed, budget)

    assert all(1 <= share <= want for share, want in zip(shares, unfed, strict=True))


@given(wants, st.integers(1, 4_096))
def test_the_budget_is_spent_and_not_exceeded(unfed: list[int], budget: int) -> None:
    """What one prompt leaves goes to the others, as long as anyone wants it."""
    shares = share_prefill(unfed, budget)

    assert min(sum(unfed), max(budget, len(unfed))) == sum(shares)


@given(wants, st.integers(20, 4_096))
def test_a_short_prompt_is_not_stuck_behind_a_long_one(unfed: list[int], budget: int) -> None:
    """Whoever wants no more than an equal share is served whole."""
    shares = share_prefill(unfed, budget)

    equal = budget // len(unfed)
    assert all(share == want for share, want in zip(shares, unfed, strict=True) if want <= equal)

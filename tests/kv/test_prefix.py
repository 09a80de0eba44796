"""Laws of the common prefix."""

from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.kv import common_prefix
from semantic_actors.kv.prefix import STRIDE

token_lists = st.lists(st.integers(0, 3), max_size=40)


@given(token_lists, token_lists)
def test_it_ends_at_the_first_difference(left: list[int], right: list[int]) -> None:
    """The prefix ends at the first differing token, or with the shorter list."""
    differing = (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    expected = next(differing, min(len(left), len(right)))

    assert expected == common_prefix(left, right)


@given(st.integers(0, 3 * STRIDE), st.integers(0, 3 * STRIDE))
def test_finds_the_one_difference_wherever_it_is(length: int, place: int) -> None:
    """A single changed token ends the prefix, also at the borders of a stride."""
    left = list(range(length))
    right = [-1 if index == place else token for index, token in enumerate(left)]

    assert min(place, length) == common_prefix(left, right)

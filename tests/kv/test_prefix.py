"""Laws of the common prefix."""

import os

from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.kv import common_prefix
from semantic_actors.kv.prefix import STRIDE

token_lists = st.lists(st.integers(0, 3), max_size=40)


@given(token_lists, token_lists)
def test_agrees_with_the_standard_library(left: list[int], right: list[int]) -> None:
    """The prefix is what `os.path.commonprefix` says it is."""
    expected = len(os.path.commonprefix([left, right]))

    assert expected == common_prefix(left, right)


@given(st.integers(0, 3 * STRIDE), st.integers(0, 3 * STRIDE))
def test_finds_the_one_difference_wherever_it_is(length: int, place: int) -> None:
    """A single changed token ends the prefix, also at the borders of a stride."""
    left = list(range(length))
    right = [-1 if index == place else token for index, token in enumerate(left)]

    assert min(place, length) == common_prefix(left, right)

"""Longest common prefix on token ids. Matching is never done on text."""

from collections.abc import Sequence

STRIDE = 256
"""Tokens compared at once; slices compare in C, some 5 ns a token."""


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Count the leading tokens that `left` and `right` share."""
    end = min(len(left), len(right))
    start = 0
    while start < end and left[start : start + STRIDE] == right[start : start + STRIDE]:
        start += STRIDE
    if start >= end:
        return end
    for index in range(start, min(start + STRIDE, end)):
        if left[index] != right[index]:
            return index
    return end

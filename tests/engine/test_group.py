"""Sequences laid into common arrays hold what they would hold alone."""

import random
from typing import Any

import pytest

from tests.engine import tiny  # noqa: F401 (first: it loads the BLAS)

import mlx.core as mx  # isort: skip
from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache

from semantic_actors.engine import caches
from semantic_actors.engine.forward import stacks
from semantic_actors.engine.forward.group import Group, allowed_padding, regroup
from semantic_actors.engine.forward.past import Past

WINDOW = 24
HEADS, WIDTH = 2, 8


def tokens(seed: int, count: int) -> mx.array:
    """Random keys of some tokens, `(1, heads, count, width)`."""
    mx.random.seed(seed)
    return mx.random.normal((1, HEADS, count, WIDTH))


def past(seed: int, length: int) -> Past:
    """A sequence with one cache of each kind that can be stacked."""
    full, window, state = KVCache(), RotatingKVCache(WINDOW), ArraysCache(1)
    for layer in (full, window):
        layer.update_and_fetch(tokens(seed, length), tokens(seed, length))
    state.cache = [tokens(seed, 1)]
    caches.compact([full, window])
    return Past([full, window, state], length)


def feed(step: int, pasts: list[Past]) -> None:
    """Give each of a group's sequences its next token, in every layer."""
    group: Any = pasts[0].group
    rows = mx.concatenate([tokens(1_000 * step + id(one) % 997, 1) for one in group.pasts])
    for stack in group.stacks:
        if isinstance(stack, stacks.StateStack):
            stack.state.cache = [rows]
        else:
            stack.append(rows, rows, group.longest)
    group.advance()


class Pair:
    """A sequence in a group, and its twin that is alone."""

    def __init__(self, seed: int, length: int) -> None:
        self.past, self.alone = past(seed, length), past(seed, length)

    def follow(self, step: int) -> None:
        """Give the twin the token that `feed` gives."""
        token = tokens(1_000 * step + id(self.past) % 997, 1)
        full, window, state = self.alone.layers
        full.update_and_fetch(token, token)
        window.update_and_fetch(token, token)
        state.cache = [token]
        self.alone.length += 1

    def check(self) -> None:
        """Take the sequence out, and hold every layer to the twin's."""
        mine = self.past.own()
        assert self.past.length == self.alone.length
        for layer, twin in zip(mine[:2], self.alone.layers[:2], strict=True):
            count = min(self.past.length, getattr(layer, "max_size", self.past.length))
            assert layer.offset == twin.offset == self.past.length
            for array, same in ((layer.keys, twin.keys), (layer.values, twin.values)):
                expected = caches.last_rows(twin, same, count)
                assert mx.array_equal(caches.last_rows(layer, array, count), expected)
        assert mx.array_equal(mine[2].cache[0], self.alone.layers[2].cache[0])


@pytest.mark.parametrize("seed", range(8))
def test_a_row_is_what_its_sequence_would_be_alone(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever joins, leaves and comes back meanwhile, and however often the arrays grow."""
    monkeypatch.setattr(caches, "STEP", 8)
    chance = random.Random(seed)
    pairs = [Pair(100 * seed + i, chance.randint(1, 60)) for i in range(6)]
    here = pairs[:3]
    groups: list[Group] = []
    for step in range(40):
        if chance.random() < 0.2:
            here = chance.sample(pairs, chance.randint(2, 6))
        groups = regroup(groups, [pair.past for pair in here], most_tokens=1_000)
        assert sum(len(group.pasts) for group in groups) == len(here)
        for group in groups:
            feed(step, group.pasts)
        for pair in here:
            pair.follow(step)

    for pair in chance.sample(pairs, 6):
        pair.check()


def test_a_removed_row_leaves_the_others_in_place() -> None:
    """Forgetting a sequence costs nobody else a token."""
    pairs = [Pair(i, 30 + i) for i in range(4)]
    regroup([], [pair.past for pair in pairs], most_tokens=1_000)

    pairs[1].past.discard()

    for pair in (pairs[0], pairs[2], pairs[3]):
        pair.check()


def test_rows_of_very_different_lengths_stay_apart() -> None:
    """Padding the short to the long costs more than a call of its own."""
    lengths = [4_096, 3_900, 2_000, 1_990, 200, 30, 5]
    pasts = [past(i, length) for i, length in enumerate(lengths)]

    regroup([], pasts, most_tokens=7_000)

    groups = [one.group for one in pasts]
    assert groups[0] is groups[1] is None  # too much for one group
    assert groups[2] is groups[3] is not None
    assert groups[4] is groups[5] is groups[6] is not None
    for one in pasts:
        if isinstance(one.group, Group):
            assert one.group.longest - one.length <= allowed_padding(one.group.longest)


def test_a_group_weighs_what_its_arrays_do() -> None:
    """Each row accounts for its share, spare columns included."""
    pasts = [past(i, 40) for i in range(4)]

    regroup([], pasts, most_tokens=1_000)

    row = 4 * HEADS * WIDTH  # bytes of one token's keys
    full, window, state = 2 * 256 * row, 2 * 256 * row, row
    assert [one.size_bytes() for one in pasts] == [full + window + state] * 4


def test_padding_does_not_add_up() -> None:
    """Each joiner is compared with the shortest row, too."""
    pasts = [past(i, 30 + 250 * i) for i in range(6)]
    groups: list[Group] = []
    for i in range(1, 7):
        groups = regroup(groups, pasts[:i], most_tokens=100_000)

    for group in groups:
        shortest = min(one.length for one in group.pasts)
        assert group.longest - shortest <= allowed_padding(group.longest)


def test_an_overgrown_group_is_divided() -> None:
    """Copying it would come to stall a step."""
    pasts = [past(i, 40) for i in range(8)]
    groups = regroup([], pasts, most_tokens=320)
    assert [len(group.pasts) for group in groups] == [8]

    for step in range(21):
        for group in groups:
            feed(step, group.pasts)
    groups = regroup(groups, pasts, most_tokens=320)

    assert max(len(group.pasts) * group.longest for group in groups) <= 320


def test_what_a_lost_sequence_held_harms_nobody() -> None:
    """A row that comes where one that is no number was sees none of it."""
    pasts = [past(i, 40) for i in range(9)]
    pasts[8].layers[0].values *= float("nan")
    groups = regroup([], pasts, most_tokens=1_000)

    pasts[8].discard()
    joined = past(9, 5)
    groups = regroup(groups, [*pasts[:8], joined], most_tokens=1_000)

    assert joined.group is not None
    assert not any(mx.any(mx.isnan(array)).item() for array in joined.group.arrays())

"""Laws of the index: it finds what a naive search finds, and lets leaves go first."""

import itertools
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from semantic_actors.domain.ids import TokenIds
from semantic_actors.kv.blocks import BLOCK_TOKENS, BlockHash, Piece, Trail, pack, root
from semantic_actors.persistence.format import Stored
from semantic_actors.persistence.index import Index, shared
from tests.persistence.rig import divided, path

BEFORE = root("model", b"")


def stored(piece: Piece, size_bytes: int = 10) -> Stored:
    """Return a piece as if it were on disk."""
    fields = {name: getattr(piece, name) for name in Piece.__struct_fields__}
    return Stored(**fields, size_bytes=size_bytes)


def pieces(tokens: TokenIds, start: int, stop: int) -> list[Stored]:
    """Divide rows of a path into pieces."""
    trail = Trail(BEFORE, tokens)
    return [stored(trail.piece(a, b)) for a, b in divided(start, stop)]


def grown(choices: list[int]) -> TokenIds:
    """Make a path of few alternatives, so that paths share and part: each choice is a run."""
    runs = [tuple(range(n, n + 50 + 37 * n)) for n in range(4)]
    return tuple(itertools.chain.from_iterable(runs[choice] for choice in choices))


def _none(_: Stored) -> bool:
    return False


class Books(RuleBasedStateMachine):
    """Pieces come, go and are used; a set of (tokens up to the row) is the naive model."""

    def __init__(self) -> None:
        super().__init__()
        self.index = Index()
        self.kept: dict[BlockHash, tuple[TokenIds, Stored]] = {}
        self.order: dict[BlockHash, None] = {}
        self.clock = itertools.count(1.0)

    @rule(choices=st.lists(st.integers(0, 3), min_size=1, max_size=12), cut=st.integers(0, 400))
    def save(self, choices: list[int], cut: int) -> None:
        """Add what is missing of a path, as the store does: then all of it was used."""
        tokens = grown(choices)
        trail = Trail(BEFORE, tokens)
        start = max(0, self.index.reach(trail) - cut)
        now = next(self.clock)
        for piece in pieces(tokens, start, len(tokens)):
            self.index.add(piece, now)
            self.kept[piece.name] = tokens, piece
            self.order.pop(piece.name, None)
            self.order[piece.name] = None
        self._use(trail, now)

    @rule(choices=st.lists(st.integers(0, 3), min_size=1, max_size=12))
    def use(self, choices: list[int]) -> None:
        """Touch what is there of a path."""
        self._use(Trail(BEFORE, grown(choices)), next(self.clock))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """Lose a piece anywhere."""
        name = data.draw(st.sampled_from(sorted(self.kept)))
        self.index.remove(name)
        del self.kept[name]
        del self.order[name]

    @precondition(lambda self: self.kept)
    @rule(most=st.integers(0, 40))
    def evict(self, most: int) -> None:
        """Evict down to a number of bytes: the least recently used, and no more than needed."""
        excess = self.index.excess(most * 10, _none)
        expected = list(self.order)[: max(0, len(self.kept) - most)]
        assert expected == [piece.name for piece in excess]
        for piece in excess:
            self.index.remove(piece.name)
            del self.kept[piece.name]
            del self.order[piece.name]

    @rule(choices=st.lists(st.integers(0, 3), min_size=1, max_size=12))
    def look(self, choices: list[int]) -> None:
        """Find exactly the rows that a naive search finds, each in a piece that has it."""
        tokens = grown(choices)
        trail = Trail(BEFORE, tokens)
        have = {
            known[: row + 1]
            for known, piece in self.kept.values()
            for row in range(piece.first_row, piece.depth * BLOCK_TOKENS + piece.stop)
        }
        reach = next((r for r in range(len(tokens)) if tokens[: r + 1] not in have), len(tokens))
        assert reach == self.index.reach(trail)

        row = 0
        for extent in self.index.cover(trail, 0, len(tokens)):
            known, piece = self.kept[extent.piece.name]
            assert row == extent.first_row < extent.last_row
            assert piece.first_row <= extent.first_row
            assert tokens[: extent.last_row] == known[: extent.last_row]
            row = extent.last_row
        assert row == reach

    @invariant()
    def books_add_up(self) -> None:
        """The production check holds."""
        self.index.check_integrity()
        assert len(self.kept) == len(self.index)
        assert list(self.order) == [piece.name for piece in self.index]

    def _use(self, trail: Trail, now: float) -> None:
        used = self.index.cover(trail, 0, len(trail.tokens))
        self.index.touch(used, now)
        for extent in reversed(used):
            del self.order[extent.piece.name]
            self.order[extent.piece.name] = None


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)


def test_eviction_begins_at_the_leaves() -> None:
    """Whatever is evicted, in whatever amount: what is left of a path is its beginning."""
    rng = random.Random(0)
    index = Index()
    trails = [Trail(BEFORE, grown([rng.randrange(4) for _ in range(8)])) for _ in range(20)]
    for now, trail in enumerate(rng.choices(trails, k=60)):
        for piece in pieces(trail.tokens, index.reach(trail), len(trail.tokens)):
            index.add(piece, now)
        index.touch(index.cover(trail, 0, len(trail.tokens)), now)
    while len(index):
        for piece in index.excess(index.size_bytes - 1, _none):
            index.remove(piece.name)

        reachable = {
            extent.piece.name
            for trail in trails
            for extent in index.cover(trail, 0, len(trail.tokens))
        }
        assert reachable == {piece.name for piece in index}


def test_what_is_spared_stays() -> None:
    """However much is to be evicted."""
    index = Index()
    for piece in pieces(path(1000), 0, 1000):
        index.add(piece, 1.0)
    first = next(iter(index))

    assert len(index.excess(0, first.__eq__)) == 3
    assert len(index.unused_since(2.0, first.__eq__)) == 3
    assert index.unused_since(1.0, _none) == []


def test_a_piece_makes_redundant_what_it_holds_all_of() -> None:
    """And nothing else: neither what begins before it, nor what has other tokens."""
    tokens = path(256)
    index = Index()
    early, late, other = (
        pieces(tokens, 0, 100)[0],
        pieces(tokens, 100, 200)[0],
        pieces((*tokens[:150], 1), 100, 151)[0],
    )
    for piece in (early, late, other):
        index.add(piece, 1.0)

    assert {early.name, late.name} == {p.name for p in index.redundant(pieces(tokens, 0, 256)[0])}
    assert [late] == index.redundant(pieces(tokens, 90, 256)[0])


def test_what_lies_beyond_a_row_is_all_that_depends_on_it() -> None:
    """Later blocks, whoever added them, and all of a block's pieces that reach into it."""
    mine, theirs = path(900), (*path(500), *path(300, seed=1))
    later = (*mine, *path(300, seed=2))
    index = Index()
    own: dict[TokenIds, set[BlockHash]] = {}
    for tokens in (mine, theirs, later):
        added = pieces(tokens, index.reach(Trail(BEFORE, tokens)), len(tokens))
        own[tokens] = {piece.name for piece in added}
        for piece in added:
            index.add(piece, 1.0)
    first_block = pieces(mine, 0, 256)[0].name

    assert (own[mine] | own[later]) - {first_block} == index.beyond(Trail(BEFORE, mine), 500)


@pytest.mark.parametrize("place", [0, 1, 5, 6])
def test_shared_tokens_are_whole_ones(place: int) -> None:
    """Tokens that differ in one byte differ."""
    left = path(7)
    right = (*left[:place], left[place] ^ (1 << 24), *left[place + 1 :])

    assert place == shared(pack(left), pack(right))
    assert place == shared(pack(left), pack(left[:place]))

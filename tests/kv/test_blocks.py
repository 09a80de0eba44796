"""Laws of names: equal names mean equal tokens behind them, all the way back to the root."""

from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.kv.blocks import BLOCK_TOKENS, Trail, name, pack, root, unpack

BEFORE = root("model", b"salt")
token_ids = st.integers(0, 2**32 - 1)


def path(length: int) -> tuple[int, ...]:
    """Return token ids."""
    return tuple(range(7, 7 + length))


@given(st.lists(token_ids).map(tuple))
def test_tokens_are_unpacked_as_they_were_packed(tokens: tuple[int, ...]) -> None:
    """Four bytes each, whatever they are."""
    assert tokens == unpack(pack(tokens))
    assert len(tokens) * 4 == len(pack(tokens))


@given(st.integers(0, 700))
def test_a_token_changes_all_names_after_it_and_none_before(place: int) -> None:
    """A name stands for the whole path to it."""
    tokens = path(768)
    other = (*tokens[:place], 0, *tokens[place + 1 :])
    names = [(Trail(BEFORE, tokens).name(d), Trail(BEFORE, other).name(d)) for d in range(4)]

    assert [d * BLOCK_TOKENS <= place for d in range(4)] == [one == two for one, two in names]


def test_roots_part_models_and_principals() -> None:
    """Another identity, another salt: another name; the two do not run together."""
    roots = {root("a", b"b"), root("a", b"c"), root("b", b"b"), root("ab", b""), root("", b"ab")}

    assert len(roots) == 5


@given(st.integers(1, 700), st.integers(0, 699))
def test_a_trail_like_another_names_the_same(length: int, common: int) -> None:
    """What is taken over from another path is what would have been computed."""
    like = Trail(BEFORE, path(700))
    like.name(2)
    tokens = (*path(700)[:common], *range(length))
    blocks = len(tokens) // BLOCK_TOKENS

    assert Trail(BEFORE, tokens).name(blocks) == Trail(BEFORE, tokens, like).name(blocks)
    assert Trail(BEFORE, path(700)).name(2) == like.name(2)
    assert Trail(root("other", b""), tokens, like).name(0) == root("other", b"")


def test_a_piece_is_named_by_where_it_begins_too() -> None:
    """The whole of a block has the block's name, and no other piece of it has."""
    trail = Trail(BEFORE, path(600))
    whole, part, late = trail.piece(256, 512), trail.piece(256, 500), trail.piece(300, 512)

    assert whole.name == trail.name(2)
    assert len({whole.name, part.name, late.name, name(whole.parent, whole.tokens, 1)}) == 4
    assert (late.start, late.stop, late.rows, late.first_row) == (44, 256, 212, 300)
    assert {trail.name(1)} == {whole.parent, part.parent, late.parent}

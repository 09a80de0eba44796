"""Text from token ids, one at a time."""

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from semantic_actors.text.detokenizer import Detokenizer
from tests.text import zoo

TOKENIZERS = {True: zoo.byte_level(), False: zoo.sentencepiece()}
WORDS = st.text() | st.sampled_from(
    [" ", "  a", "the fox", "✓", "🦊👩‍👩‍👧", "\ufffd", "\n\n\n", "<think>"]
)


def _deltas(tokenizer: Tokenizer, ids: list[int], *, byte_level: bool) -> list[str]:
    stream = Detokenizer(tokenizer, byte_level=byte_level)
    return [*(stream.push(token) for token in ids), stream.flush()]


@zoo.PATIENT
@given(st.booleans(), st.data())
def test_the_pieces_of_any_ids_join_to_what_decoding_them_at_once_gives(
    byte_level: bool,  # noqa: FBT001
    data: st.DataObject,
) -> None:
    """Joined deltas are the full decode, whatever the model draws: stray bytes, spaces first."""
    tokenizer = TOKENIZERS[byte_level]
    top = max(tokenizer.get_vocab().values())
    ids = data.draw(st.lists(st.integers(0, top) | st.integers(top + 1, top + 3)))

    deltas = _deltas(tokenizer, ids, byte_level=byte_level)

    assert tokenizer.decode(ids, skip_special_tokens=False) == "".join(deltas)


@zoo.PATIENT
@given(st.booleans(), st.lists(WORDS))
def test_no_delta_has_half_a_character(
    byte_level: bool,  # noqa: FBT001
    words: list[str],
) -> None:
    """Text that a model writes well is shown without replacement characters in between."""
    tokenizer = TOKENIZERS[byte_level]
    ids = [
        token for word in words for token in tokenizer.encode(word, add_special_tokens=False).ids
    ]
    whole = tokenizer.decode(ids, skip_special_tokens=False)

    deltas = _deltas(tokenizer, ids, byte_level=byte_level)

    assert whole == "".join(deltas)
    assert whole.count("\ufffd") == sum(word.count("\ufffd") for word in words)


def test_a_character_is_shown_with_its_last_byte() -> None:
    """Nothing is held longer than a character needs, not even behind a stray byte."""
    tokenizer = TOKENIZERS[True]
    *_, stray = fox = tokenizer.encode("🦊", add_special_tokens=False).ids

    assert _deltas(tokenizer, [stray, *fox], byte_level=True) == ["\ufffd", "", "", "", "🦊", ""]


def test_an_unfinished_character_becomes_a_replacement_at_the_end() -> None:
    """Bytes of a character that never came are shown as U+FFFD when the answer ends."""
    tokenizer = TOKENIZERS[True]
    ids = tokenizer.encode("a🦊", add_special_tokens=False).ids[:-1]

    deltas = _deltas(tokenizer, ids, byte_level=True)

    assert "".join(deltas[:-1]) == "a"
    assert deltas[-1] == "\ufffd"

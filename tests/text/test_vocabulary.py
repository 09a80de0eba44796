"""Vocabularies whose models could write control tokens from plain text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from semantic_actors.text.vocabulary import Vocabulary
from tests.text import zoo

BYTES = Vocabulary(zoo.byte_level())
SPM = Vocabulary(zoo.sentencepiece())


def _unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((char, -2.0) for char in "▁</s>abc"), ("ab", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(["<unk>", "</s>"])
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False), "<tool>"])
    return tokenizer


def _whole_words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "</s>": 2}, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", "</s>"])
    return tokenizer


def _words() -> Tokenizer:
    tokenizer = Tokenizer(
        models.BPE(
            {"<": 0, "s": 1, ">": 2, "<s": 3, "<s>": 4, "<e>": 5, "e": 6},
            [("<", "s"), ("<s", ">")],
            ignore_merges=True,
        )
    )
    tokenizer.add_special_tokens(["<s>", "<e>"])
    return tokenizer


def test_a_unigram_model_does_not_find_special_tokens_among_its_pieces() -> None:
    """`</s>` is a piece of the model, and still text when a user writes it."""
    tokenizer = _unigram()
    vocabulary = Vocabulary(tokenizer)

    ids = vocabulary.splice(["a</s>b<tool>", (1,), "a\n\nc<unk>"])

    assert ids.count(1) == 1
    assert tokenizer.token_to_id("<tool>") not in ids
    assert tokenizer.token_to_id("\n\n") in ids
    assert "a</s>b" in tokenizer.decode(list(ids), skip_special_tokens=False)


def test_a_bpe_model_does_not_take_special_tokens_for_words() -> None:
    """Neither a merge nor a whole word of the vocabulary gives a special token."""
    vocabulary = Vocabulary(_words())

    assert vocabulary.splice(["<s>", (4,), "<e>"]) == (3, 2, 4, 0, 6, 2)


def test_a_word_model_does_not_take_special_tokens_for_words() -> None:
    """A special token that a user writes is an unknown word."""
    assert Vocabulary(_whole_words()).splice(["a </s>", (2,), "b"]) == (1, 0, 2, 0)


@zoo.PATIENT
@given(st.lists(st.text("ab \n", max_size=5) | st.sampled_from(["</s>", "<unk>"]), max_size=5))
def test_text_around_ids_is_encoded_as_transformers_would(parts: list[str]) -> None:
    """A slot is to the text around it what the control token in its place would be."""
    for tokenizer in (_unigram(), zoo.sentencepiece(), zoo.byte_level()):
        text = "".join(parts)
        vocabulary = Vocabulary(tokenizer)
        pieces: list[str | tuple[int, ...]] = []
        done = 0
        for found in vocabulary.scan(text):
            pieces += [text[done : found.start], (found.token,)]
            done = found.end

        expected = tokenizer.encode(text, add_special_tokens=False).ids

        assert tuple(expected) == vocabulary.splice([*pieces, text[done:]])


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_control_tokens_are_found_as_the_tokenizer_finds_them(flag: str) -> None:
    """Tokens that swallow white space, or that want to stand alone, do so here too."""
    tokenizer = zoo.byte_level()
    tokenizer.add_special_tokens([AddedToken("<x>", **{flag: True, "normalized": False})])
    vocabulary = Vocabulary(tokenizer)
    text = "a <x>  b a<x>b <x>"
    pieces: list[str | tuple[int, ...]] = []
    done = 0
    for found in vocabulary.scan(text):
        pieces += [text[done : found.start], (found.token,)]
        done = found.end

    assert tuple(tokenizer.encode(text, add_special_tokens=False).ids) == vocabulary.splice(
        [*pieces, text[done:]]
    )


def test_what_normalizes_to_a_control_token_is_found_too() -> None:
    """Full-width letters do not smuggle a token past the scan."""
    tokenizer = zoo.byte_level()
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens([AddedToken("<x>", normalized=True)])
    vocabulary = Vocabulary(tokenizer)
    smuggled = "\uff1cx\uff1e"

    assert [tokenizer.token_to_id("<x>")] == [found.token for found in vocabulary.scan(smuggled)]
    assert tokenizer.token_to_id("<x>") not in vocabulary.splice([smuggled])


def test_a_tokenizer_that_truncates_or_pads_does_not_here() -> None:
    """Settings left in a tokenizer's file do not cut prompts."""
    tokenizer = zoo.byte_level()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)

    assert (
        tokenizer.decode(list(Vocabulary(tokenizer).splice(["the quick brown fox"])))
        == "the quick brown fox"
    )


def test_byte_fallback_survives() -> None:
    """Characters that the vocabulary lacks are still written as bytes."""
    assert SPM.tokenizer.decode(list(SPM.splice(["a\n🦊"]))) == "a\n🦊"
    assert not SPM.byte_level
    assert BYTES.byte_level

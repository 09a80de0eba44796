"""Answers that are drawn without sense, and are JSON of their schema all the same."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.text import Codec
from tests.text import schemas
from tests.text.drawing import allowed, drawn, generation, grammar
from tests.text.tools import (
    FLAG,
    pieces,
    said,
)
from tests.text.zoo import CHATML

Speak = Callable[..., Path]


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_drawn_is_json_of_the_schema(pocket: Codec, seed: int) -> None:
    """A hundred schemas; the value ends, and nothing but an end comes behind it."""
    way = grammar(pocket, generation(schemas.text(seed)))
    assert way is not None

    answer = drawn(way, seed, pocket.eos_ids)

    assert answer[-1] in pocket.eos_ids
    value = json.loads(pocket.decode(answer[:-1]))
    assert schemas.holds(value, schemas.schema(seed)), value


@pytest.mark.parametrize("family", ["chatml", "llama", "spm-llama", "gemma"])
@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_tokenizer_can_be_held_to_a_schema(
    codec: Callable[[str], Codec], family: str, seed: int
) -> None:
    """Byte-level ones, and those with SentencePiece's spaces and byte fallback."""
    speaker = codec(family)
    asked = generation(schemas.text(seed))
    way = grammar(speaker, asked)
    assert way is not None

    found = pieces(speaker, asked, drawn(way, seed, speaker.eos_ids))

    assert schemas.holds(json.loads(said(found)), schemas.schema(seed))


def test_an_answer_ends_with_any_of_the_ends_that_there_are(speak: Speak) -> None:
    """A model may have several, and name one that its tokenizer has not."""
    folder = speak(CHATML)
    config = {"model_type": "llama", "eos_token_id": [5, 6, 7, 99_999]}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    codec = Codec.load(folder)
    way = grammar(codec, generation(FLAG))
    assert way is not None

    answer = drawn(way, 1, codec.eos_ids)

    assert codec.eos_ids > {5, 6, 7, 99_999}
    ends = allowed(way.begin(tuple(answer[:-1])).mask() or b"")
    assert {*ends} == codec.eos_ids - {99_999}


def test_blanks_cannot_go_on_for_ever(pocket: Codec) -> None:
    """Who draws white space wherever it may comes to an end of it."""
    way = grammar(pocket, generation(FLAG))
    assert way is not None
    blank = {token for token in range(pocket.vocabulary) if not pocket.decode((token,)).strip()}
    blank -= set(pocket._vocabulary.controls)

    guide, answer = way.begin(()), []
    for _ in range(200):
        mask = guide.mask()
        tokens = allowed(mask or b"")
        answer.append(next((token for token in tokens if token in blank), tokens[0]))
        guide.push(answer[-1])
        if answer[-1] in pocket.eos_ids:
            break

    assert isinstance(json.loads(pocket.decode(answer[:-1]))["a"], bool)
    assert len(answer) > 20


@pytest.mark.parametrize("kind", ["number", "integer"])
def test_digits_cannot_go_on_for_ever(pocket: Codec, kind: str) -> None:
    """Who draws a digit wherever one may come writes a number that every client can read."""
    answer = _insisting(pocket, json.dumps({"type": kind}), b"0123456789")

    assert 10 < len(json.dumps(json.loads(answer))) <= 50


def test_digits_of_a_string_are_the_schemas_matter(pocket: Codec) -> None:
    """There a hundred of them may be meant."""
    answer = _insisting(pocket, '{"type": "string", "maxLength": 100}', b"0123456789")

    assert re.fullmatch(r'"\d{100}"', answer)
    answer = _insisting(pocket, '{"type": "string", "pattern": "^[0-9]{50}$"}', b"0123456789")
    assert re.fullmatch(r'"\d{50}"', answer)


def _insisting(codec: Codec, schema: str, on: bytes) -> str:
    """Return the answer of a model that draws a token of such characters wherever one may come."""
    way = grammar(codec, generation(schema))
    assert way is not None
    guide, answer = way.begin(()), list[int]()
    while not codec.eos_ids.intersection(answer[-1:]):
        assert len(answer) < 300
        tokens = allowed(guide.mask() or b"")
        liked = [t for t in tokens if t > 2 and not codec._vocabulary.spelled(t).strip(on)]
        answer.append(liked[-1] if liked else tokens[0])
        guide.push(answer[-1])
    return codec.decode(answer[:-1]).strip()


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        ('"\\u00e9"', True),
        ('"\\ud83e\\udd8a"', True),
        ('"\\u0000"', True),
        ('"\\ud83e"', False),
        ('"\\udd8a"', False),
        ('"\\ud83ex"', False),
    ],
)
def test_whole_characters_may_be_escaped(pocket: Codec, written: str, *, whole: bool) -> None:
    """Half of one, which no client could read, may not."""
    way = grammar(pocket, generation('{"type": "string"}'))
    assert way is not None
    tokens = pocket._vocabulary.splice((written,))

    if whole:
        mask = way.begin(tokens).mask()
        assert set(allowed(mask or b"")) == pocket.eos_ids
    else:
        with pytest.raises(GrammarFailed):
            way.begin(tokens)


def test_text_that_spells_a_control_token_is_text(pocket: Codec) -> None:
    """A constant `<tool_call>` is written, and the control token is not."""
    way = grammar(pocket, generation('{"const": "<tool_call>"}'))
    assert way is not None

    answer = drawn(way, 1, pocket.eos_ids)

    assert json.loads(pocket.decode(answer[:-1])) == "<tool_call>"
    assert not set(answer[:-1]) & set(pocket._vocabulary.controls)


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_an_answer_is_resumed_where_it_was(pocket: Codec, cut: int) -> None:
    """A guide that is begun with half an answer allows what one that drew it allows."""
    way = grammar(pocket, generation(schemas.text(7)))
    assert way is not None
    answer = drawn(way, 7, pocket.eos_ids)[:cut]
    lived = way.begin(())
    for token in answer:
        lived.mask()
        lived.push(token)

    assert way.begin(tuple(answer)).mask() == lived.mask()


def test_a_token_that_may_not_come_ends_the_guide(pocket: Codec) -> None:
    """It says so, and does not quote the answer."""
    way = grammar(pocket, generation(FLAG))
    assert way is not None

    with pytest.raises(GrammarFailed, match=r"^token 300 was drawn"):
        way.begin((300,))


def test_nothing_is_asked_of_an_answer_without_tools_or_schema(pocket: Codec) -> None:
    """Such a request pays for no grammar."""
    assert pocket.grammar(generation()) is None

"""Marks in plain text: spelled by several tokens, the last of which may go on behind the mark."""

import pytest

from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.request import ToolChoice, ToolSpec
from semantic_actors.text import Codec
from semantic_actors.text.grammar_compiler import GrammarCompiler
from semantic_actors.text.grammar_guide import PhasedGrammar, TokenBytes
from semantic_actors.text.grammar_spec import grammar_spec
from semantic_actors.text.splitter import ThoughtMarks
from semantic_actors.text.tool_calls import Notation, Spelling
from tests.text.drawing import allowed, generation

ACROSS = '":'
"""Two characters that are one token; marks end between them."""

MARK = '@@"'
TOOLS = (ToolSpec("look", None, {"type": "object"}),)


def _way(codec: Codec, opening: str, choice: ToolChoice = ToolChoice()) -> PhasedGrammar:  # noqa: B008
    spelling = Spelling(opening, "(", ")!", "")
    notation = Notation(MARK, "!", lambda *_: [], spelling)
    marks = ThoughtMarks("##", '~~"')
    compiler = GrammarCompiler(codec._vocabulary, codec.eos_ids, notation, marks)
    wanted = grammar_spec(generation(tools=TOOLS, choice=choice))
    assert wanted is not None
    way = compiler.compile(wanted)
    assert isinstance(way, PhasedGrammar)
    return way


def _ids(codec: Codec, *texts: str) -> TokenIds:
    return tuple(token for text in texts for token in codec._vocabulary.splice((text,)))


def _next(codec: Codec, way: PhasedGrammar, *texts: str) -> set[bytes] | None:
    """Return what may come behind these texts, each in tokens of its own; None for anything."""
    mask = way.begin(_ids(codec, *texts)).mask()
    return None if mask is None else {codec._vocabulary.spelled(t) for t in allowed(mask)}


def test_the_token_is_one(pocket: Codec) -> None:
    """Or the tests below would show nothing."""
    assert len(_ids(pocket, ACROSS)) == 1


def test_a_call_begins_where_its_mark_is_complete(pocket: Codec) -> None:
    """Though it came letter by letter, and not before."""
    way = _way(pocket, f"{MARK}:")

    assert _next(pocket, way, "hi ", "@", "@") is None
    assert _next(pocket, way, "hi ", "@", "@", '"') is not None
    assert all(word.startswith(b":") for word in _next(pocket, way, "@", "@", '"') or ())


def test_what_a_token_says_behind_the_mark_is_part_of_the_call(pocket: Codec) -> None:
    """The name is next, since the colon has been written."""
    words = _next(pocket, _way(pocket, f"{MARK}:"), "hi ", "@@", ACROSS)

    assert words
    assert all(b"look({".startswith(word) for word in words)


def test_what_goes_on_in_another_way_is_no_call(pocket: Codec) -> None:
    """The text is free again, and the next call is found."""
    way = _way(pocket, f"{MARK}z")

    assert _next(pocket, way, "@@", ACROSS) is None
    assert _next(pocket, way, "@@", ACROSS, " hi ", "@@", '"') is not None


def test_behind_a_call_the_text_is_free_and_the_next_one_is_found(pocket: Codec) -> None:
    """Calls of which a notation knows the end do not end the answer."""
    way = _way(pocket, f"{MARK}:")
    call = ("@@", '"', ":look(", "{", "}", ")", "!")

    assert _next(pocket, way, *call) is None
    assert _next(pocket, way, *call, " and ", "@@", '"') is not None


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_thoughts_in_plain_text_are_found(pocket: Codec, mode: str) -> None:
    """The text behind the end of one counts as text behind it."""
    choice = ToolChoice("auto" if mode == "auto" else "required")
    way = _way(pocket, f"{MARK}:", choice)
    thought = ("#", "#", "hm @@", '"')
    ends = {pocket._vocabulary.spelled(token) for token in pocket.eos_ids}

    inside = _next(pocket, way, *thought)
    behind = _next(pocket, way, *thought, "~", "~", '"', "\n")

    assert inside is None if mode == "auto" else not ends & (inside or ends)
    assert behind is None if mode == "auto" else b"@" in (behind or ())


def test_a_token_that_ends_a_thought_and_begins_nothing_fails(pocket: Codec) -> None:
    """A call must come, and what was drawn is none."""
    way = _way(pocket, f"{MARK}:", ToolChoice("required"))

    with pytest.raises(GrammarFailed, match="may not come there"):
        way.begin(_ids(pocket, "##", "hm", "~~", ACROSS))


def test_text_is_cut_into_the_longest_words_there_are() -> None:
    """A byte that no word has leaves it uncut; control tokens are no words."""
    words = TokenBytes([b"a", b"ab", b"c", b"abc"], controls={3}, ends=frozenset({2}))

    assert words.cut(b"abca") == [1, 2, 0]
    assert words.cut(b"abd") == []
    assert words.cut(b"") == []

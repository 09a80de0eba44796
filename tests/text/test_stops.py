"""Stop strings across pieces."""

from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.text.stops import StopMatcher
from tests.text import zoo

LETTERS = st.text("ab", max_size=20)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=4).map(tuple)


def _naive(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, None


def _streamed(pieces: list[str], stops: tuple[str, ...]) -> tuple[str, str | None]:
    matcher, shown = StopMatcher(stops), ""
    for piece in pieces:
        safe, hit = matcher.push(piece)
        shown += safe
        if hit is not None:
            return shown, hit
    return shown + matcher.flush(), None


@zoo.PATIENT
@given(st.lists(LETTERS), STOPS)
def test_every_cut_gives_what_a_search_of_the_whole_text_gives(
    pieces: list[str], stops: tuple[str, ...]
) -> None:
    """The first stop string to be complete ends the text, the longest of those that end there."""
    assert _naive("".join(pieces), stops) == _streamed(pieces, stops)


@zoo.PATIENT
@given(st.lists(LETTERS), STOPS)
def test_only_what_may_become_a_stop_string_is_held(
    pieces: list[str], stops: tuple[str, ...]
) -> None:
    """What is held back is the beginning of a stop string, and no longer end of the text is."""
    matcher, shown = StopMatcher(stops), ""
    for at, piece in enumerate(pieces):
        safe, hit = matcher.push(piece)
        if hit is not None:
            return
        shown += safe
        text = "".join(pieces[: at + 1])
        begun = [size for size in range(5) if any(s[:size] == text[-size:] for s in stops if size)]
        held = max((size for size in begun if size <= len(text)), default=0)

        assert text == shown + text[len(text) - held :]


def test_a_stop_string_across_three_pieces() -> None:
    """Token borders do not matter, and the stop string itself is not shown."""
    matcher = StopMatcher(("\n\nHuman:", "END"))

    assert [
        matcher.push("hi\n"),
        matcher.push("\nHum"),
        matcher.push("an: more"),
    ] == [("hi", None), ("", None), ("", "\n\nHuman:")]


def test_without_stop_strings_nothing_is_held() -> None:
    """Empty stop strings stop nothing."""
    matcher = StopMatcher(("",))

    assert matcher.push("text") == ("text", None)
    assert matcher.flush() == ""

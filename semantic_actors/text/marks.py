"""Marks that tell a user's text from the template's in a rendered conversation.

A mark is a word with 128 random bits, drawn for one rendering: no client can know it, even if a
template quotes it in a refusal, and being plain letters and digits it survives whatever a template
does to text (JSON in ASCII, trimming).
"""

import re
import secrets
from bisect import bisect_left
from collections.abc import Collection
from typing import Any, NamedTuple

from semantic_actors.text.vocabulary import Occurrence


class Marked(NamedTuple):
    """A text with its marks taken out; where they were, in characters, ascending."""

    text: str
    opens: list[int]
    closes: list[int]

    def covers(self, found: Occurrence) -> bool:
        """Whether the user wrote any of it: a mark is inside, or its borders are a user's.

        One border is enough, because a template that splits a text may lose the other.
        """
        return _between(self.opens, found.start, found.end - 1) or _between(
            self.closes, found.start + 1, found.end
        )


class Marks:
    """The marks of one rendering: a pair for a user's text, and slots for replayed messages."""

    def __init__(self) -> None:
        """Draw the marks."""
        word = secrets.token_hex(16)
        self.open, self.close = f"{word}o", f"{word}c"
        self._word = word
        self._pair = re.compile(f"{word}([oc])")
        self.slots = re.compile(rf"{word}s(\d+)e")

    def slot(self, index: int) -> str:
        """Return what stands for the replayed message `index`."""
        return f"{self._word}s{index}e"

    def take_out(self, text: str) -> Marked:
        """Separate a rendered text from its pair marks; slots stay."""
        parts = self._pair.split(text)
        opens: list[int] = []
        closes: list[int] = []
        length = 0
        for part, kind in zip(parts[::2], parts[1::2], strict=False):
            length += len(part)
            (opens if kind == "o" else closes).append(length)
        return Marked("".join(parts[::2]), opens, closes)


class Guard:
    """Marks the strings of a user that spell a control token, or may together with a neighbour.

    All others are left as they are, so that a template that looks at them sees no difference.
    `touched` says whether any string was marked.
    """

    def __init__(self, marks: Marks, controls: Collection[str]) -> None:
        """`controls` are the control tokens that matter, as the rendered text spells them."""
        longest_first = sorted(controls, key=len, reverse=True)
        self._marks = marks
        self._controls = tuple(longest_first)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._heads = tuple({c[:cut] for c in controls for cut in range(1, len(c))})
        self._tails = tuple({c[cut:] for c in controls for cut in range(1, len(c))})
        self.touched = False

    def __call__(self, value: Any) -> Any:
        """Return a JSON value with its strings marked, keys included."""
        if isinstance(value, str):
            return self._mark(value) if self._matters(value.strip()) else value
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        return value

    def _matters(self, text: str) -> bool:
        return bool(text) and (
            text.endswith(self._heads)
            or text.startswith(self._tails)
            or any(text in control or control in text for control in self._controls)
        )

    def _mark(self, text: str) -> str:
        self.touched = True
        core = text.strip()
        start = text.index(core)
        pair = rf"{self._marks.open}\g<0>{self._marks.close}"
        marked = f"{self._marks.open}{self._pattern.sub(pair, core)}{self._marks.close}"
        return text[:start] + marked + text[start + len(core) :]


def _between(places: list[int], first: int, last: int) -> bool:
    at = bisect_left(places, first)
    return at < len(places) and places[at] <= last

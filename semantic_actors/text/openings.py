"""How a template opens an assistant's turn, so that past turns are opened as they were prompted.

A prompt may end in the beginning of a thought, or in an empty one, depending on whether the model
is to think; in the past, templates leave that out. So each past answer goes with the end of its own
prompt: the ids in which prompts of either kind differ. What is the same for all, the opening that
is shared, is put back before it in place of what the template writes of the past.
"""

import re
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

from jinja2.exceptions import SecurityError, TemplateSyntaxError

from semantic_actors.domain.ids import TokenIds
from semantic_actors.text.marks import Marks
from semantic_actors.text.vocabulary import Vocabulary

_TAGS = re.compile(r"(\s|<[^<>\s]*>)*")
"""An empty thought: what a template may put between the opening of a past turn and its text."""

_BEFORE: TokenIds = (0,)
"""Stands for what is before an opening, so that it is not encoded as the beginning of a text."""


class Apply(Protocol):
    """Renders messages, with a prompt for the next answer or not."""

    def __call__(self, messages: list[dict[str, Any]], *, prompting: bool, thinking: bool) -> str:
        """Return the text."""
        ...


def common_prefix(texts: tuple[str, ...]) -> str:
    """Return what all texts begin with."""
    alike = takewhile(lambda chars: len({*chars}) == 1, zip(*texts, strict=False))
    return "".join(chars[0] for chars in alike)


class Opening(NamedTuple):
    """What stands before an answer to come, and before one in the past, and how both begin."""

    prompted: str = ""
    narrated: str = ""

    @property
    def common(self) -> str:
        """Return what both begin with."""
        return common_prefix(self)


class Openings:
    """The openings of one template, with thinking and without."""

    def __init__(
        self, apply: Apply, vocabulary: Vocabulary, refusals: tuple[type[Exception], ...]
    ) -> None:
        """Learn them by rendering; raises what a broken template raises but `refusals`."""
        self._modes = tuple(
            _learn(apply, refusals, thinking=thinking) for thinking in (False, True)
        )
        prompted = tuple(mode.prompted for mode in self._modes)
        self._shared = _shared(prompted, vocabulary)
        apart = {_ids(vocabulary, opening, len(self._shared)) for opening in prompted}
        self._apart = sorted(apart, key=len, reverse=True)

    def apart(self, prompt: TokenIds) -> TokenIds:
        """Return the end of a prompt that not all prompts have: it goes with the answer."""
        return next((ids for ids in self._apart if prompt[len(prompt) - len(ids) :] == ids), ())

    def reopened(self, before: str, *, thinking: bool) -> str:
        """Replace what a template writes before an answer in the past by what all prompts share."""
        opening = self._modes[thinking]
        if before.endswith(opening.narrated):
            return before.removesuffix(opening.narrated) + self._shared
        head, common, tail = before.rpartition(opening.common or "\0")
        if common and _TAGS.fullmatch(tail):
            return head + self._shared
        return before


def _learn(apply: Apply, refusals: tuple[type[Exception], ...], *, thinking: bool) -> Opening:
    asked = [{"role": "user", "content": "a"}]
    slot = Marks().slot(1)
    told = [*asked, {"role": "assistant", "content": slot}, {"role": "user", "content": "b"}]
    try:
        before = apply(asked, prompting=False, thinking=thinking)
        prompted = apply(asked, prompting=True, thinking=thinking)
        narrated = apply(told, prompting=False, thinking=thinking).partition(slot)[0]
    except (TemplateSyntaxError, SecurityError):
        raise
    except refusals:
        return Opening()
    if not prompted.startswith(before) or not narrated.startswith(before):
        return Opening()
    return Opening(prompted[len(before) :], narrated[len(before) :])


def _shared(openings: tuple[str, ...], vocabulary: Vocabulary) -> str:
    """Return what all openings begin with, up to a border of control tokens in each."""
    alike = len(common_prefix(openings))
    borders = ({*_borders(opening, vocabulary)} for opening in openings)
    return openings[0][: max(b for b in set.intersection(*borders) if b <= alike)]


def _borders(opening: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Return where an opening can be cut so that its halves are encoded as the whole is."""
    controls = vocabulary.scan(opening)
    return (0, len(opening), *(c.start for c in controls), *(c.end for c in controls))


def _ids(vocabulary: Vocabulary, opening: str, start: int) -> TokenIds:
    """Encode the rest of an opening, as the template wrote it."""
    pieces: list[str | TokenIds] = [_BEFORE]
    for control in vocabulary.scan(opening):
        if control.start >= start:
            pieces += [opening[start : control.start], (control.token,)]
            start = control.end
    return vocabulary.splice([*pieces, opening[start:]])[len(_BEFORE) :]

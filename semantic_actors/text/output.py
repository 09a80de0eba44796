"""From the tokens a model draws to what a client sees.

Special tokens are hidden, except where they are part of a thought's marks or of a tool call. Stop
strings are looked for in the text that is shown; one that spans a thought or a call is none. A
decoder belongs to one answer.
"""

from collections.abc import Iterable, Mapping

import msgspec

from semantic_actors.domain.stream import TextDelta
from semantic_actors.text.detokenizer import Detokenizer
from semantic_actors.text.splitter import Part, Splitter
from semantic_actors.text.stops import StopMatcher


class StopHit(msgspec.Struct, frozen=True):
    """The text ran into this stop string; nothing comes after it."""

    stop: str


Piece = Part | StopHit


class OutputDecoder:
    """Tokens in; text, thoughts and tool calls out, in order."""

    def __init__(
        self,
        detokenizer: Detokenizer,
        special: Mapping[int, str],
        stops: StopMatcher,
        splitter: Splitter,
    ) -> None:
        """`special` spells the tokens that may be shown inside a call; `Codec.decoder` calls this.

        Tokens that end the turn are spelled as the empty string.
        """
        self._detokenizer = detokenizer
        self._special = special
        self._stops = stops
        self._splitter = splitter
        self._over = False

    @property
    def settled(self) -> bool:
        """Whether no token that was pushed has text that is still to come."""
        return self._detokenizer.settled and self._splitter.settled and self._stops.settled

    def push(self, token: int) -> tuple[Piece, ...]:
        """Take one token; return what it completes."""
        spelled = self._special.get(token)
        if spelled is None:
            return self._shown(self._splitter.push(self._detokenizer.push(token)))
        if spelled and self._splitter.expects(spelled):
            return self._shown(self._splitter.push(self._detokenizer.flush() + spelled))
        return ()

    def close(self) -> tuple[Piece, ...]:
        """Return what was held back, at the end of the answer."""
        parts = self._splitter.push(self._detokenizer.flush())
        pieces = [*self._shown((*parts, *self._splitter.close()))]
        if not self._over and (text := self._stops.flush()):
            pieces.append(TextDelta(text))
        self._over = True
        return tuple(pieces)

    def _shown(self, parts: Iterable[Part]) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        for part in parts:
            if self._over:
                break
            if isinstance(part, TextDelta):
                text, stop = self._stops.push(part.text)
            else:
                text, stop = self._stops.flush(), None
            if text:
                pieces.append(TextDelta(text))
            if not isinstance(part, TextDelta):
                pieces.append(part)
            if stop is not None:
                pieces.append(StopHit(stop))
                self._over = True
        return tuple(pieces)

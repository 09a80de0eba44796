"""Where the answer in a cache stands in its grammar, as whoever draws its tokens must know it."""

from collections.abc import Callable
from typing import Final

from semantic_actors.domain.grammar import Grammar, GrammarFailed, Guide
from semantic_actors.domain.ids import TokenIds
from semantic_actors.engine.faults import place

WORD_BYTES: Final = 4


class Guided:
    """The guide of one cache, begun and told of tokens when a mask is wanted, and not before.

    So what was drawn last need be known only then, and the token that ends an answer is seldom
    pushed. Used by the engine's thread alone.
    """

    def __init__(self, grammar: Grammar, answer: TokenIds, vocabulary: int) -> None:
        self._grammar = grammar
        self._answer = answer
        self._guide: Guide | None = None
        self._drawn: Callable[[], int] | None = None
        self._size = -(-vocabulary // (8 * WORD_BYTES)) * WORD_BYTES
        self._known = (1 << vocabulary) - 1

    def drew(self, token: Callable[[], int]) -> None:
        """Say how to read the token that was drawn; below zero it is none."""
        self._drawn = token

    def mask(self) -> bytes | None:
        """Return which tokens may be drawn next, as `Guide.mask` does, in words for all of them.

        Raises `GrammarFailed`, and nothing else, whatever the guide raises. Its reason is fit for
        a log: of another error than that, only the type and the place are told.
        """
        try:
            return self._whole(self._next())
        except GrammarFailed as error:
            message = f"the grammar cannot go on: {error}"
            raise GrammarFailed(message) from error
        except BaseException as error:  # native code that panics raises no `Exception`
            message = f"the grammar raised {type(error).__name__}{place(error)}"
            raise GrammarFailed(message) from error

    def _next(self) -> bytes | None:
        if self._guide is None:
            self._guide = self._grammar.begin(self._answer)
        if self._drawn is not None:
            token, self._drawn = self._drawn(), None
            if token < 0:
                return None
            self._guide.push(token)
        return self._guide.mask()

    def _whole(self, mask: bytes | None) -> bytes | None:
        if mask is None:
            return None
        mask = mask[: self._size].ljust(self._size, b"\0")
        if not int.from_bytes(mask, "little") & self._known:
            message = "no token may come next"
            raise GrammarFailed(message)
        return mask

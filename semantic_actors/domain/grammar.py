"""What an answer may be made of: the words between who compiles a grammar and who draws tokens."""

from typing import Protocol

from semantic_actors.domain.errors import SemanticActorsError
from semantic_actors.domain.ids import TokenIds


class GrammarFailed(SemanticActorsError):
    """A grammar cannot go on: a token it had forbidden, or a limit that was reached on the way.

    The message is for the log, and has no word of the prompt or of the answer.
    """


class Guide(Protocol):
    """Where one answer stands in its grammar. Owned by who draws; used by one thread at a time."""

    def mask(self) -> bytes | None:
        """Return which tokens may come next: bit `t` of 32-bit little-endian words, for token `t`.

        None: all may. Tokens past the last word may not. Once the answer has ended it is asked for
        one more token, which nobody reads. Raises `GrammarFailed`.
        """
        ...

    def push(self, token: int) -> None:
        """Take the token that was drawn. Raises `GrammarFailed`."""
        ...


class Grammar(Protocol):
    """A compiled grammar: never changes, may be shared by any number of answers and threads."""

    def begin(self, answer: TokenIds) -> Guide:
        """Begin an answer, of which these tokens are drawn already. Raises `GrammarFailed`."""
        ...

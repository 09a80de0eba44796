"""Grammars in plain Python: which tokens may stand at each place of an answer, and what can fail.

They note what they are asked, by whom and for which token.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.domain.ids import TokenIds

Allowed = Iterable[int] | None


def mask_of(tokens: Iterable[int]) -> bytes:
    """Write a mask in as few words as hold it; of no token, in one."""
    bits = sum(1 << token for token in set(tokens))
    return bits.to_bytes(4 * max(1, -(-bits.bit_length() // 32)), "little")


@dataclass
class Places:
    """A grammar: `allowed` at each place of the answer, over and over; None: any token.

    `begun` are the answers that its guides began with, `pushed` the tokens that they were given one
    by one, `threads` those they ran on.
    """

    allowed: tuple[Allowed, ...]
    begun: list[TokenIds] = field(default_factory=list)
    pushed: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def begin(self, answer: TokenIds) -> "Place":
        """Begin after an answer."""
        self.begun.append(answer)
        guide = Place(self)
        for token in answer:
            guide.take(token)
        return guide

    def at(self, place: int) -> Allowed:
        """Say what may stand there."""
        return self.allowed[place % len(self.allowed)]


@dataclass
class Place:
    """A guide of `Places`."""

    grammar: Places
    place: int = 0

    def mask(self) -> bytes | None:
        """Say what may come next."""
        self.grammar.threads.add(threading.get_ident())
        allowed = self.grammar.at(self.place)
        return None if allowed is None else mask_of(allowed)

    def push(self, token: int) -> None:
        """Take a token, and note it."""
        self.grammar.threads.add(threading.get_ident())
        self.grammar.pushed.append(token)
        self.take(token)

    def take(self, token: int) -> None:
        """Take a token; raises if it was forbidden."""
        allowed = self.grammar.at(self.place)
        if allowed is not None and token not in allowed:
            message = f"at {self.place} it was forbidden"
            raise GrammarFailed(message)
        self.place += 1


@dataclass
class Failing(Places):
    """A grammar that calls `fail` when so many tokens are taken."""

    after: int = 0
    fail: Callable[[], bytes] = lambda: b""
    begins: bool = True

    def begin(self, answer: TokenIds) -> "Place":
        """Begin after an answer, if it can."""
        if not self.begins:
            self.fail()
        guide = _Failing(self)
        for token in answer:
            guide.take(token)
        return guide


@dataclass
class _Failing(Place):
    def mask(self) -> bytes | None:
        """Say what may come next, or fail."""
        assert isinstance(self.grammar, Failing)
        return self.grammar.fail() if self.place == self.grammar.after else super().mask()


class Panic(BaseException):
    """What native code raises that has lost its mind."""


def limit() -> bytes:
    """Reach a limit."""
    message = "a limit was reached"
    raise GrammarFailed(message)


def bug() -> bytes:
    """Raise what nobody expects, with words that are nobody's business."""
    message = "secret words"
    raise ValueError(message)


def panic() -> bytes:
    """Panic."""
    raise Panic


def nothing_allowed() -> bytes:
    """Allow no token."""
    return bytes(8)


def beyond() -> bytes:
    """Allow only what no vocabulary has."""
    return mask_of([5_000])


FAILURES: dict[str, Callable[[], bytes]] = {
    "a limit": limit,
    "a bug": bug,
    "a panic": panic,
    "an empty mask": nothing_allowed,
    "a mask of no words": bytes,
    "a mask past the vocabulary": beyond,
}

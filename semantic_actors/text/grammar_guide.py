"""Where an answer stands: in text that nothing is asked of, or in a compiled grammar.

A grammar is a handful of phases. In a `Free` one tokens are only looked at, for what leads to the
next; a `Bound` one is a matcher of llguidance, which says which tokens go on. A grammar never
changes, and any thread may begin an answer in it; a guide belongs to one answer and is used by one
thread at a time.
"""

import re
from collections.abc import Collection, Iterable, Sequence

import msgspec
from llguidance import LLMatcher

from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.limits import MAX_NUMBER_DIGITS

Marks = tuple[tuple[bytes, int], ...]
"""Text that leads to another phase, and which one."""

_BLANK = b" \n"
_DIGITS = b"0123456789"
_PLACE = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")
_QUOTED = re.compile(r"\n +\d+ \| |\n<non-verbose/>|\. Enable '")
_REASON_CHARS = 200


class Free(msgspec.Struct, frozen=True):
    """Any tokens that `mask` allows, until a mark is written."""

    mask: bytes | None = None
    marks: Marks = ()


class Bound(msgspec.Struct, frozen=True):
    """What the grammar of `start` allows; once it is complete phase `then` goes on.

    Without `then` the answer ends there. `turns` are marks with which it may begin, white space
    aside. `start` is never used itself, only copied. `otherwise` is for a token that led here and
    went on in a way that this grammar does not know. Where another phase came
    before, as many blanks as `lead` may come in between, and the token `once` may not come again.
    """

    start: LLMatcher
    then: int | None = None
    turns: Marks = ()
    otherwise: int | None = None
    lead: int = 0
    once: int | None = None


Phase = Free | Bound


class TokenBytes:
    """The vocabulary in bytes. Control tokens are spelled out; `ends` are those that end a turn."""

    def __init__(
        self, spelled: Sequence[bytes], controls: Collection[int], ends: frozenset[int]
    ) -> None:
        self.spelled = spelled
        self.ends = ends
        words = ((word, id_) for id_, word in enumerate(spelled) if id_ not in controls)
        self._ids = {word: id_ for word, id_ in words if word}
        self._longest = max(map(len, self._ids), default=0)
        self._blanks = [
            (word, 1 << id_) for word, id_ in self._ids.items() if not word.strip(_BLANK)
        ]
        self._quote = 1 << self._ids[b'"'] if b'"' in self._ids else 0
        self._digits = sum(1 << id_ for word, id_ in self._ids.items() if word[:1].isdigit())

    def behind(self, mask: bytes, most: int, once: int | None) -> bytes:
        """Return a mask that allows tokens of so many blanks at most, too, but not `once`."""
        allowed = int.from_bytes(mask, "little")
        allowed |= sum(bit for word, bit in self._blanks if len(word) <= most)
        if once is not None:
            allowed &= ~(1 << once)
        return allowed.to_bytes(len(mask), "little")

    def without_digits(self, mask: bytes) -> bytes:
        """Return the mask of what may end a number; the same where nothing does.

        Behind a digit a quotation mark may only come in a string.
        """
        allowed = int.from_bytes(mask, "little")
        ending = 0 if allowed & self._quote else allowed & ~self._digits
        return ending.to_bytes(len(mask), "little") if ending else mask

    def but(self, tokens: Iterable[int]) -> bytes:
        """Return the mask of all tokens but these."""
        allowed = (1 << len(self.spelled)) - 1
        for token in tokens:
            allowed &= ~(1 << token)
        return allowed.to_bytes(-(-len(self.spelled) // 32) * 4, "little")

    def cut(self, text: bytes) -> list[int]:
        """Return tokens that spell `text`, the longest first; none for a byte that no token has."""
        tokens: list[int] = []
        while text:
            sizes = range(min(self._longest, len(text)), 0, -1)
            size = next((size for size in sizes if text[:size] in self._ids), 0)
            if not size:
                return []
            tokens.append(self._ids[text[:size]])
            text = text[size:]
        return tokens


class PhasedGrammar(msgspec.Struct, frozen=True):
    """Implements `Grammar`. `thinking` is the phase inside a thought, which the prompt may open."""

    words: TokenBytes
    phases: tuple[Phase, ...]
    first: int = 0
    thinking: int | None = None

    def begin(self, answer: TokenIds) -> "PhasedGuide":
        """Begin an answer, of which these tokens are drawn already. Raises `GrammarFailed`."""
        guide = PhasedGuide(self)
        for token in answer:
            guide.push(token)
        return guide

    def inside(self) -> "PhasedGrammar":
        """Return the same grammar from inside a thought."""
        begins = self.first if self.thinking is None else self.thinking
        return msgspec.structs.replace(self, first=begins)


class PhasedGuide:
    """Implements `Guide`."""

    def __init__(self, grammar: PhasedGrammar) -> None:
        self._grammar = grammar
        self._over = False
        self._phase: Phase = Free()
        self._matcher: LLMatcher | None = None
        self._turning = False
        self._read = b""
        self._digits = 0
        self._lead = 0
        self._behind = False
        self._enter(grammar.first, b"")
        self._behind = False

    def mask(self) -> bytes | None:
        """Return which tokens may come next; see `Guide`."""
        if self._over:
            return None
        if isinstance(self._phase, Free):
            return self._phase.mask
        assert self._matcher is not None, "a bound phase has one"
        mask: bytes = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise GrammarFailed(reason(self._matcher))
        if self._behind:
            return self._grammar.words.behind(mask, self._lead, self._phase.once)
        if self._digits >= MAX_NUMBER_DIGITS:
            return self._grammar.words.without_digits(mask)
        return mask

    def push(self, token: int) -> None:
        """Take the token that was drawn; see `Guide`."""
        if self._over or self._led(token):
            return
        if self._matcher is not None and not self._matcher.consume_token(token):
            message = f"token {token} was drawn, which may not come there"
            raise GrammarFailed(message)
        spelled = self._grammar.words.spelled
        if token in self._grammar.words.ends:
            self._over = True
        elif token < len(spelled):
            word = spelled[token]
            before = word.rstrip(_DIGITS)
            self._digits = len(word) - len(before) + (0 if before else self._digits)
            self._look(word)

    def _enter(self, index: int, text: bytes) -> None:
        """Go on with a phase, of which `text` is written already."""
        phase = self._grammar.phases[index]
        self._phase, self._read = phase, b""
        self._matcher = phase.start.deep_copy() if isinstance(phase, Bound) else None
        self._turning = isinstance(phase, Bound) and bool(phase.turns)
        self._lead = phase.lead if isinstance(phase, Bound) else 0
        text = text.lstrip(_BLANK)
        self._behind = not text
        if not text:
            return
        if isinstance(phase, Free) or self._follows(text):
            self._look(text)
        elif phase.otherwise is not None:
            self._enter(phase.otherwise, b"")
        else:
            message = "a token ends what comes before and begins what may not come there"
            raise GrammarFailed(message)

    def _led(self, token: int) -> bool:
        """Take a token of blanks that may come before the phase, and no other."""
        if not self._behind:
            return False
        word = (
            self._grammar.words.spelled[token] if token < len(self._grammar.words.spelled) else b""
        )
        self._behind = 0 < len(word) <= self._lead and not word.strip(_BLANK)
        self._lead -= len(word)
        return self._behind

    def _follows(self, text: bytes) -> bool:
        assert self._matcher is not None, "only a bound phase is followed"
        tokens = self._grammar.words.cut(text)
        return bool(tokens) and bool(self._matcher.consume_tokens(tokens))

    def _look(self, text: bytes) -> None:
        """Look whether what was just written leads to another phase."""
        phase = self._phase
        if isinstance(phase, Free):
            self._watch(phase.marks, text)
        elif self._turning and self._turned(phase.turns, text):
            return
        elif phase.then is not None:
            assert self._matcher is not None, "a bound phase has one"
            if self._matcher.is_stopped():
                self._enter(phase.then, b"")

    def _watch(self, marks: Marks, text: bytes) -> None:
        """Go where the first mark leads that is complete; keep what may become one."""
        self._read += text
        found = [(self._read.find(mark), mark, index) for mark, index in marks]
        ends = [(at + len(mark), index) for at, mark, index in found if at >= 0]
        if ends:
            end, index = min(ends)
            self._enter(index, self._read[end:])
        else:
            longest = max((len(mark) for mark, _ in marks), default=1)
            self._read = self._read[max(0, len(self._read) - longest + 1) :]

    def _turned(self, turns: Marks, text: bytes) -> bool:
        """Take a turn if the phase has begun with its mark; look no more once it cannot."""
        self._read = begun = (self._read + text).lstrip(_BLANK)
        for mark, index in turns:
            if begun.startswith(mark):
                self._enter(index, begun.removeprefix(mark))
                return True
        self._turning = any(mark.startswith(begun) for mark, _ in turns)
        return False


def reason(matcher: LLMatcher) -> str:
    """Say in one short line why a matcher cannot go on, without the grammar that it quotes.

    Nor the options that it recommends: a client has none of them.
    """
    message = _QUOTED.split(matcher.get_error(), maxsplit=1)[0]
    return " ".join(_PLACE.sub("", message).split())[:_REASON_CHARS]

"""What an answer is made of: thoughts, text, and calls of tools.

Knows nothing of tokens. A splitter belongs to one answer and is used by one thread. However its
text is cut into pieces, what comes out joins to the same.

A call is held until it can be read, and is plain text if it cannot. It streams as it is written
only where a grammar guarantees that it will be one (`guided`), in the spelling of the model.
"""

from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

import structlog

from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
)
from semantic_actors.text.braces import ObjectEnd
from semantic_actors.text.tool_calls import CallReader, Notation, Spelling, is_object

_log = structlog.get_logger(__name__)

_BARE = ("{", "[{", "```json")
"""What an answer begins with that may be the JSON of calls and nothing else, white space aside."""

_NO_CALLS = CallReader(Notation("", "", lambda *_: []), [])

Part = TextDelta | ThinkingDelta | CallStarted | ArgumentsDelta | ToolCalled


class ThoughtMarks(NamedTuple):
    """What a model puts before and behind what it thinks."""

    start: str
    end: str


class Splitter:
    """Text in; text, thoughts and calls out, in order.

    White space around a thought is dropped, and behind a call unless plain text follows it.
    """

    def __init__(
        self,
        thoughts: ThoughtMarks | None = None,
        calls: CallReader | None = None,
        *,
        hidden: tuple[str, ...] = (),
        thinking: bool = False,
        guided: bool = False,
        document: bool = False,
    ) -> None:
        """Begin inside a thought if `thinking`; `hidden` is taken out of the text.

        The text of a `document` is passed on to the letter from where it begins.
        """
        self._thoughts = thoughts or ThoughtMarks("", "")
        self._calls = calls or _NO_CALLS
        notation = self._calls.notation
        self._start, self._end = notation.start, notation.end
        self._bare, self._document = notation.bare and not document, document
        self._marks = tuple(mark for mark in (*self._thoughts, self._start, *hidden) if mark)
        self._spelling = notation.spelling if guided else None
        self._heads = _heads(self._spelling, self._calls.names)
        self._state: Callable[[list[Part]], bool] = self._text
        if thinking and thoughts:
            self._state = self._thought
        self._held = ""
        self._searched = 0
        self._gap: str | None = ""
        self._behind: Literal["call", "thought"] | None = None
        self._pause: str | None = None
        self._call = CallStarted("", "")
        self._arguments: list[str] = []
        self._braces = ObjectEnd()

    @property
    def settled(self) -> bool:
        """Whether nothing is held back that may come out as text."""
        return not self._held and (not self._gap or self._behind == "thought")

    def expects(self, text: str) -> bool:
        """Whether a special token spelled `text` means something here, and is not to be hidden."""
        if self._state in (self._text, self._thought):
            return any(text in mark for mark in self._marks)
        return self._state != self._whole

    def push(self, text: str) -> tuple[Part, ...]:
        """Take more text; return what is certain."""
        out: list[Part] = []
        self._held += text
        while self._state(out):
            pass
        return tuple(out)

    def close(self) -> tuple[Part, ...]:
        """Return what was held back, at the end of the answer."""
        out: list[Part] = []
        if self._state == self._whole:
            self._end_whole(out)
        held, self._held = self._held, ""
        if self._state == self._thought:
            self._think(held, out)
        elif self._state == self._text:
            self._say(held, out)
        elif self._state in (self._heading, self._body):
            _log.info("tool_call_cut", reason="unfinished")
            self._read(held, "", out)
        if self._gap and self._behind is None:
            out.append(TextDelta(self._gap))
        return tuple(out)

    # States: each takes a step in the held text, and says whether there may be another

    def _text(self, out: list[Part]) -> bool:
        """Look for what is no plain text."""
        if self._bare and self._gap is not None and self._behind != "call":
            ahead = "".join((self._gap + self._held).split())
            if ahead.startswith(_BARE):
                self._state = self._whole
            if any(ahead.startswith(bare) or bare.startswith(ahead) for bare in _BARE):
                return False
        marks = () if self._document and not self._at_mark() else self._marks
        before, mark = self._cross(marks)
        self._say(before, out)
        if mark is None:
            return False
        if mark == self._thoughts.end:
            self._go_on("thought")
        elif mark == self._thoughts.start:
            self._state = self._thought
        elif mark == self._start:
            self._state = self._heading if self._heads else self._body
        return True

    def _thought(self, out: list[Part]) -> bool:
        """Look for the end of a thought; that it begins once more says nothing."""
        before, mark = self._cross(self._thoughts)
        self._think(before, out)
        if mark == self._thoughts.end:
            self._pause = None
            self._go_on("thought")
        return mark is not None

    def _whole(self, _: list[Part]) -> bool:
        """Wait for the end of an answer that may be nothing but a call."""
        return False

    def _body(self, out: list[Part]) -> bool:
        """Wait for the end of a call."""
        if not self._end:
            return False
        at = self._held.find(self._end, max(0, self._searched - len(self._end) + 1))
        self._searched = len(self._held)
        if at < 0:
            return False
        self._searched = 0
        body, self._held = self._held[:at], self._held[at + len(self._end) :]
        self._read(body, self._end, out)
        return True

    def _heading(self, out: list[Part]) -> bool:
        """Wait for the name of a call; one that is not spelled as it should be is held."""
        written = self._start + self._held
        for head, name in self._heads.items():
            if written.startswith(head):
                self._held = written[len(head) :]
                self._call = CallStarted(self._calls.mint(), name)
                out.append(self._call)
                self._arguments, self._braces = [], ObjectEnd()
                self._state = self._object
                return True
        if any(head.startswith(written) for head in self._heads):
            return False
        self._state = self._body
        return True

    def _object(self, out: list[Part]) -> bool:
        """Pass the arguments on as they are written."""
        text, self._held = self._held, ""
        text = text if self._arguments else text.lstrip()
        end = self._braces.find(text)
        if text[:end]:
            self._arguments.append(text[:end])
            out.append(ArgumentsDelta(text[:end]))
        if end is None:
            return False
        self._held = text[end:]
        self._state = self._closing
        arguments = "".join(self._arguments)
        if is_object(arguments):
            out.append(ToolCalled(ToolCall(self._call.id, self._call.name, arguments)))
        else:
            _log.error("tool_call_malformed", reason="its grammar let it be written")
            self._state = self._lost
        return True

    def _closing(self, _: list[Part]) -> bool:
        """Drop what ends a call."""
        end = self._end or (self._spelling.closing if self._spelling else "")
        if not end or self._cross((end,))[1] is not None:
            self._go_on("call")
            return True
        return False

    def _lost(self, _: list[Part]) -> bool:
        """Drop what follows a call that has begun and is none: it has no end."""
        self._held = ""
        return False

    # Steps

    def _cross(self, marks: Collection[str]) -> tuple[str, str | None]:
        """Take out the first mark to be complete, and what is before it; or all that is of none."""
        found = [(self._held.find(mark), mark) for mark in marks]
        ends = [(at + len(mark), at, mark) for at, mark in found if at >= 0]
        if ends:
            end, at, mark = min(ends)
            before, self._held = self._held[:at], self._held[end:]
            return before, mark
        cut = len(self._held) - max((_overlap(self._held, mark) for mark in marks), default=0)
        before, self._held = self._held[:cut], self._held[cut:]
        return before, None

    def _at_mark(self) -> bool:
        """Whether no text has begun, and what comes first is or may be a mark."""
        ahead = ((self._gap or "") + self._held).lstrip()
        begins = any(ahead.startswith(mark) or mark.startswith(ahead) for mark in self._marks)
        return self._gap is not None and begins

    def _go_on(self, behind: Literal["call", "thought"]) -> None:
        """Look for text again."""
        self._state, self._gap, self._behind = self._text, "", behind

    def _say(self, text: str, out: list[Part]) -> None:
        if self._gap is not None:
            text = self._gap + text
            self._gap = None if text.strip() else text
            if self._behind == "thought":
                text = text.lstrip()
        if text and self._gap is None:
            out.append(TextDelta(text))

    def _think(self, text: str, out: list[Part]) -> None:
        text = text.lstrip() if self._pause is None else self._pause + text
        shown = text.rstrip()
        if shown:
            out.append(ThinkingDelta(shown))
        if shown or self._pause is not None:
            self._pause = text[len(shown) :]

    def _read(self, body: str, end: str, out: list[Part]) -> None:
        """Read a call that was held; without the end of its notation it is none."""
        calls = self._calls.read(body) if end == self._end else ()
        self._state = self._text
        if calls:
            self._make(calls, out)
        else:
            self._say(self._start + body + end, out)

    def _end_whole(self, out: list[Part]) -> None:
        """Read an answer as nothing but calls, or else as any other."""
        calls = self._calls.read_bare((self._gap or "") + self._held)
        self._state, self._bare = self._text, False
        if calls:
            self._held = ""
            self._make(calls, out)
        while self._state(out):
            pass

    def _make(self, calls: tuple[ToolCall, ...], out: list[Part]) -> None:
        for call in calls:
            out += (
                CallStarted(call.id, call.name),
                ArgumentsDelta(call.arguments),
                ToolCalled(call),
            )
        self._go_on("call")


def _heads(spelling: Spelling | None, names: tuple[str, ...]) -> dict[str, str]:
    """Return how calls begin, up to their arguments, and the tools they name."""
    return {spelling.head(name): name for name in names} if spelling else {}


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` with which `mark` begins but is not complete."""
    end = len(text)
    at = text.find(mark[0], max(0, end - len(mark) + 1))
    while at >= 0 and not mark.startswith(text[at:]):
        at = text.find(mark[0], at + 1)
    return end - at if at >= 0 else 0

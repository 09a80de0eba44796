"""Tool calls in the text a model writes, in the notation of that model.

Knows nothing of tokens. A splitter belongs to one answer and is used by one thread.
"""

import json
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from semantic_actors.domain.request import ToolCall

_log = structlog.get_logger(__name__)

_MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What parsers of a foreign notation raise on text that is not in it."""


class Spelling(msgspec.Struct, frozen=True):
    """How the model's template writes a call whose arguments stand there as JSON.

    A call is `opening`, its name, `between`, the JSON object, `closing`; another one follows behind
    `separator`. `opening` begins with the notation's start. Control tokens are spelled out.
    """

    opening: str
    between: str
    closing: str
    separator: str


class Notation(msgspec.Struct, frozen=True):
    """How a model writes calls: `start`, a body that `parse` reads, `end`.

    `parse(body, tools)` returns one dict or several, each with `name` and `arguments`. An empty
    `end` means that calls go on to the end of the answer. Without a `spelling` a call can only be
    read once it is complete.
    """

    start: str
    end: str
    parse: Callable[[str, list[dict[str, Any]]], Any]
    spelling: Spelling | None = None


def mint_call_id() -> str:
    """Return a new id for a call, unique and of the shape Anthropic's clients expect."""
    return f"toolu_{secrets.token_hex(12)}"


class ToolCallSplitter:
    """Splits text into plain text and calls of the tools that were offered.

    What does not parse, names a tool that was not offered or is not finished is plain text.
    White space behind a call is dropped unless plain text follows it.
    """

    def __init__(
        self,
        notation: Notation,
        tools: list[dict[str, Any]],
        mint: Callable[[], str] = mint_call_id,
    ) -> None:
        """Accept calls of `tools`, which have the shape that chat templates take."""
        self._notation = notation
        self._tools = tools
        self._names = {tool["function"]["name"] for tool in tools}
        self._mint = mint
        self._inside = False
        self._held = ""
        self._gap: str | None = None

    def expects(self, text: str) -> bool:
        """Whether a special token spelled `text` is part of a call here, not to be hidden."""
        return self._inside or text in self._notation.start

    def push(self, text: str) -> tuple[str | ToolCall, ...]:
        """Take more text; return what is certain. Held back is only what may become a call."""
        out: list[str | ToolCall] = []
        seen, self._held = len(self._held), self._held + text
        while self._step(out, seen):
            seen = 0
        return tuple(out)

    def close(self) -> tuple[str | ToolCall, ...]:
        """Return what was held back, at the end of the answer."""
        out: list[str | ToolCall] = []
        body, self._held = self._held, ""
        if not self._inside:
            self._plain(body, out)
        elif self._notation.end:
            _log.info("tool_call_cut", reason="unfinished")
            self._plain(self._notation.start + body, out)
        else:
            self._call(body, out)
        return tuple(out)

    def _step(self, out: list[str | ToolCall], seen: int) -> bool:
        """Cross one marker if there is one in the held text, of which `seen` were searched."""
        marker = self._notation.end if self._inside else self._notation.start
        if not marker:
            return False
        at = self._held.find(marker, max(0, seen - len(marker) + 1))
        if at >= 0:
            before, self._held = self._held[:at], self._held[at + len(marker) :]
            (self._call if self._inside else self._plain)(before, out)
            self._inside = not self._inside
            return True
        if not self._inside:
            cut = len(self._held) - _overlap(self._held, marker)
            before, self._held = self._held[:cut], self._held[cut:]
            self._plain(before, out)
        return False

    def _plain(self, text: str, out: list[str | ToolCall]) -> None:
        if self._gap is not None:
            text = self._gap + text
            self._gap = None if text.strip() else text
        if text and self._gap is None:
            out.append(text)

    def _call(self, body: str, out: list[str | ToolCall]) -> None:
        try:
            calls = self._parsed(body)
        except _MALFORMED as error:
            _log.warning("tool_call_rejected", reason=type(error).__name__)
            self._plain(self._notation.start + body + self._notation.end, out)
        else:
            out += calls
            self._gap = ""

    def _parsed(self, body: str) -> list[ToolCall]:
        found = self._notation.parse(body, self._tools)
        if found == []:
            raise ValueError(found)
        return [self._checked(call) for call in (found if isinstance(found, list) else [found])]

    def _checked(self, call: Any) -> ToolCall:
        name, arguments = call["name"], call["arguments"]
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        if name not in self._names or not isinstance(arguments, dict):
            raise ValueError(name)
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        text.encode()  # half a surrogate pair, which no client could read, is malformed
        return ToolCall(self._mint(), name, text)


def _overlap(text: str, marker: str) -> int:
    """Length of the longest end of `text` with which `marker` begins but is not complete."""
    longest = min(len(text), len(marker) - 1)
    return next((size for size in range(longest, 0, -1) if marker.startswith(text[-size:])), 0)

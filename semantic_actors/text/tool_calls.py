"""Tool calls in the text a model writes, in the notation of that model.

Knows nothing of tokens, nor of where in an answer calls are: see `splitter`.
"""

import json
import re
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.request import ToolCall

_log = structlog.get_logger(__name__)

_FENCE = re.compile(r"\s*```json\s*(.*?)\s*```\s*", re.DOTALL)

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

    def head(self, name: str) -> str:
        """Return how a call of a tool begins, up to its arguments.

        The name is escaped where it stands in a JSON string.
        """
        quoted = json.dumps(name, ensure_ascii=False)
        named = quoted[1:-1] if self.opening.endswith('"') else name
        return f"{self.opening}{named}{self.between}"


Parse = Callable[[str, list[dict[str, Any]]], Any]
"""Given text and tools, returns one dict or several, each with `name` and `arguments`."""


class Notation(msgspec.Struct, frozen=True):
    """How a model writes calls: `start`, a body that `parse` reads, `end`.

    An empty `end` means that calls go on to the end of the answer. Without a `spelling` a call can
    only be read once it is complete. `bare`: an answer that is nothing but the JSON of calls is
    read as these, too.
    """

    start: str
    end: str
    parse: Parse
    spelling: Spelling | None = None
    bare: bool = False


def mint_call_id() -> str:
    """Return a new id for a call, unique and of the shape Anthropic's clients expect."""
    return f"toolu_{secrets.token_hex(12)}"


class CallReader:
    """Reads the calls of the tools that were offered."""

    def __init__(
        self,
        notation: Notation,
        tools: list[dict[str, Any]],
        mint: Callable[[], str] = mint_call_id,
    ) -> None:
        """Accept calls of `tools`, which have the shape that chat templates take."""
        self.notation = notation
        self.mint = mint
        self.names = tuple(tool["function"]["name"] for tool in tools)
        self._tools = tools

    def read(self, body: str) -> tuple[ToolCall, ...]:
        """Return the calls between a start and an end; none if it is not all calls of tools."""
        return self._read(self.notation.parse, body)

    def read_bare(self, answer: str) -> tuple[ToolCall, ...]:
        """Return the calls that an answer is which is nothing else; none if it is not."""
        return self._read(_bare, answer)

    def _read(self, parse: Parse, text: str) -> tuple[ToolCall, ...]:
        try:
            found = parse(text, self._tools)
            calls = found if isinstance(found, list) else [found]
            return tuple(map(self._checked, calls))
        except _MALFORMED as error:
            _log.warning("tool_call_rejected", reason=type(error).__name__)
            return ()

    def _checked(self, call: Any) -> ToolCall:
        name, arguments = call["name"], call["arguments"]
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        if name not in self.names or not isinstance(arguments, dict):
            raise ValueError(name)
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        text.encode()  # half a surrogate pair, which no client could read, is malformed
        return ToolCall(self.mint(), name, text)


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Return the arguments of a call that a client sent. Raises `InvalidRequest`."""
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        msg = "the arguments of a tool call are not a JSON object"
        raise InvalidRequest(msg, field="messages")
    return arguments


def is_object(text: str) -> bool:
    """Whether `text` is a JSON object."""
    try:
        return isinstance(json.loads(text, parse_constant=_no_json), dict)
    except _MALFORMED:
        return False


def _no_json(constant: str) -> object:
    raise ValueError(constant)


def _bare(answer: str, _: list[dict[str, Any]]) -> Any:
    """Parse `{"name": ..., "arguments": {...}}` or a list of them, in a fence or not.

    Some models were taught to call the arguments `parameters`.
    """
    fenced = _FENCE.fullmatch(answer)
    found = json.loads(fenced[1] if fenced else answer)
    calls = found if isinstance(found, list) else [found]
    return [
        {"name": call["name"], "arguments": call.get("arguments", call.get("parameters"))}
        for call in calls
    ]

"""Ways to say a conversation that a chat template refuses as it is.

Nothing is ever moved, but results to the order of their calls: what a conversation renders to must
be where the next one begins, or the cache of every agent that adds a system message is lost.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import groupby

import msgspec

from semantic_actors.domain.request import ChatMessage

SHORT_ID_CHARS = 9
"""Mistral's templates take ids of tool calls of exactly this many letters and digits."""


class Line(msgspec.Struct, frozen=True):
    """A message, and what is rendered for it instead if the model's own tokens stand there."""

    message: ChatMessage
    slot: str | None = None


Lines = tuple[Line, ...]
Dialect = Callable[[Lines], Lines]


def in_call_order(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Put the results of calls made at once in the order of the calls.

    Clients send them in the order in which they came, and templates need not say whose they are.
    """
    out: list[ChatMessage] = []
    places: dict[str | None, int] = {}
    for is_result, run in groupby(messages, lambda message: message.role == "tool"):
        said = list(run)
        if is_result:
            said.sort(key=lambda result: places.get(result.tool_call_id, len(places)))
        else:
            places = {call.id: place for place, call in enumerate(said[-1].tool_calls)}
        out += said
    return tuple(out)


def remind(lines: Lines) -> Lines:
    """Have the user say what the system says in the middle of a conversation."""
    return lines[:1] + tuple(
        _user(f"<system-reminder>\n{line.message.content}\n</system-reminder>")
        if line.message.role == "system"
        else line
        for line in lines[1:]
    )


def begin_as_user(lines: Lines) -> Lines:
    """Have the user say what the system says at the beginning."""
    begun = lines and lines[0].message.role == "system"
    return (_user(lines[0].message.content), *lines[1:]) if begun else lines


def join_users(lines: Lines) -> Lines:
    """Make one message of a user's messages in a row."""
    out: list[Line] = []
    for line in lines:
        if out and line.message.role == out[-1].message.role == "user":
            out[-1] = _user(f"{out[-1].message.content}\n\n{line.message.content}")
        else:
            out.append(line)
    return tuple(out)


def shorten_ids(lines: Lines) -> Lines:
    """Cut the ids of tool calls to their last letters and digits."""
    return tuple(
        Line(
            msgspec.structs.replace(
                line.message,
                tool_calls=tuple(
                    msgspec.structs.replace(call, id=_short(call.id))
                    for call in line.message.tool_calls
                ),
                tool_call_id=line.message.tool_call_id and _short(line.message.tool_call_id),
            ),
            line.slot,
        )
        for line in lines
    )


def _user(content: str) -> Line:
    return Line(ChatMessage(role="user", content=content))


def _short(call_id: str) -> str:
    plain = "".join(char for char in call_id if char.isascii() and char.isalnum())
    return plain[-SHORT_ID_CHARS:].rjust(SHORT_ID_CHARS, "0")


def _then(*steps: Dialect) -> Dialect:
    return lambda lines: reduce(lambda said, step: step(said), steps, lines)


DIALECTS: tuple[Dialect, ...] = (
    _then(),
    shorten_ids,
    remind,
    _then(remind, shorten_ids),
    _then(remind, join_users),
    _then(remind, join_users, shorten_ids),
    _then(remind, begin_as_user, join_users),
    _then(remind, begin_as_user, join_users, shorten_ids),
)
"""Tried in this order, least change first; the first that the template takes is spoken."""


def spoken(lines: Lines) -> Iterator[Lines]:
    """Yield the conversation in each dialect in which it is said differently."""
    tried: set[Lines] = set()
    for dialect in DIALECTS:
        said = dialect(lines)
        if said not in tried:
            tried.add(said)
            yield said

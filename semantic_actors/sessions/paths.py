"""What a session has had computed: the token ids of its branches, and what they were made of.

Kept in memory only, to explain what a later prompt does not find. It knows nothing of caches:
whether what was computed is still there is the scheduler's. State: the paths of one session, in
order of when they ended. Owner: the session actor.
"""

from array import array
from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

import msgspec

from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.limits import MAX_KNOWN_PATHS, MAX_KNOWN_TOKENS
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Prompt, Role
from semantic_actors.kv import common_prefix
from semantic_actors.sessions.transcript import essence

TELLING_CHARS = 8
"""An answer shorter than this, without calls, may be found in any conversation."""


class Outlined(NamedTuple):
    """A message without its text; `telling` ones are in two conversations only if these are kin."""

    role: Role
    mark: int
    telling: bool


class Outline(msgspec.Struct, frozen=True):
    """A conversation without its text: hashes, of this process only, to tell what differs.

    `system` are the system messages before all others; `messages` the rest. Text prompts have none.
    """

    tools: int = 0
    system: int = 0
    messages: tuple[Outlined, ...] = ()


class Drawn(NamedTuple):
    """Where in a path the tokens of an answer are, and which of the messages it is."""

    message: int
    start: int
    stop: int


class Path(msgspec.Struct, frozen=True):
    """A branch that was computed: all of a prompt and of its answer but the last token.

    `tokens` are 32 bits each, and never changed.
    """

    tokens: "array[int]"
    outline: Outline = Outline()
    answers: tuple[Drawn, ...] = ()


def outline(prompt: Prompt) -> Outline:
    """Outline a prompt."""
    if not isinstance(prompt, ChatPrompt):
        return Outline()
    system = tuple(takewhile(lambda message: message.role == "system", prompt.messages))
    return Outline(
        hash(msgspec.json.encode(prompt.tools)),
        hash(tuple(message.content for message in system)),
        tuple(map(outlined, prompt.messages[len(system) :])),
    )


def outlined(message: ChatMessage) -> Outlined:
    """Outline a message; what clients re-serialise is no part of it."""
    named = bool(message.tool_calls) or message.tool_call_id is not None
    said = message.role == "assistant" and len(message.content.strip()) >= TELLING_CHARS
    return Outlined(message.role, hash(essence(message)), named or said)


def path(prompt: "array[int]", of: Outline, generated: TokenIds, answer: ChatMessage) -> Path:
    """Return what a turn leaves behind; the last token it drew was not read by the model."""
    tokens = prompt + array("I", generated[:-1])
    if not of.messages:
        return Path(tokens, of)
    messages = (*of.messages, outlined(answer))
    drawn = Drawn(len(of.messages), len(prompt), len(tokens))
    return Path(tokens, Outline(of.tools, of.system, messages), (drawn,))


class Paths:
    """The heads of a session's branches; what another one goes on from is not kept twice."""

    def __init__(self) -> None:
        self._paths: list[Path] = []

    def __iter__(self) -> Iterator[Path]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def learn(self, new: Path) -> None:
        """Take up a branch that was computed; the oldest ones go if they are too many."""
        new = msgspec.structs.replace(new, tokens=new.tokens[:MAX_KNOWN_TOKENS])
        shared = [(common_prefix(old.tokens, new.tokens), old) for old in self._paths]
        if any(common == len(new.tokens) for common, _ in shared):
            return
        behind = [old for common, old in shared if common == len(old.tokens)]
        answers = max((old.answers for old in behind), key=len, default=())
        kept = [old for common, old in shared if common < len(old.tokens)]
        self._paths = [*kept, msgspec.structs.replace(new, answers=(*answers, *new.answers))]
        while len(self._paths) > MAX_KNOWN_PATHS or self._size() > MAX_KNOWN_TOKENS:
            del self._paths[0]

    def _size(self) -> int:
        return sum(len(one.tokens) for one in self._paths)

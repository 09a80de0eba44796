"""Why a prompt was not found in a cache although its session had it computed: two pure functions.

`expect` compares a prompt with what the session knows, before it is submitted; `explain` says what
is missing once it is known how much was found. A miss costs the tokens that would have been found
had nothing changed and nothing been evicted.

Only a prompt that goes on with a conversation can miss by a change. It does if, behind what
changed, it has an answer or a tool result of that conversation again; or if what changed is an
answer itself, or nothing but its rendering. All else is a new branch: a sub-agent, a title, a
question asked anew at an earlier turn, a conversation made short. A first request has nothing to
miss. Neither is a loss of `LEAST_LOSS_TOKENS`: templates open all conversations alike.

Knows nothing of caches, threads or the tokenizer. State: none.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence

import msgspec

from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.usage import Miss
from semantic_actors.kv import common_prefix
from semantic_actors.sessions.paths import Outline, Outlined, Path

LEAST_LOSS_TOKENS = 16
"""A smaller loss is none: a trimmed line end, the first words of every prompt."""

TEXT_CHARS = 40
"""Text shown on each side of where a prompt diverges; read from as many tokens at most."""

Spell = Callable[[Sequence[int]], str]
"""Turns token ids into text."""


class Change(msgspec.Struct, frozen=True):
    """A prompt differs from its conversation at `position`, the first token that is another.

    Without it, its first `reusable` tokens would be what was computed before.
    """

    part: str
    position: int
    reusable: int
    text_before: str
    text_was: str
    text_now: str


class Expectation(msgspec.Struct, frozen=True):
    """A prompt compared with what its session had computed: the first `reusable` tokens of it."""

    tokens: "array[int]" = array("I")
    outline: Outline = Outline()
    reusable: int = 0
    change: Change | None = None


def expect(
    tokens: "array[int]",
    outline: Outline,
    known: Iterable[Path],
    replayed: Iterable[TokenIds],
    spell: Spell,
) -> Expectation:
    """Compare a prompt with the paths of its session, the last one learnt being the last.

    `replayed` are the answers in it whose token ids were remembered, in order: where no path of
    the conversation is known, as after a restart, all up to the last of them had been computed.
    """
    compared = [(common_prefix(path.tokens, tokens), path) for path in known]
    reusable = max((common for common, _ in compared), default=0)
    change = None
    parent = _parent(compared, outline)
    if parent is None:
        reusable = max(reusable, _recalled(tokens, replayed))
    else:
        change = _change(parent[1], tokens, outline, parent[0], spell)
    return Expectation(tokens, outline, min(reusable, len(tokens) - 1), change)


def explain(expected: Expectation, cached: int) -> Miss | None:
    """Say why no more than `cached` tokens were found; of two reasons the one that costs more."""
    gone = expected.reusable - cached
    change = expected.change
    changed = change.reusable - max(expected.reusable, cached) if change else 0
    if max(gone, changed) < LEAST_LOSS_TOKENS:
        return None
    if change is None or gone > changed:
        return Miss("gone", "cache", cached, gone)
    return Miss(
        "changed",
        change.part,
        change.position,
        changed,
        change.text_before,
        change.text_was,
        change.text_now,
    )


def _parent(compared: list[tuple[int, Path]], outline: Outline) -> tuple[int, Path] | None:
    """Find the path that shares most messages with the prompt, then most tokens, then the last."""
    marks = {message.mark for message in outline.messages}

    def kinship(known: tuple[int, Path]) -> tuple[int, int]:
        return sum(one.mark in marks for one in known[1].outline.messages), known[0]

    best = max(reversed(compared), key=kinship, default=None)
    return best if best is not None and kinship(best)[0] else None


def _change(
    parent: Path, tokens: "array[int]", outline: Outline, position: int, spell: Spell
) -> Change | None:
    """Say what differs from the parent at `position`, if that costs anything worth a word."""
    reusable = min(len(parent.tokens), len(tokens) - 1)
    if reusable - position < LEAST_LOSS_TOKENS:
        return None
    part = _part(parent, outline, position)
    if part is None:
        return None
    start, stop = max(0, position - TEXT_CHARS), position + TEXT_CHARS
    return Change(
        part,
        position,
        reusable,
        spell(tokens[start:position])[-TEXT_CHARS:],
        spell(parent.tokens[position:stop])[:TEXT_CHARS],
        spell(tokens[position:stop])[:TEXT_CHARS],
    )


def _part(parent: Path, now: Outline, position: int) -> str | None:
    """Name the first part that changed; None if the prompt does not go on with its parent.

    Messages count from 1, those of the system before all others aside.
    """
    was = parent.outline
    heads = (("tools", was.tools != now.tools), ("system", was.system != now.system))
    changed = [name for name, differs in heads if differs]
    if changed:
        return " and ".join(changed) if _goes_on(was.messages, now.messages) else None
    pairs = enumerate(zip(was.messages, now.messages, strict=False))
    for index, (old, new) in pairs:
        if old.mark != new.mark:
            if old.role == new.role == "assistant":
                return f"answer {index + 1}"
            again = _goes_on(was.messages[index + 1 :], now.messages[index:])
            return f"message {index + 1} ({new.role})" if again else None
    rendered = (one for one in parent.answers if one.start <= position < one.stop)
    answer = next(rendered, None)
    return "template" if answer is None else f"answer {answer.message + 1} re-rendered"


def _goes_on(was: Iterable[Outlined], now: Iterable[Outlined]) -> bool:
    """Whether what is telling of one conversation is in the other."""
    marks = {message.mark for message in now}
    return any(message.telling and message.mark in marks for message in was)


def _recalled(tokens: "array[int]", replayed: Iterable[TokenIds]) -> int:
    """Return where the last replayed answer ends, each looked for behind the one before it."""
    ids, reached = tokens.tobytes(), 0
    for answer in replayed:
        found = _find(ids, array("I", answer), reached)
        if found is not None and answer:
            reached = found + len(answer)
    return reached


def _find(ids: bytes, wanted: "array[int]", start: int) -> int | None:
    needle, width = wanted.tobytes(), wanted.itemsize
    at = ids.find(needle, start * width)
    while at % width and at >= 0:
        at = ids.find(needle, at + 1)
    return None if at < 0 else at // width

"""Results of verbs as lines for people.

Names of sessions are a client's words: what of them a terminal would act on is shown escaped.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from semantic_actors.domain.chronicle import (
    Forgotten,
    Resumed,
    SessionCard,
    SessionHistory,
    Suspended,
)
from semantic_actors.domain.usage import Miss

_HEAD = ("NAME", "STATE", "TURNS", "TOKENS", "ON DISK", "LAST USED", "PINNED")
_TURNS_HEAD = ("TURN", "TOKENS", "WHEN")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def card(session: SessionCard) -> list[str]:
    """Show one session."""
    return _table([_HEAD, _row(session)])


def cards(sessions: Sequence[SessionCard]) -> list[str]:
    """Show a list of sessions."""
    return _table([_HEAD, *map(_row, sessions)]) if sessions else ["no sessions"]


def history(found: SessionHistory) -> list[str]:
    """Show a session with its turns."""
    turns = [(str(turn.number), str(turn.tokens), _when(turn.at)) for turn in found.turns]
    return [*card(found.session), "", *_table([_TURNS_HEAD, *turns]), *_miss(found.miss)]


def _miss(miss: Miss | None) -> list[str]:
    if miss is None:
        return []
    texts = (("behind", miss.text_before), ("was", miss.text_was), ("is", miss.text_now))
    return [
        "",
        f"last miss: {miss.tokens_lost} tokens, from {miss.position} on: {_shown(miss.part)}",
        *(f"  {name:7}{_shown(text)}" for name, text in texts if text),
    ]


def suspended(result: Suspended) -> list[str]:
    """Show what suspending freed."""
    lost = f", {result.lost_tokens} tokens were not stored" if result.lost_tokens else ""
    return [f"{size(result.freed_bytes)} of RAM freed{lost}"]


def resumed(result: Resumed) -> list[str]:
    """Show what resuming took."""
    computed = result.tokens - result.found
    return [f"{result.tokens} tokens in RAM, {computed} of them computed again"]


def forgotten(result: Forgotten) -> list[str]:
    """Show what forgetting freed, and what it did not."""
    kept = f", {size(result.kept_bytes)} kept for other sessions" if result.kept_bytes else ""
    return [f"{size(result.freed_bytes)} of disk freed{kept}"]


def size(size_bytes: int) -> str:
    """Show a number of bytes with three digits or so."""
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004 (of KiB)
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} B"


def _row(session: SessionCard) -> tuple[str, ...]:
    return (
        _shown(session.name),
        session.state,
        str(session.turns),
        str(session.tokens),
        size(session.size_bytes),
        "-" if session.used is None else _when(session.used),
        "yes" if session.pinned else "",
    )


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

"""What goes wrong inside the engine, and how it is told to the log."""

import traceback

from semantic_actors.domain.errors import SemanticActorsError


class BrokenLaw(SemanticActorsError):
    """A plan breaks the protocol: the scheduler and the engine disagree about what is held."""


def describe(error: BaseException) -> str:
    """Say in one line what was raised and where, fit for a log."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return text + place(error)


def place(error: BaseException) -> str:
    """Say where it was raised, to be put after what; nothing where that is not known."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    return f" (at {last.filename.rpartition('/')[2]}:{last.lineno})"

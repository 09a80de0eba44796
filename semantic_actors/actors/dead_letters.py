"""Messages that nobody will act on: counted and logged, once for the whole tree.

A tell that *raises* is not a dead letter: its sender knows. These are the others: left in a
mailbox by an actor that stopped, refused, or dropped by a crash. A clean drain leaves none.
"""

import structlog

from semantic_actors.actors.message import Message

_log = structlog.get_logger(__name__)


class DeadLetters:
    """The tree's counter; the root supervisor makes it, the others inherit it."""

    def __init__(self) -> None:
        self.count = 0

    def record(self, actor: str, message: Message, reason: str) -> None:
        """Count one lost message and log its type; its content may be private."""
        self.count += 1
        _log.warning(
            "dead_letter_recorded",
            actor=actor,
            message_type=type(message).__name__,
            reason=reason,
        )

"""What a supervisor is told about a child, and what it learns when the child ends."""

import enum
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from semantic_actors.actors.actor import Actor
    from semantic_actors.actors.supervisor import Supervisor


class StopReason(enum.Enum):
    """Why an actor instance ends."""

    FINISHED = "it called stop()"
    DRAINED = "its supervisor drained it"
    STOPPED = "its supervisor left without a drain: cancelled, or gave up"
    CANCELLED = "it did not leave in time"
    CRASHED = "it failed"


class ChildSpec(msgspec.Struct, frozen=True):
    """How to make a child, and when to make it again."""

    name: str
    factory: "Callable[[], Actor[Any] | Supervisor]"
    """Makes a new instance at every start: no state survives by accident."""
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    """Make it again: always, only after a crash, or never."""
    shutdown: float = 5.0
    """Seconds that an actor may take to leave before it is cancelled; a supervisor takes what
    its children need."""


class Exit(msgspec.Struct, frozen=True):
    """How a child ended. Child tasks never raise, they return this."""

    reason: StopReason
    error: Exception | None = None


class SupervisorStatistics(msgspec.Struct, frozen=True):
    """A supervisor at one instant."""

    name: str
    """Its own name."""
    children_alive: int
    """Children with a task: running, starting, or in a restart pause; branches count as one."""
    restarts: int
    """Restarts that it decided since it was made."""
    dead_letters: int
    """Messages lost in the whole tree, not only below this supervisor."""

"""What whoever looks after sessions may ask of the house."""

from collections.abc import AsyncGenerator
from typing import Protocol

from semantic_actors.domain.chronicle import (
    Forgotten,
    Resumed,
    SessionCard,
    SessionHistory,
    Suspended,
)
from semantic_actors.domain.ids import Principal, SessionId


class Chronicle(Protocol):
    """The sessions of all principals. Raises a `Rejected` for what cannot be, or cannot be now."""

    async def sessions(self, principal: Principal) -> tuple[SessionCard, ...]:
        """List sessions, last used first."""
        ...

    async def show(self, principal: Principal, session: SessionId) -> SessionHistory:
        """Look at one with its turns."""
        ...

    async def pin(self, principal: Principal, session: SessionId, *, pinned: bool) -> SessionCard:
        """Keep it on disk whatever the budget, or no longer."""
        ...

    async def fork(
        self, principal: Principal, session: SessionId, new: SessionId, turn: int | None
    ) -> SessionCard:
        """Begin another session with its turns, up to `turn` if given; nothing is copied."""
        ...

    async def rewind(self, principal: Principal, session: SessionId, turn: int) -> SessionCard:
        """Drop its turns after `turn`."""
        ...

    async def suspend(self, principal: Principal, session: SessionId) -> Suspended:
        """Store its caches, then let them and its actor leave RAM."""
        ...

    async def resume(self, principal: Principal, session: SessionId) -> Resumed:
        """Bring what is behind its last turn back into RAM."""
        ...

    async def forget(self, principal: Principal, session: SessionId) -> Forgotten:
        """Remove it, and of what is stored all that no other session holds."""
        ...

    def export(self, principal: Principal, session: SessionId) -> AsyncGenerator[bytes]:
        """Make one file of it, in parts."""
        ...

    async def take_in(
        self, principal: Principal, session: SessionId | None, file: AsyncGenerator[bytes]
    ) -> SessionCard:
        """Make a session of such a file, under its own name or another. Nothing doubtful is."""
        ...

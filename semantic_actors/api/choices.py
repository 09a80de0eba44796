"""The turns that answer one request, as one: usually one, several if several answers are wanted.

They are begun together and cancelled together, in one place and whatever happens: it is nothing
when an answer is complete, and stops a generation within a step when nobody will read it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from semantic_actors.domain.request import Generation
from semantic_actors.domain.stream import Failed, Finished, TurnEvent
from semantic_actors.sessions.desk import Desk, Identity
from semantic_actors.sessions.turn import Turn

Choice = tuple[int, TurnEvent]
"""An event with the number of its turn."""


class Choices:
    """The events of turns in the order they come, each with the number of its turn.

    It ends when all turns have ended, or one failed. Cancelling a wait loses nothing. Of several
    turns whose reader falls behind an event or two are held here, the rest is joined in the turns.
    """

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._ended = 0
        self._relays: list[asyncio.Task[None]] = []
        self._heard: asyncio.Queue[Choice] = asyncio.Queue(1)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._turns)

    def add(self, turn: Turn) -> None:
        """Take one more turn, before any event is read."""
        self._turns.append(turn)

    def leave(self) -> None:
        """Say that nobody reads any more."""
        for relay in self._relays:
            relay.cancel()
        for turn in self._turns:
            turn.cancel()

    def __aiter__(self) -> "Choices":
        """Iterate over the events still to come."""
        return self

    async def __anext__(self) -> Choice:
        """Wait for the next event."""
        if self._ended == len(self._turns):
            raise StopAsyncIteration
        choice, event = await self._next()
        if isinstance(event, Finished):
            self._ended += 1
        elif isinstance(event, Failed):
            self._ended = len(self._turns)
        return choice, event

    async def _next(self) -> Choice:
        if len(self._turns) == 1:
            return 0, await anext(self._turns[0])
        if not self._relays:
            self._relays = [
                asyncio.create_task(self._relay(choice, turn))
                for choice, turn in enumerate(self._turns)
            ]
        return await self._heard.get()

    async def _relay(self, choice: int, turn: Turn) -> None:
        async for event in turn:
            await self._heard.put((choice, event))


@asynccontextmanager
async def begun(
    desk: Desk, identity: Identity, generations: Iterable[Generation]
) -> AsyncIterator[Choices]:
    """Begin a turn for each generation. If one is refused, none is left running."""
    choices = Choices()
    try:
        for generation in generations:
            choices.add(await desk.begin(identity, generation))
        yield choices
    finally:
        choices.leave()

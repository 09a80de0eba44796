"""The players of the kernel's tests: an actor that does what a message says, and its stage."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from semantic_actors.actors import (
    Actor,
    ChildSpec,
    Message,
    Refusal,
    Request,
    StopReason,
    Supervisor,
)

FAST = (0.01, 0.01)
"""A backoff short enough to be out of the way of other times."""


class Boom(Exception):
    """What a puppet crashes with."""


class No(Refusal):
    """What a puppet refuses with."""


class Do(Request[Any], frozen=True):
    """Have the puppet do something; what it returns is the answer."""

    action: "Callable[[Puppet], Any]"


class Urgent(Do, frozen=True):
    """The same on the control lane."""

    control = True


class Note(Message, frozen=True):
    """Have the puppet write a word in its journal."""

    word: str


class UrgentNote(Note, frozen=True):
    """The same on the control lane."""

    control = True


class Puppet(Actor[Do | Note]):
    """Obeys `Do`, keeps a journal of its hooks and notes in the list that the test gave."""

    mailbox_capacity = 4

    def __init__(self, name: str = "a", journal: list[str] | None = None) -> None:
        self.name = name
        self.journal = journal if journal is not None else []

    async def on_start(self) -> None:
        """Write +name."""
        self.journal.append(f"+{self.name}")

    async def on_message(self, message: Do | Note) -> object:
        """Obey."""
        match message:
            case Do(action=action):
                result = action(self)
                return await result if inspect.isawaitable(result) else result
            case Note(word=word):
                self.journal.append(word)
                return None

    async def on_drain(self, deadline: float) -> None:
        """Write ~name."""
        del deadline
        self.journal.append(f"~{self.name}")

    async def on_stop(self, reason: StopReason) -> None:
        """Write -name and why."""
        self.journal.append(f"-{self.name} {reason.name}")


def crash(_: Puppet) -> None:
    """Fail."""
    raise Boom


def refuse(_: Puppet) -> None:
    """Say no."""
    raise No


def now() -> float:
    """Return the loop time."""
    return asyncio.get_running_loop().time()


def puppet(name: str, journal: list[str] | None = None, **spec: Any) -> ChildSpec:
    """Return the spec of a puppet."""
    return ChildSpec(name, lambda: Puppet(name, journal), **spec)


def branch(name: str, journal: list[str], intensity: int = 1, **spec: object) -> ChildSpec:
    """Return the spec of a nested supervisor with two puppets, name1 and name2."""

    def make() -> Supervisor:
        leaves = [puppet(f"{name}{i}", journal) for i in (1, 2)]
        return Supervisor(name, leaves, intensity=intensity, backoff=FAST)

    return ChildSpec(name, make, **spec)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def on_stage(root: Supervisor, budget_s: float = 30.0) -> AsyncIterator[Supervisor]:
    """Run `root` for the `with` block, then drain it and see it return."""
    running = asyncio.create_task(root.run())
    try:
        await root.started()
        yield root
        root.drain(now() + budget_s)
        await running
    finally:
        running.cancel()
        await asyncio.wait({running})


async def settle() -> None:
    """Let all that can happen now happen (virtual time: nothing can, once time moves)."""
    await asyncio.sleep(0.001)

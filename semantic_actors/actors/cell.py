"""The part of an actor that outlives its instances: name, mailbox, watchers; or a branch's cells.

A restarted actor, and a restarted *branch* of actors, takes up the cells of its predecessor:
that is why refs stay good.
"""

from semantic_actors.actors.dead_letters import DeadLetters
from semantic_actors.actors.errors import ActorStopped
from semantic_actors.actors.mailbox import Envelope, Intake, Mailbox
from semantic_actors.actors.message import Message

DEFAULT_CAPACITY = 64
"""Messages per lane, until an actor's class says otherwise."""


class Cell:
    """A named place in the tree. An actor's has a mailbox in use, a supervisor's has children."""

    def __init__(self, name: str, dead_letters: DeadLetters) -> None:
        self.name = name
        self.dead_letters = dead_letters
        self.mailbox = Mailbox(name, DEFAULT_CAPACITY)
        self.children: dict[str, Cell] = {}
        self._starts = 0
        self._watchers: dict[Cell, Message] = {}
        self._watched: set[Cell] = set()

    def child(self, name: str) -> "Cell":
        """Return the child cell of that name: its predecessor's, or a new one."""
        if name not in self.children:
            self.children[name] = Cell(name, self.dead_letters)
        return self.children[name]

    def open(self, capacity: int) -> None:
        """Take everything again: a new instance is about to start."""
        self.mailbox.capacity = capacity
        self.mailbox.intake = Intake.ALL

    def started(self) -> None:
        """Note that an instance has started; at a restart, tell the watchers."""
        self._starts += 1
        if self._starts == 1:
            return
        for watcher, message in list(self._watchers.items()):
            watcher.mailbox.deliver(Envelope(message, None))

    def watch(self, watcher: "Cell", message: Message) -> None:
        """Tell `message` to `watcher` after each restart from now on."""
        for cell in (self, watcher):
            if cell.mailbox.intake is Intake.NOTHING:
                raise ActorStopped(cell.name)
        self._watchers[watcher] = message
        watcher._watched.add(self)  # noqa: SLF001  (both ends of one relation)

    def unwatch(self, watcher: "Cell") -> None:
        """Forget the watcher, if it is one."""
        self._watchers.pop(watcher, None)
        watcher._watched.discard(self)  # noqa: SLF001  (both ends of one relation)

    def close(self) -> None:
        """Stop for good, children included: unread asks are answered, unread tells are dead."""
        for envelope in self.mailbox.close():
            if envelope.abandoned or envelope.refuse(ActorStopped(self.name)):
                continue
            self.dead_letters.record(self.name, envelope.message, "stopped")
        for watched in list(self._watched):
            watched.unwatch(self)
        for watcher in list(self._watchers):
            self.unwatch(watcher)
        for child in self.children.values():
            child.close()

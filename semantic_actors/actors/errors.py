"""What can go wrong between actors: a flat tree by cause, apart to avoid import loops."""


class ActorError(Exception):
    """Root of what the kernel itself raises."""


class MailboxFull(ActorError):
    """The lane that the message travels on has no room; the sender decides what to do."""

    def __init__(self, actor: str, capacity: int) -> None:
        super().__init__(f"mailbox of {actor!r} is full: {capacity} messages are waiting")
        self.actor = actor
        self.capacity = capacity


class ActorStopped(ActorError):
    """The actor has stopped, or is draining and takes no new work."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"actor {actor!r} has stopped or is draining")
        self.actor = actor


class AskTimeout(ActorError):
    """No answer came within the asker's deadline; if still unread, the request is skipped."""

    def __init__(self, actor: str, timeout_s: float) -> None:
        super().__init__(f"actor {actor!r} did not answer within {timeout_s} s")
        self.actor = actor
        self.timeout_s = timeout_s


class StrayCancellation(ActorError):
    """Something awaited was cancelled by a third party: a failure, not an order to leave."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"actor {actor!r} awaited something that a third party cancelled")
        self.actor = actor


class RestartIntensityExceeded(ActorError):
    """A child had to be restarted too often; its last exception is the `__cause__`."""

    def __init__(self, supervisor: str, child: str, intensity: int, period_s: float) -> None:
        super().__init__(
            f"supervisor {supervisor!r} gave up: child {child!r} needed more than "
            f"{intensity} restarts in {period_s} s",
        )
        self.supervisor = supervisor
        self.child = child
        self.intensity = intensity
        self.period_s = period_s


class UnknownChild(ActorError):
    """The supervisor has no actor of that name (now)."""

    def __init__(self, supervisor: str, name: str) -> None:
        super().__init__(f"supervisor {supervisor!r} has no child {name!r}")
        self.supervisor = supervisor
        self.name = name


class NameTaken(ActorError):
    """The supervisor has a living child of that name already."""

    def __init__(self, supervisor: str, name: str) -> None:
        super().__init__(f"supervisor {supervisor!r} already has a child {name!r}")
        self.supervisor = supervisor
        self.name = name


class Refusal(Exception):
    """Base of every "no" that is an answer: raised by `on_message`, the actor lives on.

    Validation errors are replies, failures are crashes (Akka, "fault tolerance").
    """

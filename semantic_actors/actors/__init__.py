"""The actor kernel: mailboxes, refs, supervision. It knows nothing of language models."""

from semantic_actors.actors.actor import Actor
from semantic_actors.actors.deferred import Deferred
from semantic_actors.actors.errand import Errand
from semantic_actors.actors.errors import (
    ActorError,
    ActorStopped,
    AskTimeout,
    MailboxFull,
    NameTaken,
    Refusal,
    RestartIntensityExceeded,
    StrayCancellation,
    UnknownChild,
)
from semantic_actors.actors.message import Message, Request
from semantic_actors.actors.own_thread import OwnThread
from semantic_actors.actors.ref import ActorRef
from semantic_actors.actors.spec import ChildSpec, StopReason, SupervisorStatistics
from semantic_actors.actors.supervisor import Supervisor
from semantic_actors.actors.trace import bind_request, current_request

__all__ = [
    "Actor",
    "ActorError",
    "ActorRef",
    "ActorStopped",
    "AskTimeout",
    "ChildSpec",
    "Deferred",
    "Errand",
    "MailboxFull",
    "Message",
    "NameTaken",
    "OwnThread",
    "Refusal",
    "Request",
    "RestartIntensityExceeded",
    "StopReason",
    "StrayCancellation",
    "Supervisor",
    "SupervisorStatistics",
    "UnknownChild",
    "bind_request",
    "current_request",
]

"""What the scheduler is told, and what it tells the actor that submitted a sequence."""

from typing import Any, ClassVar

import msgspec

from semantic_actors.actors import ActorRef, Message, Request
from semantic_actors.domain.errors import Rejected
from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import Principal, SequenceId, SessionId, TokenIds
from semantic_actors.domain.request import Sampling
from semantic_actors.engine.protocol import StepOutput, TokenLogprobs
from semantic_actors.persistence.messages import Fetched, Saved
from semantic_actors.scheduling.sequence import SequenceFinish
from semantic_actors.scheduling.snapshot import Snapshot


class Submit(Message, frozen=True):
    """Queue a prompt as `sequence`, an id from `new_sequence_id`.

    `reply_to` hears `Refused`; or `Accepted`, `Admitted`, then `Generated` until one of them has a
    `finish`, or `SequenceFailed` instead. A `resumed` one was accepted before and is not refused
    for a full queue; the last `generated` of its tokens are its answer so far, of `max_tokens` in
    all. `deaths` says at how many deaths in a row it was running.
    """

    sequence: SequenceId
    principal: Principal
    tokens: TokenIds
    max_tokens: int
    stop_ids: frozenset[int]
    sampling: Sampling
    reply_to: ActorRef[Any]
    generated: int = 0
    resumed: bool = False
    deaths: int = 0
    session: SessionId | None = None
    grammar: Grammar | None = None


class Abort(Message, frozen=True):
    """Stop a sequence within one step; its computed prefix stays for reuse."""

    control: ClassVar[bool] = True
    sequence: SequenceId


class StepDone(Message, frozen=True):
    """The engine finished the step it was given."""

    control: ClassVar[bool] = True
    epoch: int
    output: StepOutput


class EngineLost(Message, frozen=True):
    """The engine thread died."""

    control: ClassVar[bool] = True
    epoch: int
    reason: str


class Inspect(Request[Snapshot], frozen=True):
    """Ask for the counters."""

    control: ClassVar[bool] = True


class Probe(Request[None], frozen=True):
    """Have one token generated; answered when it came out."""

    control: ClassVar[bool] = True


class Flush(Request[None], frozen=True):
    """Ask for the moment when nothing runs and all that is to be kept is in the store."""

    control: ClassVar[bool] = True


class AskResidents(Request[frozenset[tuple[Principal, SessionId]]], frozen=True):
    """Ask which sessions have caches in RAM, or wait for one."""

    control: ClassVar[bool] = True


class Left(msgspec.Struct, frozen=True):
    """Caches left RAM. `lost_tokens` of them were never stored, and will be computed again."""

    freed_bytes: int
    lost_tokens: int


class Leave(Request[Left], frozen=True):
    """Have the idle caches of a session leave RAM, as soon as they are stored if that is wanted."""

    control: ClassVar[bool] = True
    principal: Principal
    session: SessionId
    stored: bool = True


class Warm(Request[int], frozen=True):
    """Bring what is behind a path into RAM; answered, once it is there, with the tokens found."""

    principal: Principal
    session: SessionId
    tokens: TokenIds


class LookedUp(Message, frozen=True):
    """The store has the first `stored` tokens of a sequence that waits."""

    control: ClassVar[bool] = True
    sequence: SequenceId
    stored: int


class StoreRestarted(Message, frozen=True):
    """The store was restarted, and has forgotten what it was asked."""

    control: ClassVar[bool] = True


class Accepted(Message, frozen=True):
    """The sequence is in the queue."""

    control: ClassVar[bool] = True
    sequence: SequenceId


class Refused(Message, frozen=True):
    """The sequence will not be served, and why."""

    control: ClassVar[bool] = True
    sequence: SequenceId
    error: Rejected


class Admitted(Message, frozen=True):
    """The sequence runs now; `cached` tokens of its prompt were found in a cache."""

    control: ClassVar[bool] = True
    sequence: SequenceId
    cached: int


class Generated(Message, frozen=True):
    """New tokens, in order; with `finish` they are the last.

    `logprobs` has one for each token, or none at all if none were asked for.
    """

    control: ClassVar[bool] = True
    sequence: SequenceId
    tokens: TokenIds
    finish: SequenceFinish | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()


class SequenceFailed(Message, frozen=True):
    """The engine could not go on with this sequence; `reason` is for the log.

    If that is `permanent`, it would come to the same again.
    """

    control: ClassVar[bool] = True
    sequence: SequenceId
    reason: str
    permanent: bool = False


SchedulerMessage = (
    Submit
    | Abort
    | StepDone
    | EngineLost
    | Inspect
    | Probe
    | Flush
    | AskResidents
    | Leave
    | Warm
    | LookedUp
    | Fetched
    | Saved
    | StoreRestarted
)
SubscriberMessage = Accepted | Refused | Admitted | Generated | SequenceFailed

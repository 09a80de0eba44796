"""What a session actor is told."""

from typing import ClassVar

from semantic_actors.actors import Message, Request
from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import TokenIds, TurnId
from semantic_actors.domain.request import Generation
from semantic_actors.domain.usage import Miss
from semantic_actors.scheduling import Accepted, Admitted, Generated, Refused, SequenceFailed
from semantic_actors.sessions.misses import Expectation
from semantic_actors.sessions.transcript import Digest
from semantic_actors.sessions.turn import Turn


class Begin(Request[Turn], frozen=True):
    """Answer a prompt as `turn`; the reply comes once the scheduler accepted it, or refused."""

    turn: TurnId
    generation: Generation


class CancelTurn(Message, frozen=True):
    """Nobody reads this turn any more."""

    control: ClassVar[bool] = True
    turn: TurnId


class CutTurns(Message, frozen=True):
    """End every open turn with `error`, now, and begin no other."""

    control: ClassVar[bool] = True
    error: Exception


class Retire(Message, frozen=True):
    """Leave, as soon as no turn is open."""

    control: ClassVar[bool] = True


class Dismiss(Request[bool], frozen=True):
    """Leave now, unless a turn is open; the answer says whether."""

    control: ClassVar[bool] = True


class LastMiss(Request[Miss | None], frozen=True):
    """Ask why a prompt of this session was last computed again, if one was."""

    control: ClassVar[bool] = True


class SchedulerRestarted(Message, frozen=True):
    """A new epoch began: every sequence of the old one is gone."""

    control: ClassVar[bool] = True


class Rendered(Message, frozen=True):
    """The prompt's token ids; `digest` is that of the conversation, empty for plain text.

    `expected` says how much of it the session has had computed before, `thinking` that the answer
    begins inside a thought that the prompt has opened, `grammar` what it may be made of.
    """

    control: ClassVar[bool] = True
    turn: TurnId
    tokens: TokenIds
    digest: Digest = b""
    expected: Expectation = Expectation()
    thinking: bool = False
    grammar: Grammar | None = None


class RenderFailed(Message, frozen=True):
    """The prompt could not be rendered."""

    control: ClassVar[bool] = True
    turn: TurnId
    error: Exception


ToTurn = Rendered | RenderFailed | CancelTurn
FromScheduler = Accepted | Refused | Admitted | Generated | SequenceFailed
TurnMessage = ToTurn | FromScheduler | SchedulerRestarted | CutTurns
SessionMessage = Begin | Retire | Dismiss | LastMiss | TurnMessage

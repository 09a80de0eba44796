"""The state machine of one turn: one method per state.

    rendering -> submitting -> queued -> generating -> ended
                     ^            |          |
                     +------------+----------+    the scheduler or the sequence died

From any state a refusal, a cancellation or a cut leads to `ended`. After a death the prompt and the
tokens already generated are submitted again, and the stream goes on where it was: tokens are drawn
by position, so it goes on as it would have.

Synchronous; effects go through `Ports`. Owned by its session.
"""

from collections.abc import Callable

from semantic_actors.actors import Deferred
from semantic_actors.domain.errors import Rejected, TurnFailed
from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import SequenceId, TokenIds, TurnId
from semantic_actors.domain.request import ChatMessage, Generation
from semantic_actors.domain.stream import (
    Failed,
    Finished,
    FinishReason,
    Started,
    ThinkingDelta,
)
from semantic_actors.domain.usage import Miss, Usage
from semantic_actors.scheduling import (
    Accepted,
    Admitted,
    Generated,
    Refused,
    SequenceFailed,
)
from semantic_actors.sessions.messages import (
    CancelTurn,
    CutTurns,
    Rendered,
    RenderFailed,
    SchedulerRestarted,
    TurnMessage,
)
from semantic_actors.sessions.misses import Expectation, explain
from semantic_actors.sessions.ports import Ports
from semantic_actors.sessions.spoken import Spoken
from semantic_actors.sessions.transcript import Digest
from semantic_actors.sessions.turn import Turn
from semantic_actors.text import OutputDecoder, Piece, StopHit

ATTEMPTS = 3
"""Deaths of a running sequence in a row, without a new token, that end its turn. One that takes
the whole engine down each time is given up before the supervisor gives up the scheduler."""


class Answer:
    """One turn. `tokens` is the prompt followed by what was generated."""

    def __init__(
        self, turn: Turn, generation: Generation, reply: Deferred[Turn], ports: Ports
    ) -> None:
        self.turn = turn
        self.generation = generation
        self.tokens: list[int] = []
        self.sequence: SequenceId | None = None
        self.conversation: Digest = b""
        self.expected = Expectation()
        self._spoken = Spoken()
        self._thinking_tokens = 0
        self.state: Callable[[TurnMessage], None] = self.rendering
        self._reply = reply
        self._ports = ports
        self._decoder: OutputDecoder | None = None
        self.grammar: Grammar | None = None
        self._prompt_tokens = 0
        self._cached: int | None = None
        self._miss: Miss | None = None
        self._failures = 0
        self._begun = False
        self._stop_hit: str | None = None

    @property
    def id(self) -> TurnId:
        """The turn's id."""
        return self.turn.id

    @property
    def ended(self) -> bool:
        """Whether the machine has come to rest."""
        return self.state == self._ended

    @property
    def deaths(self) -> int:
        """How often in a row its sequence ran when it or the engine died, without a token."""
        return self._failures

    @property
    def resumed(self) -> bool:
        """Whether it was accepted before."""
        return self._begun

    @property
    def generated(self) -> TokenIds:
        """What was generated, the end-of-turn token included."""
        return tuple(self.tokens[self._prompt_tokens :])

    @property
    def prompted(self) -> TokenIds:
        """The prompt."""
        return tuple(self.tokens[: self._prompt_tokens])

    @property
    def message(self) -> ChatMessage:
        """The answer in canonical form."""
        return self._spoken.message

    @property
    def usage(self) -> Usage:
        """What the turn has cost so far."""
        return Usage(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached or 0,
            completion_tokens=len(self.generated),
            miss=self._miss,
            thinking_tokens=self._thinking_tokens,
        )

    # States

    def rendering(self, message: TurnMessage) -> None:
        """The prompt is being tokenized."""
        match message:
            case Rendered() if self._reply.abandoned:
                self._fail(TurnFailed("the client left"))
            case Rendered():
                self._rendered(message)
            case RenderFailed(error=error):
                self._fail(error)
            case _:
                self._leave_if_told(message)

    def submitting(self, message: TurnMessage) -> None:
        """The scheduler was told."""
        match message:
            case Accepted():
                self.state = self.queued
                self._accepted()
            case Refused(error=error):
                self._fail(error)
            case SchedulerRestarted():
                self._submit()
            case _:
                self._leave_if_told(message)

    def queued(self, message: TurnMessage) -> None:
        """The sequence waits for its first step."""
        match message:
            case Admitted(cached=cached):
                self.state = self.generating
                self._admitted(cached)
            case SequenceFailed():
                self._try_again()
            case SchedulerRestarted():
                self._submit()
            case _:
                self._leave_if_told(message)

    def generating(self, message: TurnMessage) -> None:
        """Tokens come."""
        match message:
            case Generated():
                self._failures = 0
                self._extend(message)
            case SequenceFailed(permanent=True, reason=reason):
                self._fail(TurnFailed(reason))
            case SequenceFailed() | SchedulerRestarted():
                self._try_again()
            case _:
                self._leave_if_told(message)

    def _ended(self, message: TurnMessage) -> None:
        """Whatever still arrives is late."""

    # Transitions

    def _leave_if_told(self, message: TurnMessage) -> None:
        match message:
            case CancelTurn():
                self._stop(TurnFailed("cancelled"))
            case CutTurns(error=error):
                self._stop(error)
            case _:
                pass

    def _submit(self) -> None:
        self.state = self.submitting
        try:
            self.sequence = self._ports.submit(self)
        except Rejected as error:
            self._fail(error)

    def _try_again(self) -> None:
        self._failures += 1
        if self._failures < ATTEMPTS:
            self._submit()
        else:
            self._fail(TurnFailed(f"the engine failed {ATTEMPTS} times in a row on this turn"))

    def _accepted(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self._reply.abandoned:
            self._stop(TurnFailed("the client left"))
        else:
            self._reply.resolve(self.turn)

    def _admitted(self, cached: int) -> None:
        """Say what it costs, once: what is found when it is resumed is its own."""
        if self._cached is not None:
            return
        self._cached = cached
        self._miss = explain(self.expected, cached)
        if self._miss is not None:
            self._ports.missed(self._miss)
        self.turn.put(Started(self.usage))

    def _rendered(self, message: Rendered) -> None:
        self.conversation, self.expected = message.digest, message.expected
        self.tokens = list(message.tokens)
        self._prompt_tokens = len(message.tokens)
        self.grammar = message.grammar
        self._decoder = self._ports.decoder(
            self.generation, thinking=message.thinking, guided=message.grammar is not None
        )
        self._submit()

    def _extend(self, message: Generated) -> None:
        assert self._decoder is not None, "nothing is generated before it is rendered"
        tokens, finish = message.tokens, message.finish
        for index, token in enumerate(tokens):
            self.tokens.append(token)
            if finish == "stop" and index == len(tokens) - 1:
                break
            self._spoken.drew(map(self._ports.logprobs, message.logprobs[index : index + 1]))
            if self._emit(self._decoder.push(token)):
                self._stop_sequence_hit()
                return
            if self._decoder.settled:
                self._spoken.settle()
        if finish is None:
            return
        if self._emit(self._decoder.close()):
            self._stop_sequence_hit()
            return
        self.state = self._ended
        if self._spoken.whole:
            self._ports.completed(self)
        self._finish("tool_calls" if self._spoken.calls and finish == "stop" else finish)

    def _emit(self, pieces: tuple[Piece, ...]) -> bool:
        """Pass pieces on; True if one was a stop string."""
        for piece in pieces:
            if isinstance(piece, StopHit):
                self._stop_hit = piece.stop
                return True
            if isinstance(piece, ThinkingDelta):
                self._thinking_tokens = len(self.tokens) - self._prompt_tokens
            self.turn.put(self._spoken.say(piece))
        return False

    def _stop_sequence_hit(self) -> None:
        self._abort()
        self.state = self._ended
        self._finish("stop_sequence", self._stop_hit)

    def _finish(self, reason: FinishReason, stop_sequence: str | None = None) -> None:
        self.turn.put(Finished(reason, self.usage, stop_sequence))

    def _stop(self, error: Exception) -> None:
        self._abort()
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.state = self._ended
        self._reply.reject(error)
        self.turn.put(Failed(error))

    def _abort(self) -> None:
        if self.sequence is not None:
            self._ports.abort(self.sequence)

"""The session actor: the turns of one agent and the memory of what it answered.

A session may have several turns open at once (sub-agents, retries, side questions): each is a
branch over caches the scheduler keeps, found by token ids. The session never blocks: text work
runs on the text thread, and the scheduler is told and answers by messages.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

import structlog

from semantic_actors.actors import (
    Actor,
    ActorError,
    ActorRef,
    ActorStopped,
    Deferred,
    MailboxFull,
    StopReason,
)
from semantic_actors.domain.errors import Draining, Overloaded, SemanticActorsError, TurnFailed
from semantic_actors.domain.ids import Principal, SequenceId, SessionId, TokenIds, TurnId
from semantic_actors.domain.request import ChatPrompt, Generation
from semantic_actors.domain.stream import DrawnLogprob
from semantic_actors.domain.usage import Miss
from semantic_actors.persistence.messages import Recall, Remember, StoreMessage
from semantic_actors.scheduling import (
    Abort,
    Accepted,
    Admitted,
    SchedulerMessage,
    Submit,
    TokenLogprobs,
    new_sequence_id,
)
from semantic_actors.sessions.answer import Answer
from semantic_actors.sessions.messages import (
    Begin,
    CancelTurn,
    CutTurns,
    Dismiss,
    FromScheduler,
    LastMiss,
    Rendered,
    RenderFailed,
    Retire,
    SchedulerRestarted,
    SessionMessage,
    TurnMessage,
)
from semantic_actors.sessions.paths import Paths, path
from semantic_actors.sessions.reading import Reader
from semantic_actors.sessions.transcript import Digest, Transcript
from semantic_actors.sessions.turn import Turn
from semantic_actors.text import Codec, OutputDecoder

RECALL_TIMEOUT_S = 2.0
"""A store that takes longer is not waited for: the conversation is read again."""

log = structlog.get_logger(__name__)


class Session(Actor[SessionMessage]):
    """See the module.

    `remembered` is told the digest of each conversation it can continue, `ended` that it is gone.
    It leaves by itself when it is retired, or has nothing to remember, and no turn is open.
    """

    mailbox_capacity = 1024

    def __init__(
        self,
        session: SessionId,
        principal: Principal,
        *,
        codec: Codec,
        text_thread: Executor,
        scheduler: ActorRef[SchedulerMessage],
        store: ActorRef[StoreMessage] | None = None,
        context: int,
        remembered: Callable[[Digest], None],
        ended: Callable[[], None],
    ) -> None:
        self._session = session
        self._principal = principal
        self._codec = codec
        self._scheduler = scheduler
        self._store = store
        self._context = context
        self._remembered = remembered
        self._ended = ended
        self._transcript = Transcript()
        self._reader = Reader(codec, text_thread, self._transcript)
        self._paths = Paths()
        self._last_miss: Miss | None = None
        self._answers: dict[TurnId, Answer] = {}
        self._retired = False
        self._cut: Exception | None = None

    async def on_start(self) -> None:
        """Watch the scheduler: its restarts are resumptions here. Recall what was answered."""
        self._scheduler.watch(self.ref, SchedulerRestarted())
        if self._store is None:
            return
        try:
            recall = Recall(self._principal, self._session)
            answers = await self._store.ask(recall, timeout=RECALL_TIMEOUT_S)
            self._transcript.restore(answers)
        except (ActorError, SemanticActorsError) as error:
            log.warning("session_not_recalled", reason=str(error))

    async def on_message(self, message: SessionMessage) -> object:
        """Hand the message to the turns it is about."""
        match message:
            case Begin():
                self._begin(message)
            case Retire():
                self._retired = True
                self._leave_if_idle()
            case Dismiss():
                return self._dismissed()
            case LastMiss():
                return self._last_miss
            case CutTurns(error=error):
                self._cut = error
                self._advance_all(message)
            case SchedulerRestarted():
                self._advance_all(message)
            case Rendered() | RenderFailed() | CancelTurn():
                if message.turn in self._answers:
                    self._advance(self._answers[message.turn], message)
            case _:
                self._heard(message)
        return None

    async def on_stop(self, reason: StopReason) -> None:
        """End what is open: nobody waits for a session that is gone."""
        graceful = reason in (StopReason.DRAINED, StopReason.FINISHED)
        error = Draining() if graceful else TurnFailed(f"the session stopped: {reason.value}")
        for answer in self._answers.values():
            answer.state(CutTurns(error))
        self._answers.clear()
        self._ended()

    # Ports of the answers

    def decoder(self, generation: Generation, *, thinking: bool, guided: bool) -> OutputDecoder:
        """Make a decoder of the model's output."""
        return self._codec.decoder(generation, thinking=thinking, guided=guided)

    def logprobs(self, logprobs: TokenLogprobs) -> DrawnLogprob:
        """Say in bytes what the engine says in ids."""
        return self._codec.logprobs(logprobs.chosen, logprobs.token, logprobs.top)

    def submit(self, answer: Answer) -> SequenceId:
        """Ask the scheduler to go on from the answer's tokens."""
        wanted = answer.generation.max_tokens
        most = self._context if wanted is None else wanted
        submission = Submit(
            sequence=new_sequence_id(),
            principal=self._principal,
            session=self._session,
            tokens=tuple(answer.tokens),
            max_tokens=max(most, len(answer.generated) + 1),
            generated=len(answer.generated),
            stop_ids=self._codec.eos_ids,
            sampling=answer.generation.sampling,
            reply_to=self.ref,
            resumed=answer.resumed,
            deaths=answer.deaths,
            grammar=answer.grammar,
        )
        try:
            self._scheduler.tell(submission)
        except MailboxFull:
            message = "too many requests at once"
            raise Overloaded(message, retry_after_s=1) from None
        except ActorStopped:
            raise Draining from None
        return submission.sequence

    def abort(self, sequence: SequenceId) -> None:
        """Stop a sequence; a scheduler that is gone has stopped it already."""
        with suppress(ActorStopped):
            self._scheduler.post(Abort(sequence))

    def missed(self, miss: Miss) -> None:
        """Keep the miss for whoever asks; its texts are not for the log."""
        self._last_miss = miss
        log.info(
            "prefix_missed",
            session=self._session,
            kind=miss.kind,
            part=miss.part,
            position=miss.position,
            tokens_lost=miss.tokens_lost,
        )

    def completed(self, answer: Answer) -> None:
        """Remember the ids of an answer of which nothing was cut off."""
        prompt = answer.generation.prompt
        if isinstance(prompt, ChatPrompt):
            drawn = (token for token in answer.generated if token not in self._codec.eos_ids)
            tokens = (*self._codec.opening(answer.prompted), *drawn)
            digest = self._transcript.remember(answer.conversation, answer.message, tokens)
            self._remembered(digest)
            self._keep(answer, digest, tokens)

    # Inside

    def _keep(self, answer: Answer, digest: Digest, tokens: TokenIds) -> None:
        if self._store is None:
            return
        path = tuple(answer.tokens)
        turn = Remember(self._principal, self._session, digest, answer.conversation, tokens, path)
        try:
            self._store.tell(turn)
        except (MailboxFull, ActorStopped) as error:
            log.warning("turn_not_kept", reason=str(error))

    def _dismissed(self) -> bool:
        if not self._answers:
            self.stop()
        return not self._answers

    def _begin(self, message: Begin) -> None:
        reply: Deferred[Turn] = self.defer()
        if self._cut is not None:
            reply.reject(self._cut)
            return
        id_, known = message.turn, tuple(self._paths)
        turn = Turn(id_, self._session, lambda: self._cancel(id_))
        self._answers[id_] = Answer(turn, message.generation, reply, self)
        self.pipe(
            self._reader.read(id_, message.generation, known),
            lambda rendered: rendered,
            lambda error: RenderFailed(id_, error),
        )

    def _cancel(self, turn: TurnId) -> None:
        with suppress(ActorStopped):
            self.ref.post(CancelTurn(turn))

    def _heard(self, message: FromScheduler) -> None:
        """Give news of a sequence to its turn; nobody waits for a sequence without one."""
        for answer in self._answers.values():
            if answer.sequence == message.sequence:
                self._advance(answer, message)
                return
        if isinstance(message, Accepted | Admitted):
            self.abort(message.sequence)

    def _advance_all(self, message: TurnMessage) -> None:
        for answer in list(self._answers.values()):
            self._advance(answer, message)

    def _advance(self, answer: Answer, message: TurnMessage) -> None:
        answer.state(message)
        if answer.ended:
            self._answers.pop(answer.id, None)
            self._learn(answer)
            self._leave_if_idle()

    def _learn(self, answer: Answer) -> None:
        """Know what was computed for a turn, however it ended; with its first token it was."""
        if answer.generated:
            seen = answer.expected
            self._paths.learn(path(seen.tokens, seen.outline, answer.generated, answer.message))

    def _leave_if_idle(self) -> None:
        if not self._answers and (self._retired or not self._transcript):
            self.stop()

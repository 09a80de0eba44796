"""Every message in every state of a turn."""

from pathlib import Path
from typing import Any, Literal, cast

import pytest

from semantic_actors.actors import Deferred
from semantic_actors.domain.errors import Draining, InvalidRequest, Overloaded, TurnFailed
from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import SequenceId, SessionId, TurnId
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    TextPrompt,
    ToolCall,
    ToolSpec,
)
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    DrawnLogprob,
    Failed,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCalled,
)
from semantic_actors.domain.usage import Miss
from semantic_actors.scheduling import (
    Accepted,
    Admitted,
    Generated,
    Refused,
    SequenceFailed,
    TokenLogprobs,
)
from semantic_actors.sessions import Turn
from semantic_actors.sessions.answer import ATTEMPTS, Answer
from semantic_actors.sessions.messages import (
    CancelTurn,
    CutTurns,
    Rendered,
    RenderFailed,
    SchedulerRestarted,
    TurnMessage,
)
from semantic_actors.sessions.misses import Expectation
from semantic_actors.sessions.ports import Ports
from semantic_actors.text import Codec, OutputDecoder, Piece
from tests.sessions.rig import END, LetterDecoder
from tests.text import zoo

TURN = TurnId(1)
NOW = SequenceId(1)


class Reply:
    """Stands for the deferred reply; remembers what became of it."""

    def __init__(self) -> None:
        self.abandoned = False
        self.outcome: object = None

    def resolve(self, value: object) -> None:
        """Take the answer."""
        self.outcome = value

    def reject(self, error: Exception) -> None:
        """Take the refusal."""
        self.outcome = self.outcome or error


class Recorder:
    """Stands for the session; remembers what it was asked to do."""

    def __init__(self) -> None:
        self.submitted: list[list[int]] = []
        self.aborted: list[SequenceId] = []
        self.remembered: list[str] = []
        self.misses: list[Miss] = []
        self.refusal: Exception | None = None
        self.decoders: list[tuple[bool, bool]] = []
        self.script: OutputDecoder | None = None

    def decoder(
        self,
        generation: Generation,
        *,
        thinking: bool,
        guided: bool,
    ) -> OutputDecoder:
        """Decode letters, or what a test has scripted."""
        self.decoders.append((thinking, guided))
        return self.script or cast("OutputDecoder", LetterDecoder(generation.stop))

    def logprobs(self, logprobs: TokenLogprobs) -> DrawnLogprob:
        """Spell the drawn token."""
        return DrawnLogprob(TokenLogprob(chr(logprobs.token).encode(), logprobs.chosen))

    def submit(self, answer: Answer) -> SequenceId:
        """Number the submissions."""
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(list(answer.tokens))
        return SequenceId(len(self.submitted))

    def abort(self, sequence: SequenceId) -> None:
        """Note it."""
        self.aborted.append(sequence)

    def missed(self, miss: Miss) -> None:
        """Note it."""
        self.misses.append(miss)

    def completed(self, answer: Answer) -> None:
        """Note it."""
        self.remembered.append(answer.message.content)


CALL = ToolCall("id", "look", "{}")
CALLED: tuple[Piece, ...] = (CallStarted("id", "look"), ArgumentsDelta("{}"), ToolCalled(CALL))


class Scripted:
    """Decodes one token after the other to what a test has put down, and nothing at the end."""

    def __init__(self, *pieces: tuple[Piece, ...]) -> None:
        self._pieces = list(pieces)

    settled = True

    def push(self, token: int) -> tuple[Piece, ...]:  # noqa: ARG002
        """Return what is next."""
        return self._pieces.pop(0)

    def close(self) -> tuple[Piece, ...]:
        """Nothing is held back."""
        return ()


class Stage:
    """An answer brought to a state."""

    def __init__(self, state: str, *, stop: tuple[str, ...] = (), script: object = None) -> None:
        self.ports = Recorder()
        self.ports.script = cast("OutputDecoder", script)
        self.reply = Reply()
        self.turn = Turn(TURN, SessionId("s"), lambda: None)
        self.answer = Answer(
            self.turn,
            Generation(TextPrompt("ab"), stop=stop),
            cast("Deferred[Turn]", self.reply),
            cast("Ports", self.ports),
        )
        path: dict[str, TurnMessage] = {
            "rendering": Rendered(TURN, (97, 98)),
            "submitting": Accepted(NOW),
            "queued": Admitted(NOW, 1),
            "generating": Generated(NOW, (END,), "stop"),
        }
        while self.state != state:
            self.answer.state(path[self.state])

    @property
    def state(self) -> str:
        """The name of the state's method."""
        return self.answer.state.__name__.strip("_")

    def events(self) -> list[Any]:
        """What the reader has not read."""
        return list(self.turn._events)


ERROR = InvalidRequest("no")
MESSAGES: dict[str, TurnMessage] = {
    "rendered": Rendered(TURN, (97, 98)),
    "render failed": RenderFailed(TURN, ERROR),
    "accepted": Accepted(NOW),
    "refused": Refused(NOW, ERROR),
    "admitted": Admitted(NOW, 1),
    "generated": Generated(NOW, (99,)),
    "finished": Generated(NOW, (99, END), "stop"),
    "sequence failed": SequenceFailed(NOW, "x"),
    "scheduler restarted": SchedulerRestarted(),
    "cancel": CancelTurn(TURN),
    "cut": CutTurns(Draining()),
}
TABLE = {
    "rendering": {"rendered": "submitting", "render failed": "ended"},
    "submitting": {"accepted": "queued", "refused": "ended"},
    "queued": {"admitted": "generating", "sequence failed": "submitting"}
    | {"scheduler restarted": "submitting"},
    "generating": {"finished": "ended", "sequence failed": "submitting"}
    | {"scheduler restarted": "submitting"},
    "ended": {},
}
"""Where each message leads; `cancel` and `cut` end every state, the rest change nothing."""


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("state", TABLE)
def test_every_message_in_every_state(state: str, message: str) -> None:
    """The table says where it leads."""
    stage = Stage(state)

    stage.answer.state(MESSAGES[message])

    default = "ended" if message in ("cancel", "cut") else state
    assert stage.state == TABLE[state].get(message, default)


@pytest.mark.parametrize("state", ["submitting", "queued", "generating"])
@pytest.mark.parametrize("message", ["cancel", "cut"])
def test_an_order_to_leave_stops_the_sequence(state: str, message: str) -> None:
    """The engine does not go on for a turn that has ended; the reader is told."""
    stage = Stage(state)

    stage.answer.state(MESSAGES[message])

    assert stage.ports.aborted == [NOW]
    assert isinstance(stage.events()[-1], Failed)


def test_a_death_submits_what_was_generated_again() -> None:
    """The new sequence goes on from the prompt and every token that came."""
    stage = Stage("generating")
    stage.answer.state(Generated(NOW, (99, 100)))

    stage.answer.state(SchedulerRestarted())

    assert stage.ports.submitted == [[97, 98], [97, 98, 99, 100]]


def test_deaths_in_a_row_end_the_turn_and_a_token_between_them_forgives() -> None:
    """Only failures without any progress add up."""
    stage = Stage("generating")
    for _ in range(ATTEMPTS - 1):
        stage.answer.state(SequenceFailed(NOW, "x"))
        stage.answer.state(Accepted(NOW))
        stage.answer.state(Admitted(NOW, 1))
    stage.answer.state(Generated(NOW, (99,)))
    for _ in range(ATTEMPTS - 1):
        stage.answer.state(SequenceFailed(NOW, "x"))
        stage.answer.state(Accepted(NOW))
        stage.answer.state(Admitted(NOW, 1))
    assert stage.state == "generating"

    stage.answer.state(SequenceFailed(NOW, "x"))

    assert stage.state == "ended"
    assert isinstance(stage.events()[-1].error, TurnFailed)


def test_a_failure_that_would_come_again_ends_the_turn() -> None:
    """Nobody tries a second time what fails for good."""
    stage = Stage("generating")

    stage.answer.state(SequenceFailed(NOW, "no token may come next", permanent=True))

    assert (stage.state, stage.ports.submitted) == ("ended", [[97, 98]])
    assert isinstance(stage.events()[-1].error, TurnFailed)


def test_a_reader_who_left_while_the_prompt_was_rendered_costs_no_submission() -> None:
    """Nothing reaches the scheduler for nobody."""
    stage = Stage("rendering")
    stage.reply.abandoned = True

    stage.answer.state(MESSAGES["rendered"])

    assert (stage.state, stage.ports.submitted) == ("ended", [])


def test_a_reader_who_left_while_it_was_submitted_stops_the_sequence() -> None:
    """The scheduler is told at once."""
    stage = Stage("submitting")
    stage.reply.abandoned = True

    stage.answer.state(Accepted(NOW))

    assert (stage.state, stage.ports.aborted) == ("ended", [NOW])


def test_a_full_scheduler_is_the_answer_to_the_asker() -> None:
    """The refusal reaches who asked, before anything was streamed."""
    stage = Stage("rendering")
    stage.ports.refusal = Overloaded("full", retry_after_s=1)

    stage.answer.state(MESSAGES["rendered"])

    assert stage.reply.outcome is stage.ports.refusal


def test_a_miss_is_told_once_and_stays_in_the_usage() -> None:
    """What a resumption finds is no news: its first admission has told what the prompt missed."""
    stage = Stage("rendering")
    stage.answer.state(Rendered(TURN, (97,) * 40, expected=Expectation(reusable=39)))
    stage.answer.state(Accepted(NOW))
    stage.answer.state(Admitted(NOW, 3))
    stage.answer.state(SequenceFailed(NOW, "x"))
    stage.answer.state(Accepted(NOW))
    stage.answer.state(Admitted(NOW, 0))

    miss = Miss("gone", "cache", 3, 36)
    assert stage.ports.misses == [miss]
    assert stage.answer.usage.miss == miss
    assert [event.usage.miss for event in stage.events() if isinstance(event, Started)] == [miss]


def test_only_a_whole_answer_is_remembered() -> None:
    """One cut by a stop string would not be the text that its ids say."""
    whole, cut = Stage("generating"), Stage("generating", stop=("c",))

    for stage in (whole, cut):
        stage.answer.state(MESSAGES["finished"])

    assert (whole.ports.remembered, cut.ports.remembered) == (["c"], [])


@pytest.mark.asyncio
async def test_log_probabilities_go_with_the_text_they_are_of() -> None:
    """Each token's in the delta that its text is in."""
    stage = Stage("generating")
    drawn = (TokenLogprobs(99, -0.5), TokenLogprobs(100, -1.0))

    stage.answer.state(Generated(NOW, (99, 100), "length", drawn))
    deltas = [event async for event in stage.turn if isinstance(event, TextDelta)]

    assert [found.drawn for delta in deltas for found in delta.logprobs] == [
        TokenLogprob(b"c", -0.5),
        TokenLogprob(b"d", -1.0),
    ]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_log_probabilities_are_of_the_tokens_of_the_text(size: int, tmp_path: Path) -> None:
    """Thoughts, marks, calls, hidden tokens and the token that ends the answer have none."""
    tokenizer = zoo.byte_level()
    codec = Codec.load(zoo.folder(tmp_path / "model", tokenizer, *zoo.TEMPLATES["switch"]))
    call = '<tool_call>{"name": "look", "arguments": {}}</tool_call>'
    words = ["Yes, the ", "\U0001f98a", "<", " jumps", " over."]
    said = ["<think>\nhm\n</think>\n\n", words[0], words[1], "<|start|>", *words[2:], call]
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in (*said, "<|im_end|>")]
    drawn = [token for run in ids for token in run]
    generation = Generation(ChatPrompt((), (ToolSpec("look"),)))
    stage = Stage("generating", script=codec.decoder(generation))

    for at in range(0, len(drawn), size):
        tokens = drawn[at : at + size]
        logprobs = tuple(TokenLogprobs(token, -1.0) for token in tokens)
        last: Literal["stop"] | None = "stop" if at + size >= len(drawn) else None
        stage.answer.state(Generated(NOW, tuple(tokens), last, logprobs))

    text = [event for event in stage.events() if isinstance(event, TextDelta)]
    found = [one.drawn.token.decode() for delta in text for one in delta.logprobs]
    expected = [chr(token) for run in (*ids[1:3], *ids[4:7]) for token in run]
    assert "".join(delta.text for delta in text) == "".join(words)
    assert found == expected


def test_an_answer_is_its_text_its_thoughts_and_its_calls() -> None:
    """In canonical form; all of it is passed on as it comes."""
    said: tuple[Piece, ...] = (ThinkingDelta("h"), ThinkingDelta("m"), TextDelta("So"), *CALLED)
    stage = Stage("generating", script=Scripted(said))

    stage.answer.state(Generated(NOW, (99, END), "stop"))

    assert stage.answer.message == ChatMessage("assistant", "So", (CALL,), reasoning="hm")
    assert stage.events()[1:-1] == [ThinkingDelta("hm"), TextDelta("So"), *CALLED]


@pytest.mark.parametrize(
    ("pieces", "finish", "reason", "whole"),
    [
        (CALLED, "stop", "tool_calls", True),
        (CALLED, "length", "length", True),
        (CALLED[:2], "length", "length", False),
        (CALLED[:2], "stop", "stop", False),
        ((*CALLED, *CALLED[:1]), "context", "context", False),
        ((ThinkingDelta("hm"),), "length", "length", True),
    ],
)
def test_an_answer_ends_for_its_calls_only_if_the_model_ended_it(
    pieces: tuple[Piece, ...],
    finish: Literal["stop", "length", "context"],
    reason: FinishReason,
    *,
    whole: bool,
) -> None:
    """One that was cut off inside a call is not remembered: the call is no part of what it said."""
    stage = Stage("generating", script=Scripted(pieces, ()))

    stage.answer.state(Generated(NOW, (99, END), finish))

    end = stage.events()[-1]
    complete = sum(isinstance(piece, ToolCalled) for piece in pieces)
    assert isinstance(end, Finished)
    assert end.reason == reason
    assert stage.answer.message.tool_calls == (CALL,) * complete
    assert len(stage.ports.remembered) == whole


def test_the_decoder_is_told_how_the_answer_begins_and_whether_a_grammar_guides_it() -> None:
    """What the prompt opened and what was compiled for it."""
    for thinking, grammar in ((False, None), (True, cast("Grammar", object()))):
        stage = Stage("rendering")
        stage.answer.state(Rendered(TURN, (97,), thinking=thinking, grammar=grammar))

        assert stage.ports.decoders == [(thinking, grammar is not None)]

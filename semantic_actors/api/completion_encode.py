"""Answers of OpenAI's text completion API: only text, no roles, thoughts or calls."""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any, Final, assert_never

from semantic_actors.api.openai_encode import FINISH_REASONS, Chunks
from semantic_actors.api.reply import Answer, Envelope
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
    ToolCalled,
    TurnEvent,
)

_KIND: Final = "text_completion"


class CompletionReply(Chunks):
    """Text completions: `n` of each prompt, each begun with the prompt's `echo` if there is one."""

    def __init__(
        self,
        envelope: Envelope,
        *,
        prompts: int = 1,
        n: int = 1,
        echoes: Sequence[str] = (),
        include_usage: bool = False,
    ) -> None:
        super().__init__(envelope, prompts=prompts, n=n, include_usage=include_usage)
        self._echoes = echoes
        self._offsets = [_Offsets() for _ in range(prompts * n)]

    def encode(self, event: TurnEvent, choice: int = 0) -> bytes:
        """Encode the next event of a stream."""
        match event:
            case Started():
                echo = self._echo(choice)
                return self._text(choice, echo) if echo else b""
            case TextDelta(text=text, logprobs=logprobs):
                return self._text(choice, text, logprobs)
            case Finished():
                return self._text(choice, "", (), event.reason) + self._end(_KIND, event, choice)
            case Failed(error=error):
                return self._failure(error)
            case ThinkingDelta() | CallStarted() | ArgumentsDelta() | ToolCalled():
                return b""
            case _:
                assert_never(event)

    def document(self, *answers: Answer) -> dict[str, Any]:
        """Show complete answers."""
        choices = [
            self._choice(
                index, self._echo(index) + answer.text, answer.logprobs, answer.finished.reason
            )
            for index, answer in enumerate(answers)
        ]
        return self._document(_KIND, choices, answers)

    def _echo(self, choice: int) -> str:
        return self._echoes[choice // self._n] if self._echoes else ""

    def _text(
        self,
        choice: int,
        text: str,
        logprobs: tuple[DrawnLogprob, ...] = (),
        reason: FinishReason | None = None,
    ) -> bytes:
        return self._chunk(_KIND, self._choice(choice, text, logprobs, reason))

    def _choice(
        self,
        index: int,
        text: str,
        logprobs: tuple[DrawnLogprob, ...],
        reason: FinishReason | None,
    ) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": _logprobs(logprobs, self._offsets[index]) if logprobs else None,
            "finish_reason": None if reason is None else FINISH_REASONS[reason],
        }


class _Offsets:
    """Where in its text, in characters, each token of a choice begins."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def take(self, token: bytes) -> int:
        """Return the offset of the next token; one inside a character begins with it."""
        offset = self._characters
        self._characters += len(self._decoder.decode(token))
        return offset


def _logprobs(drawn: Iterable[DrawnLogprob], offsets: _Offsets) -> dict[str, Any]:
    """Show log-probabilities as this API does: a column each, the drawn token among the likely."""
    rows = tuple(drawn)
    likely = [{_spelled(one.token): one.logprob for one in (*row.top, row.drawn)} for row in rows]
    return {
        "tokens": [_spelled(row.drawn.token) for row in rows],
        "token_logprobs": [row.drawn.logprob for row in rows],
        "top_logprobs": likely if any(row.top for row in rows) else None,
        "text_offset": [offsets.take(row.drawn.token) for row in rows],
    }


def _spelled(token: bytes) -> str:
    """Spell a token; one that is no whole characters as this API does, byte by byte."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)

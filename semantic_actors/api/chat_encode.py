"""Answers of OpenAI's Chat Completions API.

What the model thinks goes out as `reasoning_content`, the name that local servers gave it and that
clients understand. A call that the end of the answer cut off is shown as far as it came: its
`finish_reason` says `length`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, assert_never

from semantic_actors.api.openai_encode import FINISH_REASONS, Chunks
from semantic_actors.api.reply import Answer, Envelope
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    DrawnLogprob,
    Failed,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCalled,
    TurnEvent,
)

_CHUNK: Final = "chat.completion.chunk"


class ChatReply(Chunks):
    """One chat completion of `n` choices. `_calls` is how many tool calls each has begun."""

    def __init__(self, envelope: Envelope, *, n: int = 1, include_usage: bool = False) -> None:
        super().__init__(envelope, n=n, include_usage=include_usage)
        self._calls: Counter[int] = Counter()

    def encode(self, event: TurnEvent, choice: int = 0) -> bytes:
        """Encode the next event of a stream."""
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                return self._delta(choice, {"content": text}, logprobs)
            case Started() | ThinkingDelta() | CallStarted() | ArgumentsDelta():
                return self._delta(choice, self._shown(event, choice))
            case ToolCalled():
                return b""
            case Finished(reason=reason):
                last = self._delta(choice, {}, finish_reason=FINISH_REASONS[reason])
                return last + self._end(_CHUNK, event, choice)
            case Failed(error=error):
                return self._failure(error)
            case _:
                assert_never(event)

    def document(self, *answers: Answer) -> dict[str, Any]:
        """Show complete answers."""
        choices = [
            {
                "index": index,
                "message": _message(answer),
                "logprobs": _logprobs(answer.logprobs),
                "finish_reason": FINISH_REASONS[answer.finished.reason],
            }
            for index, answer in enumerate(answers)
        ]
        return self._document("chat.completion", choices, answers)

    def _shown(
        self, event: Started | ThinkingDelta | CallStarted | ArgumentsDelta, choice: int
    ) -> dict[str, Any]:
        match event:
            case Started():
                return {"role": "assistant", "content": ""}
            case ThinkingDelta(text=text):
                return {"reasoning_content": text}
            case CallStarted(id=id_, name=name):
                self._calls[choice] += 1
                return self._called(choice, _call(id_, name, ""))
            case ArgumentsDelta(text=text):
                return self._called(choice, {"function": {"arguments": text}})

    def _called(self, choice: int, part: dict[str, Any]) -> dict[str, Any]:
        return {"tool_calls": [{"index": self._calls[choice] - 1} | part]}

    def _delta(
        self,
        choice: int,
        delta: dict[str, Any],
        logprobs: tuple[DrawnLogprob, ...] = (),
        finish_reason: str | None = None,
    ) -> bytes:
        return self._chunk(
            _CHUNK,
            {
                "index": choice,
                "delta": delta,
                "logprobs": _logprobs(logprobs),
                "finish_reason": finish_reason,
            },
        )


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [_call(call.id, call.name, call.arguments) for call in answer.calls]
    return message


def _call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def _logprobs(drawn: Iterable[DrawnLogprob]) -> dict[str, Any] | None:
    content = [
        _token(each.drawn) | {"top_logprobs": [_token(likely) for likely in each.top]}
        for each in drawn
    ]
    return {"content": content, "refusal": None} if content else None


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.token.decode(errors="replace"),
        "bytes": list(token.token),
        "logprob": token.logprob,
    }

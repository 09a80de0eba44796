"""Answers of OpenAI's APIs: chat completions and text completions.

A stream of theirs has no names and no ends but its last line; keep-alives are SSE comments. Text
completions know no tools, so a tool call is not shown there.
"""

from collections.abc import Mapping
from typing import Any, Final, assert_never

from semantic_actors.api.errors import Dialect
from semantic_actors.api.miss_encode import diagnostics
from semantic_actors.api.reply import Answer, Envelope
from semantic_actors.api.wire import DONE, frame, last_frames
from semantic_actors.domain.request import ToolCall
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Failed,
    Finished,
    FinishReason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    TurnEvent,
)
from semantic_actors.domain.usage import Usage

FINISH_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop",
    "length": "length",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "context": "length",
}


class _Chunks:
    """What both streams do alike; `include_usage` adds a chunk of token counts at the end."""

    keepalive: Final = b": ping\n\n"
    _object: str

    def __init__(self, envelope: Envelope, *, include_usage: bool = False) -> None:
        self._envelope = envelope
        self._include_usage = include_usage

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        usage = {"usage": None} if self._include_usage else {}
        return frame(self._head(self._object) | {"choices": [choice]} | usage)

    def _end(self, usage: Usage) -> bytes:
        if not self._include_usage:
            return DONE
        counts = {"choices": [], "usage": _usage(usage)}
        return frame(self._head(self._object) | counts) + DONE

    def _failure(self, error: Exception) -> bytes:
        return last_frames(error, Dialect.OPENAI, self._envelope.request_id)

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._envelope.id,
            "object": kind,
            "created": self._envelope.created,
            "model": self._envelope.model,
        }


class ChatReply(_Chunks):
    """One chat completion. `_calls` is how many tool calls went out."""

    _object = "chat.completion.chunk"

    def __init__(self, envelope: Envelope, *, include_usage: bool = False) -> None:
        super().__init__(envelope, include_usage=include_usage)
        self._calls = 0

    def encode(self, event: TurnEvent) -> bytes:
        """Encode the next event of a stream."""
        match event:
            case Started():
                return self._delta({"role": "assistant", "content": ""})
            case TextDelta(text=text):
                return self._delta({"content": text})
            case ToolCalled(call=call):
                return self._call(call)
            case Finished():
                reason = FINISH_REASONS[event.reason]
                return self._delta({}, reason) + self._end(event.usage)
            case Failed(error=error):
                return self._failure(error)
            case ThinkingDelta() | CallStarted() | ArgumentsDelta():
                return b""
            case _:
                assert_never(event)

    def document(self, answer: Answer) -> dict[str, Any]:
        """Show a complete answer."""
        text = {"content": answer.text}
        calls = [_call(call, call.arguments) for call in answer.calls]
        content = {"content": answer.text or None, "tool_calls": calls} if calls else text
        message = {"role": "assistant", "refusal": None} | content
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": FINISH_REASONS[answer.finished.reason],
        }
        body = {"choices": [choice], "usage": _usage(answer.finished.usage)}
        return self._head("chat.completion") | body

    def _call(self, call: ToolCall) -> bytes:
        index = {"index": self._calls}
        self._calls += 1
        opened = self._delta({"tool_calls": [index | _call(call, "")]})
        filled = index | {"function": {"arguments": call.arguments}}
        return opened + self._delta({"tool_calls": [filled]})

    def _delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        return self._chunk(
            {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        )


class CompletionReply(_Chunks):
    """One text completion."""

    _object = "text_completion"

    def encode(self, event: TurnEvent) -> bytes:
        """Encode the next event of a stream."""
        match event:
            case Started() | ToolCalled():
                return b""
            case TextDelta(text=text):
                return self._chunk(_text_choice(text, None))
            case Finished():
                return self._chunk(_text_choice("", event.reason)) + self._end(event.usage)
            case Failed(error=error):
                return self._failure(error)
            case ThinkingDelta() | CallStarted() | ArgumentsDelta():
                return b""
            case _:
                assert_never(event)

    def document(self, answer: Answer) -> dict[str, Any]:
        """Show a complete answer."""
        choice = _text_choice(answer.text, answer.finished.reason)
        body = {"choices": [choice], "usage": _usage(answer.finished.usage)}
        return self._head("text_completion") | body


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens} | diagnostics(usage),
    }


def _call(call: ToolCall, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _text_choice(text: str, reason: FinishReason | None) -> dict[str, Any]:
    finish_reason = None if reason is None else FINISH_REASONS[reason]
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}

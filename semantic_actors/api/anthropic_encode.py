"""Answers of Anthropic's Messages API.

A message is a list of blocks; in a stream each is opened, filled and closed before the next.
"""

from collections.abc import Mapping
from typing import Any, Final, assert_never

import msgspec

from semantic_actors.api.errors import Dialect
from semantic_actors.api.miss_encode import diagnostics
from semantic_actors.api.reply import Answer, Envelope
from semantic_actors.api.wire import frame, last_frames
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

STOP_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "context": "model_context_window_exceeded",
}


class MessageReply:
    """One message. `_index` is the block being written, `_in_text` whether it is open text."""

    keepalive: Final = frame({"type": "ping"}, "ping")

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._index = 0
        self._in_text = False

    def encode(self, event: TurnEvent) -> bytes:
        """Encode the next event of a stream."""
        match event:
            case Started(usage=usage):
                return self._event("message_start", message=self._message([], usage))
            case TextDelta(text=text):
                return self._open_text() + self._delta({"type": "text_delta", "text": text})
            case ToolCalled(call=call):
                return self._close_text() + self._tool_use(call)
            case Finished():
                return self._close_text() + self._end(event)
            case Failed(error=error):
                return last_frames(error, Dialect.ANTHROPIC, self._envelope.request_id)
            case ThinkingDelta() | CallStarted() | ArgumentsDelta():
                return b""
            case _:
                assert_never(event)

    def document(self, answer: Answer) -> dict[str, Any]:
        """Show a complete answer."""
        blocks = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else _tool_use_block(part, msgspec.json.decode(part.arguments))
            for part in answer.parts
            if isinstance(part, str | ToolCall)
        ]
        return self._message(blocks, answer.finished.usage) | _stop(answer.finished)

    def _message(self, content: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
        return {
            "id": self._envelope.id,
            "type": "message",
            "role": "assistant",
            "model": self._envelope.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(usage),
        }

    def _open_text(self) -> bytes:
        if self._in_text:
            return b""
        self._in_text = True
        return self._start({"type": "text", "text": ""})

    def _close_text(self) -> bytes:
        if not self._in_text:
            return b""
        self._in_text = False
        return self._stop()

    def _tool_use(self, call: ToolCall) -> bytes:
        delta = {"type": "input_json_delta", "partial_json": call.arguments}
        return self._start(_tool_use_block(call, {})) + self._delta(delta) + self._stop()

    def _end(self, finished: Finished) -> bytes:
        delta = self._event("message_delta", delta=_stop(finished), usage=_usage(finished.usage))
        return delta + self._event("message_stop")

    def _start(self, block: dict[str, Any]) -> bytes:
        return self._event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._event("content_block_delta", index=self._index, delta=delta)

    def _stop(self) -> bytes:
        stop = self._event("content_block_stop", index=self._index)
        self._index += 1
        return stop

    def _event(self, name: str, **data: Any) -> bytes:
        return frame({"type": name, **data}, name)


def _usage(usage: Usage) -> dict[str, Any]:
    """Count as this API does: `input_tokens` are those that were not cached."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    } | diagnostics(usage)


def _stop(finished: Finished) -> dict[str, str | None]:
    return {
        "stop_reason": STOP_REASONS[finished.reason],
        "stop_sequence": finished.stop_sequence,
    }


def _tool_use_block(call: ToolCall, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}

"""Answers of Anthropic's Messages API.

A message is a list of blocks; in a stream each is opened, filled and closed before the next.
Thoughts are shown in full, also to a client that wants them left out: one that gets an empty
thought does not send it back, and the prompt of its next turn would not be an append.

An answer that is complete has a text or a call, if an empty text: clients look for one.
"""

from collections.abc import Mapping
from typing import Any, Final, assert_never

import msgspec

from semantic_actors.api.errors import Dialect
from semantic_actors.api.miss_encode import diagnostics
from semantic_actors.api.reply import Answer, Envelope, Part, Thought
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

ContentEvent = ThinkingDelta | TextDelta | CallStarted | ArgumentsDelta | ToolCalled

STOP_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "context": "model_context_window_exceeded",
}


SIGNATURE: Final = "semantic-actors"
"""Signs every thought. Clients drop one without a signature and send others back; we trust both."""


class MessageReply:
    """One message. `_index` is the block being written, `_open` its type, if one is open.

    `_answered` is whether there was more than thoughts.
    """

    keepalive: Final = frame({"type": "ping"}, "ping")

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._index = 0
        self._open: str | None = None
        self._answered = False

    def encode(self, event: TurnEvent) -> bytes:
        """Encode the next event of a stream."""
        match event:
            case Started(usage=usage):
                return self._event("message_start", message=self._message([], usage))
            case Finished():
                return self._end(event)
            case Failed(error=error):
                return last_frames(error, Dialect.ANTHROPIC, self._envelope.request_id)
            case _:
                return self._content(event)

    def document(self, answer: Answer) -> dict[str, Any]:
        """Show a complete answer, without a call that its end cut off."""
        blocks = [block for part in answer.parts for block in _blocks(part)]
        if _complete(answer.finished) and all(block["type"] == "thinking" for block in blocks):
            blocks.append({"type": "text", "text": ""})
        return self._message(blocks, answer.finished.usage) | _stop(answer.finished)

    def _content(self, event: ContentEvent) -> bytes:
        match event:
            case ThinkingDelta(text=text):
                opened = self._go_on({"type": "thinking", "thinking": "", "signature": ""})
                return opened + self._delta({"type": "thinking_delta", "thinking": text})
            case TextDelta(text=text):
                opened = self._go_on({"type": "text", "text": ""})
                return opened + self._delta({"type": "text_delta", "text": text})
            case CallStarted(id=call, name=name):
                return self._close() + self._start(_tool_use(call, name, {}))
            case ArgumentsDelta(text=text):
                return self._delta({"type": "input_json_delta", "partial_json": text})
            case ToolCalled():
                return self._close()
            case _:
                assert_never(event)

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

    def _go_on(self, block: dict[str, Any]) -> bytes:
        """Open a block, unless one of its type is open."""
        return b"" if self._open == block["type"] else self._close() + self._start(block)

    def _start(self, block: dict[str, Any]) -> bytes:
        self._open = block["type"]
        self._answered = self._answered or self._open != "thinking"
        return self._event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return self._event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        signed = {"type": "signature_delta", "signature": SIGNATURE}
        last = self._delta(signed) if self._open == "thinking" else b""
        stop = self._event("content_block_stop", index=self._index)
        self._index += 1
        self._open = None
        return last + stop

    def _end(self, finished: Finished) -> bytes:
        left_out = _complete(finished) and not self._answered
        text = self._go_on({"type": "text", "text": ""}) if left_out else b""
        delta = self._event("message_delta", delta=_stop(finished), usage=_usage(finished.usage))
        return text + self._close() + delta + self._event("message_stop")

    def _event(self, name: str, **data: Any) -> bytes:
        return frame({"type": name, **data}, name)


def _usage(usage: Usage) -> dict[str, Any]:
    """Count as this API does: `input_tokens` are those that were not cached."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.thinking_tokens},
    } | diagnostics(usage)


def _complete(finished: Finished) -> bool:
    return finished.reason in {"stop", "stop_sequence"}


def _stop(finished: Finished) -> dict[str, str | None]:
    return {
        "stop_reason": STOP_REASONS[finished.reason],
        "stop_sequence": finished.stop_sequence,
    }


def _blocks(part: Part) -> list[dict[str, Any]]:
    match part:
        case str():
            return [{"type": "text", "text": part}]
        case Thought(text=text):
            return [{"type": "thinking", "thinking": text, "signature": SIGNATURE}]
        case ToolCall():
            return [_tool_use(part.id, part.name, msgspec.json.decode(part.arguments))]
        case _:
            return []


def _tool_use(call: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": name, "input": arguments}

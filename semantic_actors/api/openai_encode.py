"""What the answers of OpenAI's two older APIs have in common: chunks, their end, token counts.

A stream of theirs has no names and no ends but its last line; keep-alives are SSE comments. The
choices of one request share a stream: each chunk says by its index whose it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from semantic_actors.api.errors import Dialect
from semantic_actors.api.miss_encode import diagnostics
from semantic_actors.api.reply import Answer, Envelope
from semantic_actors.api.wire import DONE, frame, last_frames
from semantic_actors.domain.stream import Finished, FinishReason
from semantic_actors.domain.usage import Usage

FINISH_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop",
    "length": "length",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "context": "length",
}


class Chunks:
    """One stream, or one document, of `prompts * n` choices: prompt by prompt, `n` of each.

    `include_usage` adds a chunk of token counts at the end of the stream.
    """

    keepalive: Final = b": ping\n\n"

    def __init__(
        self, envelope: Envelope, *, prompts: int = 1, n: int = 1, include_usage: bool = False
    ) -> None:
        self._envelope = envelope
        self._count = prompts * n
        self._n = n
        self._include_usage = include_usage
        self._finished: dict[int, Usage] = {}

    def _chunk(self, kind: str, choice: Mapping[str, Any]) -> bytes:
        usage = {"usage": None} if self._include_usage else {}
        return frame(self._head(kind) | {"choices": [choice]} | usage)

    def _end(self, kind: str, finished: Finished, choice: int) -> bytes:
        """Encode what follows the end of a choice: nothing, unless it was the last to end."""
        self._finished[choice] = finished.usage
        if len(self._finished) < self._count:
            return b""
        if not self._include_usage:
            return DONE
        counts = self._usage(usage for _, usage in sorted(self._finished.items()))
        return frame(self._head(kind) | {"choices": [], "usage": counts}) + DONE

    def _failure(self, error: Exception) -> bytes:
        return last_frames(error, Dialect.OPENAI, self._envelope.request_id)

    def _document(
        self, kind: str, choices: Sequence[Mapping[str, Any]], answers: Iterable[Answer]
    ) -> dict[str, Any]:
        usage = self._usage(answer.finished.usage for answer in answers)
        return self._head(kind) | {"choices": choices, "usage": usage}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._envelope.id,
            "object": kind,
            "created": self._envelope.created,
            "model": self._envelope.model,
        }

    def _usage(self, usages: Iterable[Usage]) -> dict[str, Any]:
        """Count each prompt once, as its first choice found it, and what all choices generated."""
        all_choices = tuple(usages)
        asked = all_choices[:: self._n]
        prompt = sum(usage.prompt_tokens for usage in asked)
        generated = sum(usage.completion_tokens for usage in all_choices)
        thought = sum(usage.thinking_tokens for usage in all_choices)
        cached = sum(usage.cached_tokens for usage in asked)
        missed = next((usage for usage in asked if usage.miss is not None), asked[0])
        return {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": cached} | diagnostics(missed),
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

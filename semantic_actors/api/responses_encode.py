"""A response as a document: what it repeats of its request, and what became of it."""

import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from semantic_actors.api.errors import Dialect, explain
from semantic_actors.api.fields import JsonObject
from semantic_actors.api.miss_encode import diagnostics
from semantic_actors.api.reply import Envelope
from semantic_actors.domain.errors import (
    InvalidRequest,
    NeverFits,
    Overloaded,
    PromptTooLong,
)
from semantic_actors.domain.stream import Finished, FinishReason
from semantic_actors.domain.usage import Usage

Status = Literal["in_progress", "completed", "incomplete"]

_INCOMPLETE: Final[Mapping[FinishReason, str]] = {
    "length": "max_output_tokens",
    "context": "max_output_tokens",
}
"""Why an answer is not all that there is to say; any other reason completes it."""

_FAILURES: Final[Mapping[type[Exception], str]] = {
    PromptTooLong: "context_length_exceeded",
    NeverFits: "context_length_exceeded",
    InvalidRequest: "invalid_prompt",
    Overloaded: "rate_limit_exceeded",
    Exception: "server_error",
}
"""Looked up along the class hierarchy of the error, so that the nearest ancestor answers."""


class Echo(msgspec.Struct):
    """What a response repeats of its request, as it came."""

    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: JsonObject | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: JsonObject | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    temperature: float | None = None
    text: JsonObject | None = None
    tool_choice: str | JsonObject | None = None
    tools: list[JsonObject] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    user: str | None = None


class Head:
    """All of a response but its output; begun as it is admitted."""

    def __init__(self, envelope: Envelope, echo: Echo) -> None:
        self.id = envelope.id
        self._request_id = envelope.request_id
        self._fields = _identity(envelope) | _repeated(echo)

    def begun(self) -> JsonObject:
        """Show the response while it is being made."""
        return self._shown("in_progress", [])

    def ended(self, finished: Finished, output: list[JsonObject]) -> JsonObject:
        """Show the response as it has become."""
        usage = {"usage": _usage(finished.usage)}
        reason = _INCOMPLETE.get(finished.reason)
        if reason is None:
            done = {"completed_at": int(time.time())}
            return self._shown("completed", output) | done | usage
        why = {"incomplete_details": {"reason": reason}}
        return self._shown("incomplete", output) | why | usage

    def failed(self, error: Exception, output: list[JsonObject]) -> JsonObject:
        """Show the response that will never be more than this."""
        code = next(_FAILURES[cls] for cls in type(error).__mro__ if cls in _FAILURES)
        message = explain(error, Dialect.OPENAI, self._request_id).body["error"]["message"]
        return self._shown("failed", output) | {"error": {"code": code, "message": message}}

    def _shown(self, status: str, output: list[JsonObject]) -> JsonObject:
        return self._fields | {"status": status, "output": output}


def status_of(finished: Finished) -> Status:
    """Say what becomes of the item that was being written at the end."""
    return "incomplete" if finished.reason in _INCOMPLETE else "completed"


def _identity(envelope: Envelope) -> JsonObject:
    return {
        "id": envelope.id,
        "object": "response",
        "created_at": envelope.created,
        "completed_at": None,
        "model": envelope.model,
        "error": None,
        "incomplete_details": None,
    }


def _repeated(echo: Echo) -> JsonObject:
    reasoning, text = echo.reasoning or {}, echo.text or {}
    return {
        "background": False,
        "instructions": echo.instructions,
        "max_output_tokens": echo.max_output_tokens,
        "max_tool_calls": echo.max_tool_calls,
        "metadata": echo.metadata or {},
        "parallel_tool_calls": _or(echo.parallel_tool_calls, default=True),
        "previous_response_id": echo.previous_response_id,
        "prompt_cache_key": echo.prompt_cache_key,
        "reasoning": {"effort": None, "summary": None} | reasoning,
        "safety_identifier": echo.safety_identifier,
        "service_tier": "default",
        "store": _or(echo.store, default=True),
        "temperature": _or(echo.temperature, default=1.0),
        "text": text | {"format": text.get("format") or {"type": "text"}},
        "tool_choice": _or(echo.tool_choice, default="auto"),
        "tools": echo.tools or [],
        "top_logprobs": _or(echo.top_logprobs, default=0),
        "top_p": _or(echo.top_p, default=1.0),
        "truncation": "disabled",
        "user": echo.user,
    }


def _or(value: Any, *, default: Any) -> Any:
    return default if value is None else value


def _usage(usage: Usage) -> JsonObject:
    """Show what it cost; all of a prompt that was not cached is from now on."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.prompt_tokens - usage.cached_tokens,
        }
        | diagnostics(usage),
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }

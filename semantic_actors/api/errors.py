"""What a refusal looks like in each API: one table from errors to statuses, types and codes.

It decides, and touches no socket. A message of ours goes out only if its error is a `Rejected`;
of anything else the client learns no more than that it happened and under which request id.
"""

import enum
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from semantic_actors.api.refusals import (
    BodyTooSlow,
    FieldMissing,
    MalformedBody,
    MethodNotAllowed,
    NoEmbeddings,
    NoSuchModel,
    PreviousResponseNotFound,
    Superseded,
    ThreadUnsupported,
    Unsupported,
    UnsupportedMediaType,
)
from semantic_actors.domain.errors import (
    AccessDenied,
    Draining,
    InvalidRequest,
    NeverFits,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    PromptTooLong,
    Rejected,
    Unauthenticated,
    Unavailable,
)
from semantic_actors.domain.ids import RequestId


class Dialect(enum.Enum):
    """Which API's shapes an answer has."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"


class _Row(NamedTuple):
    status: int
    anthropic: str
    openai: str
    code: str | None = None
    anthropic_status: int | None = None


_INVALID: Final = "invalid_request_error"
_OVERLOADED: Final = 529
"""Status that only Anthropic's API has; its clients take a 429 for a limit of the account."""

_TABLE: Final[Mapping[type[Exception], _Row]] = {
    PromptTooLong: _Row(400, _INVALID, _INVALID, "context_length_exceeded"),
    NeverFits: _Row(400, _INVALID, _INVALID, "context_length_exceeded"),
    InvalidRequest: _Row(400, _INVALID, _INVALID, "invalid_value"),
    PreviousResponseNotFound: _Row(400, _INVALID, _INVALID, "previous_response_not_found"),
    FieldMissing: _Row(400, _INVALID, _INVALID, "missing_required_parameter"),
    MalformedBody: _Row(400, _INVALID, _INVALID),
    NoEmbeddings: _Row(400, _INVALID, _INVALID, "model_not_supported"),
    Superseded: _Row(400, _INVALID, _INVALID, "unsupported_parameter"),
    Unsupported: _Row(400, _INVALID, _INVALID, "unsupported_value"),
    Unauthenticated: _Row(401, "authentication_error", "authentication_error", "invalid_api_key"),
    AccessDenied: _Row(403, "permission_error", "permission_error"),
    NoSuchModel: _Row(404, "not_found_error", _INVALID, "model_not_found"),
    NotFound: _Row(404, "not_found_error", "not_found_error"),
    MethodNotAllowed: _Row(405, _INVALID, _INVALID, "method_not_allowed"),
    BodyTooSlow: _Row(408, _INVALID, _INVALID, "body_too_slow"),
    PayloadTooLarge: _Row(413, "request_too_large", _INVALID, "request_too_large"),
    UnsupportedMediaType: _Row(415, _INVALID, _INVALID, "unsupported_media_type"),
    Overloaded: _Row(
        429, "overloaded_error", "rate_limit_error", "rate_limit_exceeded", _OVERLOADED
    ),
    Draining: _Row(503, "overloaded_error", "server_error", "draining"),
    Unavailable: _Row(503, "overloaded_error", "server_error", "unavailable"),
    Rejected: _Row(400, _INVALID, _INVALID),
    Exception: _Row(500, "api_error", "server_error"),
}
"""Looked up along the class hierarchy of the error, so that the nearest ancestor answers."""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """A refusal ready to be sent; `headers` go with it unless a stream is already open."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def explain(error: Exception, dialect: Dialect, request_id: RequestId) -> ErrorAnswer:
    """Put `error` into the words and the shape of `dialect`."""
    row = next(_TABLE[cls] for cls in type(error).__mro__ if cls in _TABLE)
    text = str(error) if isinstance(error, Rejected) else "the server could not finish the answer"
    message = text.encode(errors="replace").decode()
    if dialect is Dialect.ANTHROPIC:
        status = row.anthropic_status or row.status
        return ErrorAnswer(status, _anthropic(error, row, message, request_id), _headers(error))
    return ErrorAnswer(row.status, _openai(error, row, message), _headers(error))


def _anthropic(error: Exception, row: _Row, message: str, request_id: RequestId) -> dict[str, Any]:
    detail: dict[str, Any] = {"type": row.anthropic, "message": message}
    if isinstance(error, ThreadUnsupported):
        detail["details"] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    return {"type": "error", "error": detail, "request_id": request_id}


def _openai(error: Exception, row: _Row, message: str) -> dict[str, Any]:
    param = error.field if isinstance(error, InvalidRequest) else None
    return {"error": {"message": message, "type": row.openai, "param": param, "code": row.code}}


def _headers(error: Exception) -> dict[str, str]:
    """Say what becomes of the same request if it is sent again; of our faults nobody knows."""
    match error:
        case Unavailable():
            return {"Retry-After": str(error.retry_after_s), "x-should-retry": "true"}
        case BodyTooSlow():
            return {}
        case Rejected():
            return {"x-should-retry": "false"} | _further_headers(error)
        case _:
            return {}


def _further_headers(error: Rejected) -> dict[str, str]:
    match error:
        case MethodNotAllowed():
            return {"Allow": ", ".join(error.allowed)}
        case Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case _:
            return {}

"""JSON onto the wire: as a document, or as one frame of a server-sent event stream."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from semantic_actors.api.errors import Dialect, explain
from semantic_actors.domain.ids import RequestId

DONE: Final = b"data: [DONE]\n\n"
"""The last line of a stream of OpenAI's."""


def document(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with `body` as JSON."""
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def frame(data: Any, event: str | None = None) -> bytes:
    """Encode `data` as one event. JSON escapes line ends, so it is always one line."""
    name = b"" if event is None else b"event: %b\n" % event.encode()
    return b"%bdata: %b\n\n" % (name, msgspec.json.encode(data))


def last_frames(error: Exception, dialect: Dialect, request_id: RequestId) -> bytes:
    """Encode how a stream ends that fails."""
    body = explain(error, dialect, request_id).body
    return frame(body, "error") if dialect is Dialect.ANTHROPIC else frame(body) + DONE

"""Which agent session a request belongs to, from what its client says.

The id is a hint of affinity and may be any text: it never becomes a path. Its principal comes from
the key, never from the client's words.
"""

from collections.abc import Mapping

import msgspec

from semantic_actors.api.refusals import FieldRefused
from semantic_actors.domain.ids import Principal, SessionId
from semantic_actors.domain.limits import MAX_SESSION_ID_CHARS
from semantic_actors.sessions.desk import Identity


class _ClaudeCodeUser(msgspec.Struct):
    """The JSON that Claude Code puts into `metadata.user_id`."""

    session_id: str


def identify(
    headers: Mapping[str, str], principal: Principal, hint: tuple[str, str | None]
) -> Identity:
    """Find the session: by header, else by `hint`, a body field's name and value."""
    for field, value in (*_named_in(headers), hint):
        if value:
            return Identity(principal, _session(field, value))
    return Identity(principal)


def user_session(user_id: str | None) -> str | None:
    """Read the session out of Anthropic's `metadata.user_id`; plain text stands for itself."""
    if user_id is None:
        return None
    try:
        return msgspec.json.decode(user_id, type=_ClaudeCodeUser).session_id
    except (msgspec.DecodeError, RecursionError):
        return user_id


def _named_in(headers: Mapping[str, str]) -> tuple[tuple[str, str | None], ...]:
    claude = headers.get("X-Claude-Code-Session-Id")
    agent = headers.get("x-claude-code-agent-id")
    return (
        ("X-Session-Id", headers.get("X-Session-Id")),
        ("X-Claude-Code-Session-Id", f"{claude}/{agent}" if claude and agent else claude),
    )


def _session(field: str, value: str) -> SessionId:
    if len(value) > MAX_SESSION_ID_CHARS:
        bound = f"at most {MAX_SESSION_ID_CHARS} characters"
        raise FieldRefused(field, bound, f"{len(value)} of them")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FieldRefused(field, "UTF-8", ascii(value)) from None
    return SessionId(value)

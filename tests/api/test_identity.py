"""Which session a request belongs to."""

from collections.abc import Mapping

import pytest
from multidict import CIMultiDict

from semantic_actors.api.identity import identify, user_session
from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.ids import Principal
from semantic_actors.domain.limits import MAX_SESSION_ID_CHARS

WHO = Principal("alice")
CLAUDE = {"x-claude-code-session-id": "s"}


@pytest.mark.parametrize(
    ("headers", "hint", "session"),
    [
        ({}, None, None),
        ({}, "", None),
        ({}, "hint", "hint"),
        (CLAUDE, "hint", "s"),
        (CLAUDE | {"X-Claude-Code-Agent-Id": "a"}, "hint", "s/a"),
        ({"x-claude-code-agent-id": "a"}, "hint", "hint"),
        (CLAUDE | {"x-session-id": "mine"}, "hint", "mine"),
        ({"x-session-id": "../../etc/passwd"}, None, "../../etc/passwd"),
    ],
)
def test_session(headers: Mapping[str, str], hint: str | None, session: str | None) -> None:
    """Headers win over the body, the plainer header over Claude Code's; any text will do."""
    found = identify(CIMultiDict(headers), WHO, ("prompt_cache_key", hint))

    assert (WHO, session) == (found.principal, found.session)


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        (None, None),
        ("me", "me"),
        ('{"device_id": "d", "session_id": "s"}', "s"),
        ('{"device_id": "d"}', '{"device_id": "d"}'),
        ("[" * 10_000, "[" * 10_000),
    ],
)
def test_user_session(user_id: str | None, session: str | None) -> None:
    """Claude Code writes JSON with a session id into the user id; others write plain text."""
    assert session == user_session(user_id)


@pytest.mark.parametrize("value", ["x" * (MAX_SESSION_ID_CHARS + 1), "\udcff"])
def test_unfit(value: str) -> None:
    """An id that is too long or no text is refused by the name of its header."""
    with pytest.raises(InvalidRequest, match=r"^X-Session-Id: expected"):
        identify(CIMultiDict({"x-session-id": value}), WHO, ("prompt_cache_key", None))

"""What another server left in a Messages conversation: its tools, and what it made of the rest."""

from typing import Any

import pytest

from semantic_actors.domain.request import ChatMessage, ToolCall
from tests.api.asked import assistant, messages, text

PDF = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}

SERVED: list[tuple[str, Any, str]] = [
    (
        "web_search_tool_result",
        [
            {
                "type": "web_search_result",
                "title": "A",
                "url": "https://a.test",
                "encrypted_content": "x" * 999,
            }
        ],
        '[{"type": "web_search_result", "title": "A", "url": "https://a.test"}]',
    ),
    (
        "web_fetch_tool_result",
        {"type": "web_fetch_result", "content": {"type": "document", "source": PDF}},
        '"source": {"type": "base64"}',
    ),
    ("code_execution_tool_result", {"stdout": "4", "return_code": 0}, '"stdout": "4"'),
    ("bash_code_execution_tool_result", {"stdout": "4"}, '{"stdout": "4"}'),
    ("text_editor_code_execution_tool_result", {"content": "x"}, '{"content": "x"}'),
    ("tool_search_tool_result", {"error_code": "unavailable"}, '{"error_code": "unavailable"}'),
    ("advisor_tool_result", {"type": "advisor_result", "text": "wait"}, '"text": "wait"'),
    ("mcp_tool_result", "four", "four"),
    ("mcp_tool_result", [text("four"), text("five")], "four\nfive"),
]


@pytest.mark.parametrize(("kind", "content", "said"), SERVED)
@pytest.mark.parametrize("caller", ["server_tool_use", "mcp_tool_use"])
def test_tools_that_another_server_ran(caller: str, kind: str, content: Any, said: str) -> None:
    """Their calls and what of their results can be read stand between what the model said."""
    history = assistant(
        text("I look."),
        {"type": caller, "id": "s1", "name": "web_search", "input": {"query": "x"}},
        {"type": kind, "tool_use_id": "s1", "content": content, "caller": {"type": "direct"}},
        text("Found."),
        {"type": "mcp_tool_listing", "mcp_server_name": "m", "tools": []},
    )
    before, between, after = messages(history)

    wanted = ToolCall("s1", "web_search", '{"query": "x"}')
    assert before == ChatMessage("assistant", "I look.", (wanted,))
    assert (between.role, between.tool_call_id) == ("tool", "s1")
    assert said in between.content
    assert after == ChatMessage("assistant", "Found.")


def test_compaction() -> None:
    """What another server made of an earlier conversation stands for it."""
    blocks = [{"type": "compaction", "content": "They met."}, {"type": "compaction"}, text("Hi")]

    assert messages(assistant(*blocks)) == (ChatMessage("assistant", "They met.Hi"),)

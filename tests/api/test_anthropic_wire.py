"""A Messages request and what it means."""

import json
from typing import Any

import pytest

from semantic_actors.api import anthropic_wire
from semantic_actors.api.anthropic_wire import CountTokensRequest, MessagesRequest
from semantic_actors.api.decode import decode
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    ToolCall,
    ToolSpec,
)

HI = {"role": "user", "content": "hi"}


def generation(**body: Any) -> Generation:
    """Translate a body."""
    whole = {"model": "any", "max_tokens": 9, "messages": [HI]} | body
    return anthropic_wire.generation(decode(json.dumps(whole).encode(), MessagesRequest))


def prompt(**body: Any) -> ChatPrompt:
    """Translate a conversation."""
    whole = {"model": "any", "messages": [HI]} | body
    return anthropic_wire.chat_prompt(decode(json.dumps(whole).encode(), CountTokensRequest))


def blocks(*texts: str) -> list[dict[str, Any]]:
    """Make text blocks, with a mark that moves from turn to turn."""
    mark = {"cache_control": {"type": "ephemeral"}}
    return [{"type": "text", "text": text} | mark for text in texts]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_string_is_a_block(role: str) -> None:
    """A string and a list of one text block are the same message, whatever marks it carries."""
    expected = (ChatMessage(role, "x"),)  # type: ignore[arg-type]

    assert expected == prompt(messages=[{"role": role, "content": "x"}]).messages
    assert expected == prompt(messages=[{"role": role, "content": blocks("x")}]).messages


def test_blocks_are_joined() -> None:
    """Blocks written apart are joined by a line end; one generated text is put together again."""
    conversation = [
        {"role": "user", "content": blocks("a", "b")},
        {"role": "assistant", "content": blocks("c", "d")},
    ]

    assert (
        ChatMessage("system", "s\nt"),
        ChatMessage("user", "a\nb"),
        ChatMessage("assistant", "cd"),
    ) == prompt(system=blocks("s", "t"), messages=conversation).messages


@pytest.mark.parametrize(
    "system",
    [
        "",
        [],
        None,
        "x-anthropic-billing-header: cc_version=2;",
        blocks("x-anthropic-billing-header: cch=90b4a;"),
    ],
)
def test_no_system(system: object) -> None:
    """Nothing, and what Claude Code sends for the bill, is no system message."""
    assert (ChatMessage("user", "hi"),) == prompt(system=system).messages


def test_billing_is_dropped() -> None:
    """A billing block changes from request to request and must not change the prompt."""
    system = blocks("x-anthropic-billing-header: cch=4d20c;", "You help.")

    assert ChatMessage("system", "You help.") == prompt(system=system).messages[0]


def test_system_stays_in_place() -> None:
    """A system message in the middle of a conversation is not moved to the top."""
    messages = [HI, {"role": "system", "content": "now"}, {"role": "user", "content": "go"}]

    assert [m.role for m in prompt(messages=messages).messages] == ["user", "system", "user"]


def test_assistant_turn_is_one_message() -> None:
    """Text and tool calls of one turn stay together; thinking is left out; key order is kept."""
    content = [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        *blocks("I look."),
        {"type": "tool_use", "id": "t1", "name": "read", "input": {"z": "é", "a": [1, None]}},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "tool_use", "id": "t2", "name": "list", "input": {}},
    ]
    calls = (ToolCall("t1", "read", '{"z": "é", "a": [1, null]}'), ToolCall("t2", "list", "{}"))

    expected = (ChatMessage("assistant", "I look.", calls),)
    assert expected == prompt(messages=[{"role": "assistant", "content": content}]).messages


def test_results_come_before_text() -> None:
    """Results of tools are messages of their own, in the order sent; text follows them."""
    content = [
        {"type": "tool_result", "tool_use_id": "t2", "content": blocks("a", "b")},
        *blocks("and now?"),
        {"type": "tool_result", "tool_use_id": "t1", "content": "c", "is_error": True},
        {"type": "tool_result", "tool_use_id": "t3"},
    ]

    assert (
        ChatMessage("tool", "a\nb", tool_call_id="t2"),
        ChatMessage("tool", "c", tool_call_id="t1"),
        ChatMessage("tool", "", tool_call_id="t3"),
        ChatMessage("user", "and now?"),
    ) == prompt(messages=[{"role": "user", "content": content}]).messages


def test_only_results() -> None:
    """A message with nothing but results adds no empty message of the user."""
    content = [{"type": "tool_result", "tool_use_id": "t1", "content": "c"}]

    expected = (ChatMessage("tool", "c", tool_call_id="t1"),)
    assert expected == prompt(messages=[{"role": "user", "content": content}]).messages


def test_deferred_tool_is_shown_where_it_was_found() -> None:
    """A deferred tool is not offered in the prefix; a reference to it shows it in place."""
    schema = {"type": "object"}
    tools = [
        {"name": "find", "input_schema": schema},
        {"name": "late", "description": "d", "input_schema": schema, "defer_loading": True},
    ]
    found = [{"type": "tool_reference", "tool_name": name} for name in ("late", "gone")]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": found}
    asked = prompt(tools=tools, messages=[{"role": "user", "content": [result]}])

    assert (ToolSpec("find", None, schema),) == asked.tools
    shown = '{"name": "late", "description": "d", "parameters": {"type": "object"}}\ngone'
    assert shown == asked.messages[0].content


def test_tools_of_other_servers_are_passed_over() -> None:
    """A tool that only Anthropic could run is not offered, and not an error."""
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"type": "mcp_toolset"}]

    assert prompt(tools=tools).tools == ()


@pytest.mark.parametrize(("choice", "offered"), [("auto", 1), ("any", 1), ("none", 0)])
def test_tool_choice(choice: str, offered: int) -> None:
    """Who wants no tools called gets a prompt without tools."""
    tools = [{"name": "read", "input_schema": {}}]

    assert offered == len(prompt(tools=tools, tool_choice={"type": choice}).tools)


def test_sampling() -> None:
    """What steers the answer is passed on as it is."""
    asked = generation(temperature=0, top_p=0.5, top_k=3, stop_sequences=["a", "b"])

    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.top_k) == (0.0, 0.5, 3)
    assert (asked.max_tokens, asked.stop) == (9, ("a", "b"))


def test_sampling_defaults() -> None:
    """Null is absent; two answers without a seed are drawn from different ones."""
    nulls = dict.fromkeys(
        ["temperature", "top_p", "top_k", "stop_sequences", "system", "tools", "thread"]
    )
    first, second = generation(**nulls), generation()

    assert (
        first.sampling.temperature,
        first.sampling.top_p,
        first.sampling.top_k,
        first.stop,
    ) == (1.0, 1.0, 0, ())
    assert first.sampling.seed != second.sampling.seed


def test_what_is_for_others_is_ignored() -> None:
    """Fields of the real API without a meaning here change nothing."""
    more = {
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": []},
        "metadata": {"user_id": None, "x": 1},
        "service_tier": "auto",
        "safeguards": [{}],
        "output_config": {"effort": "high"},
    }

    assert generation().prompt == generation(**more).prompt

"""What the blocks of a Messages conversation say, and that a conversation that grows only grows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.request import ChatMessage, ToolCall
from tests.api.asked import (
    HI,
    assistant,
    call,
    messages,
    prompt,
    result,
    system,
    text,
    tool,
    user,
)

PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
IMAGE = {"type": "image", "source": PNG}
PAPER = {"type": "document", "source": PDF}
PLAIN = {"type": "text", "media_type": "text/plain", "data": "chapter one"}
FOUND = {
    "type": "search_result",
    "source": "https://a.test/x",
    "title": "X",
    "content": [text("one"), text("two")],
    "citations": {"enabled": True},
}

SAID: list[tuple[dict[str, Any], str]] = [
    (text("a"), "a"),
    ({"type": "document", "source": PLAIN}, "chapter one"),
    (
        {"type": "document", "source": PLAIN, "title": "Book", "context": "a novel"},
        "Book\na novel\nchapter one",
    ),
    ({"type": "document", "source": {"type": "content", "content": "inner"}}, "inner"),
    (
        {"type": "document", "source": {"type": "content", "content": [text("b"), text("c")]}},
        "b\nc",
    ),
    (FOUND, "X\nhttps://a.test/x\none\ntwo"),
]

ATTACHED: list[tuple[dict[str, Any], str]] = [
    (IMAGE, "image"),
    ({"type": "image", "source": {"type": "url", "url": "http://evil.test/x.png"}}, "image"),
    ({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}, "image"),
    ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "image"),
    (PAPER, "document"),
    ({"type": "document", "source": {"type": "url", "url": "http://[::1]/x.pdf"}}, "document"),
    ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "document"),
    ({"type": "document", "source": {"type": "content", "content": [IMAGE]}}, "image"),
    ({"type": "container_upload", "file_id": "f"}, "file"),
]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_string_is_a_block(role: str) -> None:
    """A string and a list of one text block are the same message, whatever marks it carries."""
    expected = (ChatMessage(role, "x"),)  # type: ignore[arg-type]

    assert expected == messages({"role": role, "content": "x"})
    assert expected == messages({"role": role, "content": [text("x")]})


def test_blocks_are_joined() -> None:
    """Blocks written apart are joined by a line end; one generated text is put together again."""
    assert (
        ChatMessage("system", "s\nt"),
        ChatMessage("user", "a\nb"),
        ChatMessage("assistant", "cd"),
    ) == prompt(
        system=[text("s"), text("t")],
        messages=[user(text("a"), text("b")), assistant(text("c"), text("d"))],
    ).messages


@pytest.mark.parametrize(
    "billed",
    [
        "",
        [],
        None,
        [text("")],
        "x-anthropic-billing-header: cc_version=2;",
        [text("x-anthropic-billing-header: cch=90b4a;")],
    ],
)
def test_no_system(billed: object) -> None:
    """Nothing, and what Claude Code sends for the bill, is no system message."""
    assert (ChatMessage("user", "hi"),) == prompt(system=billed).messages


@pytest.mark.parametrize("cch", ["4d20c", "90b4a"])
@pytest.mark.parametrize("shape", ["blocks", "lines", "string"])
def test_billing_is_dropped(shape: str, cch: str) -> None:
    """The line for the bill changes from request to request and must not change the prompt."""
    line = f"x-anthropic-billing-header: cc_version=2.1; cch={cch};"
    billed = {
        "blocks": [text(line), text("You help.")],
        "lines": [text(f"{line}\n\nYou help.")],
        "string": f"{line}\nYou help.",
    }

    assert ChatMessage("system", "You help.") == prompt(system=billed[shape]).messages[0]


def test_system_stays_in_place() -> None:
    """A system message in the middle of a conversation is not moved to the top."""
    found = messages(HI, system(text("now"), text("then")), user(text("go")))

    assert (ChatMessage("user", "hi"), ChatMessage("system", "now\nthen")) == found[:2]
    assert found[2] == ChatMessage("user", "go")


@pytest.mark.parametrize("content", [None, "", [], [text("")]])
def test_silent_system(content: object) -> None:
    """A system message without a word, which only configures another server, says nothing."""
    silent = {"role": "system", "content": content, "output_config": {"effort": "low"}}

    assert messages(HI, silent) == (ChatMessage("user", "hi"),)


def test_system_that_clears_itself() -> None:
    """A system message for one turn is there until the user speaks again, and then is not."""
    once = system(text("hurry"), clear_at="next_user_message")
    always = system(text("be kind"), clear_at="never")
    begun = [HI, once, always, assistant(text("yes"))]

    assert [m.content for m in messages(*begun)] == ["hi", "hurry", "be kind", "yes"]
    assert [m.content for m in messages(*begun, HI)] == ["hi", "be kind", "yes", "hi"]


@pytest.mark.parametrize(("block", "said"), SAID)
def test_what_can_be_read(block: dict[str, Any], said: str) -> None:
    """A block that is text is text, in every message and in the result of a tool."""
    assert messages(user(text("look:"), block)) == (ChatMessage("user", f"look:\n{said}"),)
    assert messages(assistant(block)) == (ChatMessage("assistant", said),)
    assert messages(user(result("t", [block]))) == (ChatMessage("tool", said, tool_call_id="t"),)


@pytest.mark.parametrize(("block", "kind"), ATTACHED)
def test_attachments_are_refused(block: dict[str, Any], kind: str) -> None:
    """What a model of text cannot read is refused by its place, unread, wherever it stands."""
    for place, message in {
        "content[1]": user(text("a"), block),
        "content[0].content[0]": user(result("t", [block])),
        "content[0]": assistant(block),
    }.items():
        with pytest.raises(InvalidRequest, match=f"the model reads, got {kind}$") as refused:
            messages(HI, message)
        assert (refused.value.field or "").startswith(f"messages[1].{place}")


@pytest.mark.parametrize(("block", "kind"), ATTACHED)
def test_attachments_are_omitted(block: dict[str, Any], kind: str) -> None:
    """Or a word stands in its place, always the same."""
    said = f"[{kind} omitted: the model reads text only]"

    assert messages(user(text("a"), block), attachments="placeholder") == (
        ChatMessage("user", f"a\n{said}"),
    )
    assert messages(user(result("t", [block])), attachments="placeholder") == (
        ChatMessage("tool", said, tool_call_id="t"),
    )


def test_assistant_turn_is_one_message() -> None:
    """Thinking, text and tool calls of one turn stay together; key order is kept."""
    content = [
        {"type": "thinking", "thinking": "h", "signature": ""},
        {"type": "thinking", "thinking": "m", "signature": "x"},
        text("I look."),
        {"type": "tool_use", "id": "t1", "name": "read", "input": {"z": "é", "a": [1, None]}},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
        call("t2", "list"),
    ]
    calls = (ToolCall("t1", "read", '{"z": "é", "a": [1, null]}'), ToolCall("t2", "list", "{}"))

    assert (ChatMessage("assistant", "I look.", calls, reasoning="hm"),) == messages(
        assistant(*content)
    )


@pytest.mark.parametrize("content", ["", []])
def test_empty_turn(content: object) -> None:
    """A turn in which nothing was said is a turn."""
    assert messages({"role": "assistant", "content": content}) == (ChatMessage("assistant", ""),)


def test_results_come_before_text() -> None:
    """Results of tools are messages of their own; text follows them, wherever it stood."""
    content = [
        text("first"),
        result("t2", [text("a"), text("b")]),
        text("and now?"),
        {"type": "tool_result", "tool_use_id": "t3"},
    ]

    assert (
        ChatMessage("tool", "a\nb", tool_call_id="t2"),
        ChatMessage("tool", "", tool_call_id="t3"),
        ChatMessage("user", "first\nand now?"),
    ) == messages(user(*content))


def test_only_results() -> None:
    """A message with nothing but results adds no empty message of the user."""
    assert (ChatMessage("tool", "c", tool_call_id="t1"),) == messages(user(result("t1", "c")))


@given(st.permutations(["t1", "t2", "t3", "foreign"]))
def test_results_stand_in_the_order_of_their_calls(ready: list[str]) -> None:
    """Whichever result was ready first, the prompt is the same: it is known by its call."""
    asked = [HI, assistant(call("t1"), call("t2"), call("t3"))]
    found = messages(*asked, system(text("note")), user(*(result(name) for name in ready)))

    assert [m.tool_call_id for m in found[3:]] == ["t1", "t2", "t3", "foreign"]


@pytest.mark.parametrize("content", ["no such file", [text("no such file")]])
def test_failed_result(content: object) -> None:
    """That a tool failed is said to the model; that it did not needs no word."""
    failed, fine = (
        messages(user(result("t", content, is_error=is_error)))[0].content
        for is_error in (True, False)
    )

    assert (failed, fine) == ("Error: no such file", "no such file")


def test_browser_state() -> None:
    """The tabs of a browser are shown as they are."""
    state = {"type": "browser_state", "tabs": [{"title": "A", "active": True}]}

    shown = messages(user(result("t", [text("clicked"), state])))[0].content
    assert shown == 'clicked\n{"tabs": [{"title": "A", "active": true}]}'


turns = st.lists(
    st.sampled_from(
        [
            HI,
            user(result("t2"), result("t1"), text("and?")),
            user(result("t1", is_error=True)),
            user(result("t1", [{"type": "tool_reference", "tool_name": "late"}])),
            assistant(text("a"), call("t1"), call("t2")),
            assistant({"type": "thinking", "thinking": "hm", "signature": "s"}, text("b")),
            system(text("note")),
            system({"type": "tool_removal", "tool": {"type": "tool_reference", "name": "f"}}),
        ]
    ),
    min_size=1,
    max_size=8,
)


@given(turns, st.integers(1, 8))
def test_a_conversation_that_grows_only_grows(conversation: list[Any], cut: int) -> None:
    """What was said before is the same beginning of what is said later: the cache holds."""
    tools = [tool("f"), tool("late", defer_loading=True)]
    whole = prompt(tools=tools, messages=conversation)
    begun = prompt(tools=tools, messages=conversation[:cut])

    assert begun.tools == whole.tools
    assert begun.messages == whole.messages[: len(begun.messages)]

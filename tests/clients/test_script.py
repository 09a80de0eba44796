"""A script in a prompt is found and followed, by the daemon that real clients meet."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.script import AT_A_LOSS, TITLE, Line, Message, Script, Step, next_line
from tests.e2e.clients import open_claude
from tests.e2e.daemon import started

CALL = ("read_file", {"path": "a.txt"})
SCRIPT = Script("main", (Step(calls=(CALL,)), Step("It says {found}.", find=r"marker-\d+")))
SYSTEM = Message("system", "Tools:\n{}")
ASKED = (SYSTEM, Message("user", f"Look. {SCRIPT.word} Please."))
SAID = Message("assistant", "<tool_call>...</tool_call>")


def test_a_script_is_followed_turn_by_turn() -> None:
    """The call, then what its result shows, then nothing more."""
    call = '<tool_call>{"name": "read_file", "arguments": {"path": "a.txt"}}</tool_call>'
    shown = (*ASKED, SAID, Message("tool", "marker-1 marker-2"))

    assert next_line(ASKED) == Line(call, "main", 0)
    assert next_line(shown) == Line("It says marker-2.", "main", 1)
    assert next_line((*ASKED, SAID)) == Line("It says nothing.", "main", 1)
    assert next_line((*shown, SAID)) == Line(AT_A_LOSS, "main", 2)


def test_the_last_script_counts() -> None:
    """A new prompt begins a new script; one that a tool or the model quotes is none."""
    other = Script("next", (Step("Done."),))
    quoted = Message("tool", SCRIPT.word)

    talk = (*ASKED, SAID, Message("user", other.word))
    assert next_line(talk) == Line("Done.", "next", 0)
    assert next_line((*talk, SAID, quoted)).label == "next"


def test_who_asks_for_a_title_gets_one() -> None:
    """Whatever script stands in the conversation; and it is JSON."""
    line = next_line((Message("system", "Write a title."), ASKED[1]))

    assert line == Line(TITLE)
    assert json.loads(line.text) == {"title": "Scripted"}


@pytest.mark.e2e
@pytest.mark.asyncio
async def test_the_daemon_follows_it(tmp_path: Path) -> None:
    """Through HTTP, sessions, scheduler and caches, whose second turn is found in the cache."""
    tool = {"name": "read_file", "description": "Read.", "input_schema": {"type": "object"}}
    talk: list[Any] = [{"role": "user", "content": ASKED[1].content}]
    request: dict[str, Any] = {"model": "any", "max_tokens": 200, "tools": [tool]}
    with started(tmp_path / "log", module="tests.clients.scripted") as daemon:
        async with open_claude(daemon.url) as claude:
            first = await claude.messages.create(messages=talk, **request)
            (call,) = first.content
            assert call.type == "tool_use"
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "marker-7"}
            talk += [
                {"role": "assistant", "content": first.content},
                {"role": "user", "content": [result]},
            ]
            second = await claude.messages.create(messages=talk, **request)

    assert (call.name, call.input) == CALL
    assert [block.text for block in second.content if block.type == "text"] == ["It says marker-7."]
    assert (second.usage.cache_read_input_tokens or 0) >= first.usage.input_tokens

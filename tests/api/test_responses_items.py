"""What the items of a conversation mean: messages in canonical form, whoever wrote them how."""

from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.api import Bounds
from semantic_actors.api.responses_conversation import messages
from semantic_actors.api.responses_items import PASSED_OVER
from semantic_actors.api.responses_output import Output
from semantic_actors.domain.request import (
    ChatMessage,
    ToolCall,
)
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Finished,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
)
from semantic_actors.domain.usage import Usage
from tests.api.fakes import FakeDesk, serving
from tests.api.responses_requests import (
    CALL,
    HI,
    LOOK,
    LOOKED,
    asked,
    reasoning,
    said,
)

CONVERSATIONS: dict[str, tuple[Any, tuple[ChatMessage, ...]]] = {
    "a string": ("hi", (HI,)),
    "a string as content": ([{"role": "user", "content": "hi"}], (HI,)),
    "parts": (
        [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a"},
                    {"type": "input_text", "text": "b"},
                ],
            }
        ],
        (ChatMessage("user", "a\nb"),),
    ),
    "a developer in place": (
        [
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": "d"},
            {"role": "system", "content": "s"},
        ],
        (HI, ChatMessage("system", "d"), ChatMessage("system", "s")),
    ),
    "a turn of several items": (
        [reasoning("hm", encrypted_content="x"), said("I "), CALL, said("look."), LOOKED],
        (
            ChatMessage("assistant", "I look.", (LOOK,), reasoning="hm"),
            ChatMessage("tool", "a", tool_call_id="call_1"),
        ),
    ),
    "a thought in summary only": (
        [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}]},
            {"role": "assistant", "content": "a"},
        ],
        (ChatMessage("assistant", "a", reasoning="s"),),
    ),
    "a thought and no more": (
        [reasoning("hm"), {"role": "user", "content": "hi"}],
        (ChatMessage("assistant", "", reasoning="hm"), HI),
    ),
    "turns apart": (
        [said("a"), {"role": "user", "content": "hi"}, said("b")],
        (ChatMessage("assistant", "a"), HI, ChatMessage("assistant", "b")),
    ),
    "parallel calls": (
        [CALL, CALL | {"call_id": "call_2"}, LOOKED | {"call_id": "call_2"}, LOOKED],
        (
            ChatMessage("assistant", "", (LOOK, ToolCall("call_2", "look", '{"n": 5000.0}'))),
            ChatMessage("tool", "a", tool_call_id="call_2"),
            ChatMessage("tool", "a", tool_call_id="call_1"),
        ),
    ),
    "a call that was cut off": (
        [said("a"), CALL | {"arguments": '{"n', "status": "incomplete"}],
        (ChatMessage("assistant", "a"),),
    ),
    "a call of a namespace": (
        [CALL | {"namespace": "files"}],
        (ChatMessage("assistant", "", (ToolCall("call_1", "files__look", '{"n": 5000.0}'),)),),
    ),
    "output in parts": (
        [LOOKED | {"output": [{"type": "input_text", "text": t} for t in "ab"]}],
        (ChatMessage("tool", "a\nb", tool_call_id="call_1"),),
    ),
    "calls of other tools": (
        [
            {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "+1"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
            {"type": "local_shell_call", "id": "l", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "id": "l", "output": "a.txt"},
        ],
        (
            ChatMessage("assistant", "", (ToolCall("c", "patch", '{"input":"+1"}'),)),
            ChatMessage("tool", "done", tool_call_id="c"),
            ChatMessage(
                "assistant",
                "",
                (ToolCall("l", "local_shell", '{"type":"exec","command":["ls"]}'),),
            ),
            ChatMessage("tool", "a.txt", tool_call_id="l"),
        ),
    ),
    "hosted tools": (
        [
            *({"type": kind, "id": "x", "output": {"a": [1]}} for kind in sorted(PASSED_OVER)),
            {"role": "user", "content": "hi"},
        ],
        (HI,),
    ),
    "what another model declined": (
        [
            {
                "role": "assistant",
                "content": [{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "a"}],
            }
        ],
        (ChatMessage("assistant", "a"),),
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("what", CONVERSATIONS)
async def test_conversation(client: aiohttp.ClientSession, desk: FakeDesk, what: str) -> None:
    """Items are messages in canonical form, in their order."""
    given_items, expected = CONVERSATIONS[what]

    assert (await asked(client, desk, input=given_items)).messages == expected


@pytest.mark.asyncio
async def test_instructions_come_first(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """As a system message, before any of the client's own."""
    prompt = await asked(
        client, desk, instructions="Be brief.", input=[{"role": "developer", "content": "d"}]
    )

    assert prompt.messages == (ChatMessage("system", "Be brief."), ChatMessage("system", "d"))


@given(
    st.lists(
        st.sampled_from(
            [
                (ThinkingDelta("t"),),
                (TextDelta("a"),),
                (TextDelta(" "),),
                (
                    CallStarted("c", "files__look"),
                    ArgumentsDelta('{"a": '),
                    ArgumentsDelta("1}"),
                    ToolCalled(ToolCall("c", "files__look", '{"a": 1}')),
                ),
            ]
        )
    ),
    st.sampled_from(["stop", "length"]),
)
def test_what_is_told_comes_back_as_it_was_said(written: list[Any], reason: Any) -> None:
    """However an answer was cut into items, they are one message: text, thought, calls."""
    output = Output("resp_0", {"files__look": ("files", "look")})
    events = [event for events in written for event in events]
    for event in events:
        list(output.write(event))
    list(output.finish(Finished(reason, Usage())))

    assert list(messages(output.shown)) == [
        ChatMessage(
            "assistant",
            "".join(event.text for event in events if isinstance(event, TextDelta)),
            tuple(event.call for event in events if isinstance(event, ToolCalled)),
            reasoning="".join(e.text for e in events if isinstance(e, ThinkingDelta)),
        )
    ]


@pytest.mark.asyncio
async def test_placeholders(desk: FakeDesk) -> None:
    """Where attachments are let in, the conversation says that they stood there."""
    image = {"type": "input_image", "image_url": "http://127.0.0.1:9/", "detail": "auto"}
    content = [{"type": "input_text", "text": "what is this?"}, image]
    async with (
        serving(desk, bounds=Bounds(attachments="placeholder")) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        prompt = await asked(client, desk, input=[{"role": "user", "content": content}])

    assert prompt.messages[0].content == (
        "what is this?\n[image omitted: the model reads text only]"
    )

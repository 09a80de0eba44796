"""What requests of the Responses API mean, and how those that mean nothing are refused."""

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
    ChatPrompt,
    JsonOutput,
    ToolCall,
    ToolChoice,
    ToolSpec,
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

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
HI = ChatMessage("user", "hi")
LOOK = ToolCall("call_1", "look", '{"n": 5000.0}')

CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"n": 5000.0}'}
LOOKED = {"type": "function_call_output", "call_id": "call_1", "output": "a"}


def said(text: str, **more: Any) -> dict[str, Any]:
    """Write a message of the assistant as it was told."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "role": "assistant", "content": [part], **more}


def reasoning(text: str, **more: Any) -> dict[str, Any]:
    """Write a thought as it was told."""
    content = [{"type": "reasoning_text", "text": text}]
    return {"type": "reasoning", "summary": [], "content": content, **more}


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


async def asked(client: aiohttp.ClientSession, desk: FakeDesk, **body: Any) -> ChatPrompt:
    """Ask, and return the prompt that the desk was asked."""
    async with client.post(PATH, json={"model": "any", "input": "hi", **body}) as answer:
        assert answer.status == 200, await answer.text()
    prompt = desk.generation.prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt


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


FUNCTION = {"type": "function", "name": "look", "description": "Look.", "parameters": SCHEMA}
NAMESPACE = {
    "type": "namespace",
    "name": "files",
    "description": "Files.",
    "tools": [{"type": "function", "name": "read", "strict": False}, FUNCTION],
}
LOOK_SPEC = ToolSpec("look", "Look.", SCHEMA)
FILE_SPECS = (ToolSpec("files__read"), ToolSpec("files__look", "Look.", SCHEMA))


@pytest.mark.asyncio
async def test_tools(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """Functions are offered, those of namespaces under both names; hosted tools are not."""
    tools = [FUNCTION, NAMESPACE, {"type": "web_search"}, {"type": "made_up", "parameters": {}}]

    assert (await asked(client, desk, tools=tools)).tools == (LOOK_SPEC, *FILE_SPECS)


ALLOWED = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function"}]}
CHOICES: list[tuple[Any, Any, ToolChoice, int]] = [
    (None, None, ToolChoice(), 3),
    ("auto", True, ToolChoice(), 3),
    ("auto", False, ToolChoice(parallel=False), 3),
    ("none", None, ToolChoice("none"), 3),
    ("required", False, ToolChoice("required", parallel=False), 3),
    ({"type": "function", "name": "look"}, None, ToolChoice("required", "look"), 3),
    ({"type": "function", "name": "read"}, None, ToolChoice("required", "files__read"), 3),
    ({"type": "function", "name": "files__look"}, None, ToolChoice("required", "files__look"), 3),
    (
        ALLOWED | {"tools": [{"type": "function", "name": "look"}]},
        None,
        ToolChoice("required"),
        1,
    ),
    (
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]},
        None,
        ToolChoice(),
        0,
    ),
]


@pytest.mark.asyncio
@pytest.mark.parametrize("what", CHOICES)
async def test_choice(client: aiohttp.ClientSession, desk: FakeDesk, what: Any) -> None:
    """What may and must be called; tools that are not allowed are not offered."""
    choice, parallel, expected, tools = what
    prompt = await asked(
        client,
        desk,
        tools=[FUNCTION, NAMESPACE],
        tool_choice=choice,
        parallel_tool_calls=parallel,
    )

    assert (desk.generation.tool_choice, len(prompt.tools)) == (expected, tools)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonOutput('{"type":"object"}', "text.format")),
        (
            {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            JsonOutput(
                '{"type":"object","properties":{"path":{"type":"string"}}}', "text.format.schema"
            ),
        ),
    ],
)
async def test_format(
    client: aiohttp.ClientSession, desk: FakeDesk, format_: Any, expected: JsonOutput | None
) -> None:
    """A form of the text is a schema of the answer."""
    await asked(client, desk, text={"format": format_, "verbosity": "low"})

    assert desk.generation.output == expected


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reasoning_", "expected"),
    [
        (None, None),
        ({}, None),
        ({"effort": None, "summary": "auto"}, None),
        ({"effort": "none"}, False),
        ({"effort": "low"}, True),
        ({"effort": "xhigh"}, True),
    ],
)
async def test_thinking(
    client: aiohttp.ClientSession, desk: FakeDesk, reasoning_: Any, *, expected: bool | None
) -> None:
    """A model is told whether to think, not how much."""
    assert (await asked(client, desk, reasoning=reasoning_)).thinking is expected


@pytest.mark.asyncio
async def test_sampling(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """How to draw, how much, and whether to say how likely it was."""
    await asked(
        client,
        desk,
        temperature=0.5,
        top_p=0.25,
        top_k=7,
        seed=3,
        max_output_tokens=11,
        top_logprobs=2,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
    )

    drawn = desk.generation.sampling
    assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.seed) == (0.5, 0.25, 7, 3)
    assert (drawn.logprobs, desk.generation.max_tokens) == (2, 11)


@pytest.mark.asyncio
async def test_defaults(client: aiohttp.ClientSession, desk: FakeDesk) -> None:
    """What is not said is left to the model; log-probabilities are only made when included."""
    await asked(client, desk, top_logprobs=2)

    drawn = desk.generation.sampling
    assert (drawn.temperature, drawn.top_p, drawn.logprobs) == (1.0, 1.0, None)
    assert desk.generation.max_tokens is None
    assert desk.generation.output is None


TOLERATED: list[dict[str, Any]] = [
    {"client_metadata": {"a": "b"}, "service_tier": "flex", "user": "u", "truncation": "auto"},
    {"stream_options": {"include_obfuscation": False}, "safety_identifier": "s", "x": [{}]},
    {"background": False, "conversation": None, "prompt": None, "context_management": []},
    {"metadata": {"a": "b"}, "max_tool_calls": 3, "prompt_cache_retention": "24h"},
]


@pytest.mark.asyncio
@pytest.mark.parametrize("more", TOLERATED)
async def test_tolerated(
    client: aiohttp.ClientSession, desk: FakeDesk, more: dict[str, Any]
) -> None:
    """What asks for nothing that would change the answer is no reason to refuse one."""
    assert (await asked(client, desk, **more)).messages == (HI,)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("headers", "body", "session"),
    [
        ({}, {}, None),
        ({}, {"prompt_cache_key": "k"}, "k"),
        ({"thread-id": "t", "session-id": "s"}, {}, "t"),
        ({"session-id": "s"}, {}, "s"),
        ({"session-id": "s"}, {"prompt_cache_key": "k"}, "k"),
        ({"X-Session-Id": "x", "session-id": "s"}, {"prompt_cache_key": "k"}, "x"),
    ],
)
async def test_identity(
    client: aiohttp.ClientSession,
    desk: FakeDesk,
    headers: dict[str, str],
    body: dict[str, str],
    session: str | None,
) -> None:
    """The session is the one that is named, in the body or as codex names it."""
    async with client.post(PATH, json={"input": "hi"} | body, headers=headers) as answer:
        assert answer.status == 200

    assert desk.identity.session == session


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [PATH, f"{PATH}/input_tokens"])
async def test_models(client: aiohttp.ClientSession, desk: FakeDesk, path: str) -> None:
    """None need be named; one that is must be a name of the served one."""
    desk.aliases = ("gpt-*",)
    for named, status in ((None, 200), ("pocket", 200), ("gpt-9", 200), ("other", 404)):
        async with client.post(path, json={"model": named, "input": "hi"}) as answer:
            assert answer.status == status
            assert (status == 404) == ("model_not_found" in await answer.text())


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"input": None}, "input", "input: required, but missing"),
    ({"input": []}, "input", "input: expected an array of at least 1 items, got []"),
    ({"input": [{"type": "compaction"}]}, "input[0].type", "input[0].type: expected one of"),
    ({"input": [{"role": "tool", "content": ""}]}, "input[0].role", "expected one of 'assistant'"),
    ({"input": [{"role": "user"}]}, "input[0].content", "required"),
    ({"input": [{"content": "hi"}]}, "input[0].role", "required"),
    ({"input": [{"role": "user", "content": 5}]}, "input[0].content", "expected a string"),
    (
        {"input": [{"role": "user", "content": [{"type": "video"}]}]},
        "input[0].content[0].type",
        "expected one of 'input_text'",
    ),
    ({"input": [CALL | {"arguments": "no"}]}, "input[0].arguments", "the JSON text of an object"),
    ({"input": [CALL | {"arguments": {}}]}, "input[0].arguments", "expected a string, got {}"),
    ({"input": [CALL | {"call_id": None}]}, "input[0].call_id", "required"),
    ({"input": [CALL | {"name": ""}]}, "input[0].name", "at least 1 characters"),
    ({"input": [LOOKED | {"output": None}]}, "input[0].output", "required"),
    ({"input": [LOOKED | {"output": [{"type": "x"}]}]}, "input[0].output", "an array of parts"),
    (
        {"input": [{"type": "local_shell_call", "call_id": "c", "action": "ls"}]},
        "input[0].action",
        'expected an object, got "ls"',
    ),
    *(
        (
            {"input": [{"role": "user", "content": [{"type": f"input_{kind}", **where}]}]},
            "input[0].content[0]",
            f"expected text, which is all that the model reads, got {kind}",
        )
        for kind, where in (
            ("image", {"image_url": "http://127.0.0.1:9/a.png"}),
            ("image", {"image_url": "file:///etc/passwd"}),
            ("image", {"image_url": "data:image/png;base64,AAAA"}),
            ("file", {"file_url": "http://[::1]/a", "file_id": "../../x"}),
            ("audio", {"input_audio": {"data": "AA", "format": "wav"}}),
        )
    ),
    (
        {"input": [LOOKED | {"output": [{"type": "input_image", "image_url": "http://x"}]}]},
        "input[0].output[0]",
        "got image",
    ),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "required"),
    ({"tools": [{"type": "function", "name": ""}]}, "tools[0].name", "at least 1 characters"),
    ({"tools": [{"type": "namespace"}]}, "tools[0].name", "required"),
    ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name", "a name that no other tool has, got look"),
    (
        {"tools": [NAMESPACE, NAMESPACE]},
        "tools[1].tools[0].name",
        "a name that no other tool has, got files__read",
    ),
    ({"tool_choice": "required"}, "tool_choice", "functions in tools to choose from"),
    ({"tool_choice": ALLOWED, "tools": [FUNCTION]}, "tool_choice", "functions in tools"),
    (
        {"tool_choice": {"type": "function", "name": "x"}, "tools": [FUNCTION]},
        "tool_choice.name",
        "one of the functions in tools, got 'x'",
    ),
    ({"tool_choice": {"type": "web_search"}}, "tool_choice.type", "or a choice of functions"),
    ({"background": True}, "background", "true is not supported, only false or null"),
    ({"conversation": "conv_1"}, "conversation", "only previous_response_id"),
    ({"prompt": {"id": "p"}}, "prompt", "is not supported"),
    ({"max_output_tokens": 0}, "max_output_tokens", "an integer >= 1"),
    ({"max_output_tokens": 2**31}, "max_output_tokens", "<= 2147483647"),
    ({"temperature": 2.1}, "temperature", "a number >= 0 and <= 2"),
    ({"temperature": "1"}, "temperature", "a number"),
    ({"top_p": 0}, "top_p", "a number > 0"),
    ({"top_logprobs": 21}, "top_logprobs", "<= 20"),
    ({"top_logprobs": -1}, "top_logprobs", ">= 0"),
    ({"top_logprobs": True}, "top_logprobs", "an integer"),
    ({"truncation": "middle"}, "truncation", "one of 'auto', 'disabled'"),
    ({"metadata": {"k" * 65: "v"}}, "metadata", "of at most 64 characters"),
    ({"metadata": {"k": "v" * 513}}, "metadata", "of at most 512 characters"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "of at most 16 members"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type", "one of 'text', 'json_object'"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", "required"),
    ({"reasoning": {"effort": 5}}, "reasoning.effort", "a string"),
    ({"prompt_cache_key": "k" * 513}, "prompt_cache_key", "at most 512 characters"),
    ({"store": "yes"}, "store", "true or false"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("body", "field", "words"), REFUSED, ids=str)
async def test_refused(
    client: aiohttp.ClientSession, desk: FakeDesk, body: dict[str, Any], field: str, words: str
) -> None:
    """A clear sentence with the field, the value and the bound; nothing was asked of the desk."""
    async with client.post(PATH, json={"model": "any", "input": "hi"} | body) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", field)
    assert words in error["message"]
    assert not desk.asked


def nested(depth: int) -> dict[str, Any]:
    """Make a schema so deep."""
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tools": [FUNCTION | {"parameters": nested(250)}]}, "tools[0].parameters"),
        (
            {"tools": [NAMESPACE | {"tools": [FUNCTION | {"parameters": nested(250)}]}]},
            "tools[0].tools[0].parameters",
        ),
        (
            {"text": {"format": {"type": "json_schema", "schema": nested(250)}}},
            "text.format.schema",
        ),
        (
            {"input": [{"type": "local_shell_call", "id": "l", "action": nested(250)}]},
            "input[0].action",
        ),
    ],
)
async def test_depth(client: aiohttp.ClientSession, body: dict[str, Any], field: str) -> None:
    """What templates or compilers walk is not bottomless."""
    async with client.post(PATH, json={"input": "hi"} | body) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["param"]) == (400, field)
    assert "at most 200 levels of nesting" in error["message"]


@pytest.mark.asyncio
async def test_counts_are_bounded(client: aiohttp.ClientSession) -> None:
    """So many items, so many functions, however they are grouped."""
    item = {"role": "user", "content": ""}
    functions = [[{"type": "function", "name": f"{g}-{n}"} for n in range(501)] for g in range(2)]
    groups = [{"type": "namespace", "name": "n", "tools": inner} for inner in functions]
    for body, field in (({"input": [item] * 10_001}, "input"), ({"tools": groups}, "tools")):
        async with client.post(PATH, json={"input": "hi"} | body) as answer:
            assert (answer.status, (await answer.json())["error"]["param"]) == (400, field)


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

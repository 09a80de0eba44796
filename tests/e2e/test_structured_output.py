"""Structured output and guided calls, drawn at temperature 1 by the bundled model."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.ids import LOCAL, SessionId
from semantic_actors.domain.request import (
    GREEDY,
    ChatMessage,
    ChatPrompt,
    Generation,
    JsonOutput,
    Sampling,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from semantic_actors.domain.stream import (
    ArgumentsDelta,
    CallStarted,
    Failed,
    Finished,
    TextDelta,
    ToolCalled,
)
from semantic_actors.sessions import Directory, Identity
from tests.e2e.pocket_house import pocket_house
from tests.text import schemas

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

SEEDS = 100
CROWD = 16
FIELD = "response_format.json_schema.schema"
ASKED = (ChatMessage("user", "What is the weather in Paris?"),)
ENDLESS = '{"type":"array","items":{"type":"integer"},"minItems":1000000}'
BOMB = json.dumps(
    {
        "$ref": "#/$defs/a0",
        "$defs": {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}]} for i in range(2_000)},
    }
)
SLOWEST = json.dumps(
    {
        "type": "object",
        "properties": {
            f"q{j}": {
                "type": "object",
                "properties": {f"p{i}": {"type": "integer"} for i in range(480)},
            }
            for j in range(5)
        },
    }
)
TOOLS = (
    ToolSpec(
        "get_weather",
        "Say what the weather is.",
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 12},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    ),
    ToolSpec(
        "alarm",
        None,
        {
            "type": "object",
            "properties": {"loud": {"type": "boolean"}},
            "required": ["loud"],
            "additionalProperties": False,
        },
    ),
)


class Said:
    """An answer that was heard to its end."""

    def __init__(self) -> None:
        self.text = ""
        self.calls: list[ToolCall] = []
        self.open: CallStarted | None = None
        self.arguments = ""
        self.finished: Finished | None = None


@pytest_asyncio.fixture
async def directory() -> AsyncIterator[Directory]:
    """Run the house of the bundled model."""
    async with pocket_house() as place:
        yield place


async def ask(directory: Directory, generation: Generation, session: str | None = None) -> Said:
    """Hear an answer to its end; see that its events keep their law."""
    said = Said()
    name = None if session is None else SessionId(session)
    async for event in await directory.begin(Identity(LOCAL, name), generation):
        match event:
            case TextDelta(text=text):
                assert said.open is None
                said.text += text
            case CallStarted():
                assert said.open is None
                said.open, said.arguments = event, ""
            case ArgumentsDelta(text=text):
                assert said.open is not None
                said.arguments += text
            case ToolCalled(call=call):
                assert said.open is not None
                assert call == ToolCall(said.open.id, said.open.name, said.arguments)
                said.calls.append(call)
                said.open = None
            case Failed(error=error):
                raise error
            case Finished():
                said.finished = event
            case _:
                pass
    assert said.finished is not None
    return said


async def in_crowds(directory: Directory, wishes: list[Generation]) -> list[Said]:
    """Ask for all of these, so many at a time."""
    places = asyncio.Semaphore(CROWD)

    async def one(wish: Generation) -> Said:
        async with places:
            return await ask(directory, wish)

    return await asyncio.gather(*map(one, wishes))


def wanting(
    schema: str | None = None,
    seed: int = 0,
    *,
    tools: tuple[ToolSpec, ...] = (),
    choice: ToolChoice = ToolChoice(),  # noqa: B008 (it is immutable)
    most: int = 2_000,
) -> Generation:
    """Ask at temperature 1."""
    output = None if schema is None else JsonOutput(schema, FIELD)
    sampling = Sampling(temperature=1.0, seed=seed)
    return Generation(ChatPrompt(ASKED, tools), sampling, most, (), choice, output)


async def test_a_hundred_schemas_are_kept_to_at_temperature_one(directory: Directory) -> None:
    """Every answer ends by itself, and is JSON of its schema."""
    wishes = [wanting(schemas.text(seed), seed) for seed in range(SEEDS)]

    heard = await in_crowds(directory, wishes)

    for seed, said in enumerate(heard):
        assert said.finished is not None
        assert said.finished.reason == "stop"
        assert schemas.holds(json.loads(said.text), schemas.schema(seed)), (seed, said.text)


async def test_an_answer_beside_others_is_the_one_it_would_be_alone(directory: Directory) -> None:
    """Neither free nor constrained answers know of each other, whoever shares their steps."""
    free = [Generation(ChatPrompt(ASKED), GREEDY, 40), wanting(seed=3, most=40)]
    bound = [wanting(schemas.text(seed), seed) for seed in (11, 12)]
    alone = [(await ask(directory, one)).text for one in (*free, *bound)]

    together = await asyncio.gather(*(ask(directory, one) for one in (*free, *bound)))

    assert [said.text for said in together] == alone
    assert all(alone)


async def test_an_answer_that_is_cut_says_so(directory: Directory) -> None:
    """At its token limit it is the beginning of a value, and its reason is `length`."""
    said = await ask(directory, wanting(ENDLESS, most=30))

    assert said.finished is not None
    assert said.finished.reason == "length"
    assert said.finished.usage.completion_tokens == 30
    assert said.text.lstrip().startswith("[")
    with pytest.raises(json.JSONDecodeError):
        json.loads(said.text)


async def test_calls_that_are_required_are_made(directory: Directory) -> None:
    """Of tools that were offered, with arguments of their schemas, streamed as they are written."""
    wishes = [
        wanting(seed=seed, tools=TOOLS, choice=ToolChoice("required", parallel=False))
        for seed in range(20)
    ]

    heard = await in_crowds(directory, wishes)

    known = {tool.name: tool.parameters for tool in TOOLS}
    for said in heard:
        assert said.finished is not None
        assert said.finished.reason == "tool_calls"
        assert said.text == ""
        (call,) = said.calls
        assert schemas.holds(json.loads(call.arguments), known[call.name]), call


async def test_a_call_that_is_cut_is_not_called(directory: Directory) -> None:
    """It has begun, and has no end."""
    tool = ToolSpec("dig", None, {"type": "object", "properties": {"a": json.loads(ENDLESS)}})
    tool.parameters["required"] = ["a"]
    wish = wanting(tools=(tool,), choice=ToolChoice("required"), most=40)

    said = await ask(directory, wish)

    assert said.finished is not None
    assert said.finished.reason == "length"
    assert said.calls == []
    assert said.open is not None
    assert said.open.name == "dig"


async def test_the_next_turn_goes_on_from_an_answer_that_was_guided(directory: Directory) -> None:
    """It is an append: all but the last token of the turn before is found."""
    first = await ask(directory, wanting(schemas.text(5), 5), "talk")
    assert first.finished is not None
    messages = (*ASKED, ChatMessage("assistant", first.text), ChatMessage("user", "And now?"))

    second = await ask(directory, Generation(ChatPrompt(messages), GREEDY, 4), "talk")

    assert second.finished is not None
    before, now = first.finished.usage, second.finished.usage
    assert now.cached_tokens >= before.prompt_tokens + before.completion_tokens - 2


async def test_a_hostile_schema_costs_nobody_else_anything(directory: Directory) -> None:
    """It is refused by name within a second, and so is the next; an open answer goes on."""
    loop = asyncio.get_running_loop()
    other = asyncio.ensure_future(ask(directory, Generation(ChatPrompt(ASKED), GREEDY, 300)))
    gaps, beat, left = [0.0], loop.time(), 0.0
    for schema in (BOMB, BOMB, ENDLESS[:-1], '{"$ref": "https://example.com/"}'):
        began = loop.time()
        refusal = asyncio.ensure_future(ask(directory, wanting(schema)))
        while not refusal.done():
            await asyncio.sleep(0)
            gaps.append(loop.time() - beat)
            beat = loop.time()
        left = loop.time() - began
        with pytest.raises(InvalidRequest) as refused:
            await refusal
        assert left < 1.0
        assert refused.value.field == FIELD

    said = await other
    assert said.finished is not None
    assert max(gaps) < 0.5


async def test_a_schema_is_compiled_off_the_threads_of_others(directory: Directory) -> None:
    """While a slow one is being compiled, whole turns of others begin and end."""
    await ask(directory, wanting(schemas.text(1), 1))  # all threads have been started
    slow = asyncio.ensure_future(ask(directory, wanting(SLOWEST, most=1)))
    turns = 0
    while not slow.done():
        await ask(directory, Generation(ChatPrompt(ASKED), GREEDY, 1))
        turns += 1

    assert (await slow).text
    assert turns > 1

"""What clients make of an answer when they send it back, and that nothing of it is lost.

A real codec over a scripted model: the next prompt must find all of the last one and its answer.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from semantic_actors.domain.ids import LOCAL, SessionId, TokenIds
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation, ToolCall, ToolSpec
from semantic_actors.domain.stream import (
    Failed,
    Finished,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    TurnEvent,
)
from semantic_actors.domain.usage import Usage
from semantic_actors.sessions import Identity
from semantic_actors.text import Codec
from tests.sessions.rig import Rig, house
from tests.text import zoo

pytestmark = pytest.mark.asyncio

Echo = Callable[[ChatMessage], ChatMessage]

USER = ChatMessage("user", "hi")
TOOLS = (ToolSpec("look"), ToolSpec("leave"))
CALLS = (
    '<tool_call>\n{"name": "look", "arguments": {"n": 5000.0, "at": "\\u00e9"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "leave", "arguments": {}}\n</tool_call>'
)


def _ids(text: str) -> TokenIds:
    return tuple(zoo.byte_level().encode(text, add_special_tokens=False).ids)


HEADER = _ids("<|im_start|>assistant")
OPENINGS = tuple(map(_ids, ("\n", "\n<think>\n", "\n<think>\n\n</think>\n\n")))


class Script:
    """A model that has an answer for each turn, however the turn was opened."""

    def __init__(self, *answers: str) -> None:
        self._answers = [(*_ids(answer), *_ids("<|im_end|>")) for answer in answers]

    def __call__(self, tokens: TokenIds) -> int:
        """Go on with the answer of this turn; before it is one's turn anything will do."""
        width = len(HEADER)
        starts = [at for at in range(len(tokens)) if tokens[at : at + width] == HEADER]
        if starts and len(starts) <= len(self._answers):
            answer, opened = self._answers[len(starts) - 1], tokens[starts[-1] + width :]
            for opening in OPENINGS:
                said = opened[len(opening) :]
                if opened[: len(opening)] == opening and answer[: len(said)] == said != answer:
                    return answer[len(said)]
        return 0


@pytest.fixture(scope="module", params=["switch", "opener"])
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Return the codec of a model that thinks: of its own accord, or because its prompt begins."""
    place: Path = tmp_path_factory.mktemp("zoo") / "model"
    template, eos = zoo.TEMPLATES[request.param]
    return Codec.load(zoo.folder(place, zoo.byte_level(), template, eos))


async def _said(rig: Rig, prompt: ChatPrompt) -> tuple[ChatMessage, Usage]:
    """Return an answer as a client hears it, and what it cost."""
    turn = await rig.directory.begin(Identity(LOCAL, SessionId("s")), Generation(prompt))
    events = [event async for event in _events(turn)]
    calls = tuple(event.call for event in events if isinstance(event, ToolCalled))
    message = ChatMessage(
        "assistant",
        "".join(event.text for event in events if isinstance(event, TextDelta)),
        calls,
        reasoning="".join(event.text for event in events if isinstance(event, ThinkingDelta)),
    )
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.reason == ("tool_calls" if calls else "stop")
    return message, end.usage


async def _events(turn: AsyncIterator[TurnEvent]) -> AsyncIterator[TurnEvent]:
    async for event in turn:
        assert not isinstance(event, Failed), event
        yield event


def _reserialised(message: ChatMessage) -> ChatMessage:
    """Sort keys, write whole numbers without a point, as clients in JavaScript do."""
    calls = tuple(
        ToolCall(call.id, call.name, '{"at":"\u00e9","n":5000}' if "n" in call.arguments else "{}")
        for call in message.tool_calls
    )
    return msgspec.structs.replace(message, tool_calls=calls)


def _unparsed(message: ChatMessage) -> ChatMessage:
    arguments = '{"__unparsedToolInput": {"raw": "x", "len": 1}}'
    calls = tuple(ToolCall(call.id, call.name, arguments) for call in message.tool_calls)
    return msgspec.structs.replace(message, tool_calls=calls)


ECHOES: dict[str, Echo] = {
    "verbatim": lambda message: message,
    "no reasoning": lambda message: msgspec.structs.replace(message, reasoning=""),
    "other reasoning": lambda message: msgspec.structs.replace(message, reasoning="cut..."),
    "trimmed": lambda message: msgspec.structs.replace(message, content=message.content.strip()),
    "arguments written anew": _reserialised,
    "unparsed": _unparsed,
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=list(ECHOES))
@pytest.mark.parametrize("later", [None, False, True])
@pytest.mark.parametrize(
    ("thinking", "text"),
    [
        (None, "Yes, I do.  \n"),
        (None, f"Let me see.\n\n{CALLS}"),
        (None, f"\n\n{CALLS}\n"),
        (False, "Yes.\n"),
        (False, CALLS),
    ],
)
async def test_what_comes_back_is_found(
    codec: Codec,
    echo: Echo,
    later: bool | None,  # noqa: FBT001
    thinking: bool | None,  # noqa: FBT001
    text: str,
) -> None:
    """All that was computed for the first turn is found by the second, and by the third."""
    prompt = ChatPrompt((USER,), TOOLS, thinking)
    if thinking is None:
        opened = codec.opens_thought(codec.render(prompt))
        text = f"{'' if opened else '<think>'}\nlet me see\n</think>\n\n{text}"
    async with house(codec=codec, thinks=Script(text, "So.", "End.")) as rig:
        answer, first = await _said(rig, prompt)
        back = echo(answer)
        results = [
            ChatMessage("tool", call.name, tool_call_id=call.id) for call in answer.tool_calls
        ]
        told = (USER, back, *reversed(results or [USER]))
        so, second = await _said(rig, ChatPrompt(told, TOOLS, later))
        _, third = await _said(rig, ChatPrompt((*told, so, USER), TOOLS, thinking))

    assert answer.reasoning == ("let me see" if thinking is None else "")
    assert second.cached_tokens >= first.prompt_tokens + first.completion_tokens - 1
    assert third.cached_tokens >= second.prompt_tokens + second.completion_tokens - 1
    assert (second.miss, third.miss) == (None, None)


@pytest.mark.parametrize(
    "echo",
    [
        lambda message: msgspec.structs.replace(message, content="No, never."),
        lambda message: msgspec.structs.replace(
            message, tool_calls=(ToolCall("toolu_other", "look", "{}"),)
        ),
    ],
    ids=["text", "call"],
)
async def test_what_a_client_changed_is_read_as_it_is(codec: Codec, echo: Echo) -> None:
    """An answer that was edited is not the one that was given."""
    script = Script(f"Yes.\n{CALLS}", "So.")
    async with house(codec=codec, thinks=script) as rig:
        answer, first = await _said(rig, ChatPrompt((USER,), TOOLS, thinking=False))
        _, second = await _said(rig, ChatPrompt((USER, echo(answer), USER), TOOLS, thinking=False))

    assert second.cached_tokens < first.prompt_tokens + first.completion_tokens - 1

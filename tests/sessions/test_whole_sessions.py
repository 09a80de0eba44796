"""Sessions as coding agents have them, branches and all: every turn is an append to its last.

A real codec over a model that answers by what it was asked last.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec
import pytest

from semantic_actors.domain.ids import LOCAL, SessionId, TokenIds
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    JsonOutput,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from semantic_actors.domain.stream import Failed, Finished, TextDelta, ThinkingDelta, ToolCalled
from semantic_actors.domain.usage import Usage
from semantic_actors.sessions import Identity
from semantic_actors.text import Codec
from tests.sessions.rig import Rig, house
from tests.text import zoo

pytestmark = pytest.mark.asyncio

FAMILIES = {
    "switch": ("<|im_start|>assistant", "<|im_end|>"),
    "opener": ("<|im_start|>assistant", "<|im_end|>"),
    "chatml": ("<|im_start|>assistant", "<|im_end|>"),
    "gemma": ("<start_of_turn>model", "<end_of_turn>"),
    "llama": ("<|start|>assistant<|end|>", "<|eot|>"),
}
"""What begins and ends an assistant's turn."""

THINK = "\n<think>\n"
OPENINGS = (THINK + "\n</think>\n\n", THINK, "\n\n", "\n")
WORDS = zoo.byte_level()


@cache
def _ids(text: str) -> TokenIds:
    return tuple(WORDS.encode(text, add_special_tokens=False).ids)


def _text(tokens: Sequence[int]) -> str:
    return str(WORDS.decode(list(tokens), skip_special_tokens=False))


def call(name: str, arguments: str = "{}") -> str:
    """Write a call as the model does."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


class Replies:
    """A model that answers what it was asked last; it thinks where its prompt begins a thought."""

    def __init__(self, codec: Codec, answers: Mapping[str, str]) -> None:
        self._answers = answers
        (end,) = codec.eos_ids
        found = [pair for pair in FAMILIES.values() if _ids(pair[1]) == (end,)]
        self._header, self._end = map(_ids, found[0])
        self._known: dict[TokenIds, dict[TokenIds, TokenIds]] = {}

    def __call__(self, tokens: TokenIds) -> int:
        """Go on with the answer of this turn; before it is one's turn anything will do."""
        header, width = self._header, len(self._header)
        starts = (at for at in range(len(tokens) - width, -1, -1) if tokens[at] == header[0])
        start = next((at for at in starts if tokens[at : at + width] == header), None)
        if start is None:
            return 0
        asked, said = tokens[:start], tokens[start + width :]
        if asked not in self._known:
            self._known[asked] = self._turns(_text(asked))
        for opening, turn in self._known[asked].items():
            if opening == said[: len(opening)] and turn[: len(said)] == said != turn:
                return turn[len(said)]
        return 0

    def _turns(self, asked: str) -> dict[TokenIds, TokenIds]:
        answer = self._answers[max(self._answers, key=asked.rfind)]
        thoughts = {THINK: "hm\n</think>\n\n"}
        return {
            _ids(opening): (*_ids(opening), *_ids(thoughts.get(opening, "") + answer), *self._end)
            for opening in OPENINGS
        }


class Agent:
    """One line of a conversation: what it says is added, what it hears is echoed."""

    def __init__(self, rig: Rig, tools: tuple[ToolSpec, ...] = (), session: str = "s") -> None:
        self._rig = rig
        self._session = session
        self.tools = tools
        self.shown: tuple[ToolSpec, ...] = ()
        self.thinking: bool | None = None
        self.output: JsonOutput | None = None
        self.choice = ToolChoice()
        self.messages: tuple[ChatMessage, ...] = ()
        self.last: Usage | None = None

    def fork(self) -> "Agent":
        """Return another one with the same history, of which the last turn counts."""
        other = Agent(self._rig, self.tools, self._session)
        other.messages, other.last, other.shown = self.messages, self.last, self.shown
        return other

    async def ask(self, *messages: ChatMessage) -> ChatMessage:
        """Say something and echo what is answered; all of the last turn must be found again."""
        self.messages = (*self.messages, *messages)
        prompt = ChatPrompt(self.messages, self.tools, self.thinking, self.shown)
        generation = Generation(prompt, output=self.output, tool_choice=self.choice)
        identity = Identity(LOCAL, SessionId(self._session))
        turn = await self._rig.directory.begin(identity, generation)
        events = [event async for event in turn]
        end = events[-1]
        assert isinstance(end, Finished), end
        assert not [event for event in events if isinstance(event, Failed)]
        if self.last is not None:
            known = self.last.prompt_tokens + self.last.completion_tokens - 1
            assert end.usage.cached_tokens >= known, (messages, end.usage, self.last)
            assert end.usage.miss is None
        self.last = end.usage
        said = ChatMessage(
            "assistant",
            "".join(event.text for event in events if isinstance(event, TextDelta)),
            tuple(event.call for event in events if isinstance(event, ToolCalled)),
            reasoning="".join(event.text for event in events if isinstance(event, ThinkingDelta)),
        )
        self.messages = (*self.messages, said)
        return said


def user(text: str) -> ChatMessage:
    """Say something."""
    return ChatMessage("user", text)


def system(text: str) -> ChatMessage:
    """Say something as the program around the agent."""
    return ChatMessage("system", text)


def results(said: ChatMessage, text: str) -> list[ChatMessage]:
    """Return results in the order in which calls were done, the last one first."""
    return [ChatMessage("tool", text, tool_call_id=call.id) for call in reversed(said.tool_calls)]


@pytest.fixture(scope="module", params=FAMILIES)
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Return the codec of a model that thinks, does not, or knows nothing of systems and tools."""
    place: Path = tmp_path_factory.mktemp("zoo") / "model"
    template, eos = zoo.TEMPLATES[request.param]
    return Codec.load(zoo.folder(place, WORDS, template, eos))


READ, SEARCH, EDIT = (ToolSpec(name) for name in ("read", "search", "edit"))


async def test_a_session_of_calls_reminders_and_modes(codec: Codec) -> None:
    """Calls side by side, words of the system in between, thoughts on and off, tools found late."""
    script = {
        "begin": "I look.  \n\n"
        + call("read", '{"b": 1.0, "a": "\\u00e9"}')
        + "\n"
        + call("search"),
        "found": "\n\nHere:\n" + call("edit") + "\n",
        "edited": "Done.\n",
        "reminder": "Noted.",
        "more": call("search"),
        "nothing": "So be it. ",
        "bye": "Bye.",
    }
    async with house(codec=codec, thinks=Replies(codec, script)) as rig:
        agent = Agent(rig, (READ, SEARCH))
        said = await agent.ask(system("Be brief."), user("begin"))
        assert [one.name for one in said.tool_calls] == ["read", "search"]
        agent.shown = (EDIT,)
        said = await agent.ask(*results(said, "found"))
        assert [one.name for one in said.tool_calls] == ["edit"]
        await agent.ask(*results(said, "edited"), system("be quick"))
        agent.thinking = False
        await agent.ask(system("reminder"))
        said = await agent.ask(user("more"))
        agent.thinking = True
        agent.choice = ToolChoice("none")
        await agent.ask(*results(said, "nothing"))
        agent.thinking = None
        await agent.ask(system("reminder"), user("bye"))


async def test_agents_in_one_session_do_not_disturb_each_other(codec: Codec) -> None:
    """Two sub-agents, the main line and a question for a title, all at once, for three rounds."""
    script = {
        "title": '{"title": "A"}',
        "main": "I ask.\n" + call("search"),
        "one": "One.",
        "two": call("read") + "\n" + call("read", '{"a": 2}'),
        "next": "Well. \n",
    }
    async with house(codec=codec, thinks=Replies(codec, script)) as rig:
        main = Agent(rig, (READ, SEARCH))
        subs = [Agent(rig, (READ,)), Agent(rig, (READ,))]
        title = Agent(rig)
        title.output, title.thinking = JsonOutput('{"type": "object"}', "f"), False
        said = await asyncio.gather(
            title.ask(user("title")),
            main.ask(system("You are one."), user("main")),
            *(
                sub.ask(system("You help."), user(what))
                for sub, what in zip(subs, ("one", "two"), strict=True)
            ),
        )
        assert said[0].content == '{"title": "A"}'
        for _ in range(2):
            await asyncio.gather(
                *(
                    agent.ask(*(results(agent.messages[-1], "next") or [user("next")]))
                    for agent in (main, *subs)
                )
            )


async def test_retries_and_side_questions_find_what_was_said(codec: Codec) -> None:
    """The same request again, a fork of the conversation, and the main line after both."""
    script = {"begin": "Go.\n" + call("read"), "res": "I see.", "what": "This.", "sum": "All."}
    async with house(codec=codec, thinks=Replies(codec, script)) as rig:
        main = Agent(rig, (READ,))
        said = await main.ask(user("begin"))
        first, again = main.fork(), main.fork()
        side = results(said, "res")
        await asyncio.gather(first.ask(*side), again.ask(*side))
        summary = first.fork()
        await summary.ask(user("sum"))
        await first.ask(user("what"))
        await again.ask(user("sum"))
        after = Agent(rig, (READ,))
        await after.ask(user("All of it before: sum"))
        await after.ask(user("what"))


async def test_a_call_that_a_client_could_not_read_is_replayed(codec: Codec) -> None:
    """Names stay, arguments come back as something else, and the text between them is lost."""
    script = {"begin": "Text. " + call("read", '{"x": [1, 2.50]}') + "\n", "bad": "Sorry."}
    async with house(codec=codec, thinks=Replies(codec, script)) as rig:
        agent = Agent(rig, (READ,))
        said = await agent.ask(user("begin"))
        (made,) = said.tool_calls
        back = msgspec.structs.replace(
            said,
            content=" Text.\n",
            reasoning="",
            tool_calls=(ToolCall(made.id, made.name, '{"__unparsedToolInput": {"raw": ""}}'),),
        )
        agent.messages = (*agent.messages[:-1], back)
        await agent.ask(*results(said, "bad"))

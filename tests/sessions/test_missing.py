"""Every miss of a running house is explained, and nothing else is called one."""

import hashlib
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from semantic_actors.domain.ids import LOCAL, SessionId, TokenIds
from semantic_actors.domain.request import ChatMessage, ChatPrompt, Generation, TextPrompt, ToolSpec
from semantic_actors.domain.stream import Finished, TextDelta
from semantic_actors.domain.usage import Miss
from semantic_actors.sessions import Identity
from semantic_actors.sessions.messages import LastMiss
from tests.sessions.rig import END, ROLES, Rig, collect, house

pytestmark = pytest.mark.asyncio

SYSTEM = ChatMessage("system", "You are a helpful agent of few words.")
TOOLS = (ToolSpec("read a file"), ToolSpec("write a file"))
LETTERS = 40


def think(tokens: TokenIds) -> int:
    """Answer at length, something else to every prompt."""
    start = len(tokens) - tokens[::-1].index(ROLES["assistant"])
    reply = hashlib.sha256(repr(tokens[:start]).encode()).hexdigest()[:LETTERS]
    said = len(tokens) - start
    return ord(reply[said]) if said < len(reply) else END


def user(text: str) -> ChatMessage:
    """Make a message of the user."""
    return ChatMessage("user", text)


class Client:
    """Holds a conversation as a client does: all of it is sent with every turn."""

    def __init__(self, rig: Rig, session: str = "s") -> None:
        self.rig = rig
        self.session = SessionId(session)
        self.messages = [SYSTEM]

    async def ask(
        self, messages: Sequence[ChatMessage], tools: Sequence[ToolSpec] = ()
    ) -> Finished:
        """Send a conversation, whatever it is, and keep it with its answer."""
        generation = Generation(ChatPrompt(tuple(messages), tuple(tools)))
        turn = await self.rig.directory.begin(Identity(LOCAL, self.session), generation)
        text, finished = await collect(turn)
        self.messages = [*messages, ChatMessage("assistant", text)]
        return finished

    async def say(self, text: str, tools: Sequence[ToolSpec] = ()) -> Finished:
        """Append a message."""
        return await self.ask([*self.messages, user(text)], tools)

    async def last_miss(self) -> Miss | None:
        """Ask the session, as `sessions show` does."""
        actor = self.rig.directory._sessions[LOCAL, self.session]
        return await actor.ask(LastMiss(), timeout=1.0)


async def test_a_conversation_that_only_grows_misses_nothing() -> None:
    """Nor does the same prompt sent again, an earlier turn gone back to, or a sub-agent."""
    async with house(thinks=think) as rig:
        client = Client(rig)
        for text in ("Read the file.", "And the other one?", "What do they say?"):
            assert (await client.say(text, TOOLS)).usage.miss is None
        whole = client.messages
        helper = [ChatMessage("system", "You search files."), user("Find all that say Rome.")]

        for messages, tools in (
            (whole[:-1], TOOLS),
            (whole[:4], TOOLS),
            ([*whole[:3], user("Tell me a story instead, a long one.")], TOOLS),
            (helper, TOOLS[:1]),
            ([SYSTEM, user("Find all that say Rome.")], TOOLS),
            ([*whole, user("Thank you.")], TOOLS),
        ):
            assert (await client.ask(messages, tools)).usage.miss is None
        assert await client.last_miss() is None


@pytest.mark.parametrize("change", ["system", "tools", "message 1 (user)", "answer 2"])
async def test_a_change_is_explained(change: str) -> None:
    """By its place, its part and its cost, in the usage, in the log and when the session is asked.

    The next turn goes on with what was computed now.
    """
    async with house(thinks=think) as rig:
        client = Client(rig)
        await client.say("What is in the file, and who wrote it?", TOOLS)
        before = (await client.say("And in the other one?", TOOLS)).usage
        system, asked, answered, *rest = client.messages
        tools: tuple[ToolSpec, ...] = TOOLS
        match change:
            case "system":
                system = ChatMessage("system", "You are a helpful agent of many words.")
            case "tools":
                tools = (TOOLS[0], ToolSpec("list a folder"), TOOLS[1])
            case "answer 2":
                answered = ChatMessage("assistant", f"Well: {answered.content}")
            case _:
                asked = user("What is in the file, and who read it?")

        with capture_logs() as logs:
            usage = (await client.ask([system, asked, answered, *rest, user("Why?")], tools)).usage

        miss = usage.miss
        assert miss is not None
        assert (miss.kind, miss.part) == ("changed", change)
        assert miss.position == usage.cached_tokens
        computed = before.prompt_tokens + before.completion_tokens - 1
        assert miss.tokens_lost == computed - usage.cached_tokens
        assert miss.text_was[0] != miss.text_now[0]
        assert await client.last_miss() == miss
        (line,) = [line for line in logs if line["event"] == "prefix_missed"]
        assert line == {
            "event": "prefix_missed",
            "log_level": "info",
            "session": "s",
            "kind": "changed",
            "part": change,
            "position": miss.position,
            "tokens_lost": miss.tokens_lost,
        }
        assert (await client.say("Go on.", tools)).usage.miss is None
        assert await client.last_miss() == miss


async def test_an_evicted_cache_is_explained() -> None:
    """Nothing has changed: others needed the memory."""
    async with house(thinks=think, pool_bytes=2 * 1024 * 1280) as rig:
        client = Client(rig)
        computed = (await client.say("What is in the file, and who wrote it?")).usage
        for number in range(10):
            await Client(rig, f"other {number}").ask([user(f"{number} is another")])

        usage = (await client.say("Why?")).usage

        miss = usage.miss
        assert miss is not None
        assert (miss.kind, miss.part, miss.position) == ("gone", "cache", usage.cached_tokens)
        whole = computed.prompt_tokens + computed.completion_tokens - 1
        assert miss.tokens_lost == whole - usage.cached_tokens
        assert await client.last_miss() == miss


async def test_what_a_cancelled_turn_has_computed_is_known() -> None:
    """Its prompt had been read when its first token came; before that, nobody knows."""
    async with house(thinks=think, pool_bytes=2 * 1024 * 1280) as rig:
        client = Client(rig)
        asked = (SYSTEM, user("What is in the file, and who wrote it?"))
        await client.ask([user("Hello.")])
        turn = await rig.directory.begin(
            Identity(LOCAL, client.session), Generation(ChatPrompt(asked))
        )
        async for event in turn:
            if isinstance(event, TextDelta):
                turn.cancel()
        for number in range(10):
            await Client(rig, f"other {number}").ask([user(f"{number} is another")])

        usage = (await client.ask(asked)).usage

        assert usage.miss == Miss("gone", "cache", 0, usage.prompt_tokens - 1)


async def test_a_text_prompt_misses_nothing_by_being_another() -> None:
    """Texts are no conversation."""
    async with house(thinks=lambda tokens: ord("b") if len(tokens) % 7 else END) as rig:
        for text in ("a" * 50, "a" * 80, "c" * 50):
            generation = Generation(TextPrompt(text))
            turn = await rig.directory.begin(Identity(LOCAL, SessionId("t")), generation)
            assert (await collect(turn))[1].usage.miss is None

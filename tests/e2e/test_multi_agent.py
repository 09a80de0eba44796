"""Several agents at once: each knows what it was told, and nothing of the others."""

import asyncio
import itertools

import anthropic
import openai
import pytest

from tests.e2e.claude_code import ClaudeCode
from tests.e2e.clients import RECALL, ClaudeTalk, GptTalk, Talk
from tests.e2e.daemon import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

ROUNDS = 4


async def test_five_concurrent_claude_code_sessions(claude: anthropic.AsyncAnthropic) -> None:
    """Five sessions of Claude Code's shape recall their own facts, and every turn is an append.

    What that client changes from request to request costs no token of the cache.
    """

    async def work(key: str, value: str) -> list[tuple[str, int, int]]:
        session = ClaudeCode(claude)
        turns = []
        for text in (f"My {key} is {value}.", "Hello!", f"What is my {key}?", "Thank you."):
            message = await session.ask(text)
            cached = message.usage.cache_read_input_tokens
            prompt = message.usage.input_tokens + cached
            assert message.stop_reason == "end_turn"
            turns.append((message.content[0].text, cached, prompt + message.usage.output_tokens))
        return turns

    everyone = await asyncio.gather(*(work(key, value) for key, value in RECALL[:5]))

    assert [f"Your {key} is {value}." for key, value in RECALL[:5]] == [
        turns[2][0] for turns in everyone
    ]
    for turns in everyone:
        for (_, _, end), (_, cached, _) in itertools.pairwise(turns):
            assert cached in (end - 1, end)  # the end of the turn may have been fed already


async def test_agents_have_independent_caches(
    daemon: Daemon, claude: anthropic.AsyncAnthropic
) -> None:
    """Three agents that take turns each find their own last turn whole, as if alone."""
    before = (await daemon.counters())["caches"]
    talks = [ClaudeTalk(claude, headers={"X-Session-Id": f"turn by turn {n}"}) for n in range(3)]
    facts = [("street name", word) for word in ("falcon", "tiger", "river")]
    last = [
        await talk.say(f"My {key} is {value}.")
        for talk, (key, value) in zip(talks, facts, strict=True)
    ]

    for text in ("Hello!", "Thank you.", "What is my street name?"):
        for index, talk in enumerate(talks):
            said = await talk.say(text)
            end = last[index].prompt + last[index].completion
            assert said.cached in (end - 1, end)
            last[index] = said

    assert [said.text for said in last] == [f"Your street name is {value}." for _, value in facts]
    assert (await daemon.counters())["caches"] >= before + len(talks)


async def test_no_cache_leakage_between_agents(
    claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    """Eight sessions at once with one key and eight values: nobody ever hears another's value."""
    markers = [value for _, value in RECALL]
    talks: list[Talk] = [ClaudeTalk(claude, stream=bool(n % 4)) for n in range(0, 8, 2)]
    talks += [GptTalk(gpt, stream=bool(n % 4)) for n in range(0, 8, 2)]
    heard: list[list[str]] = [[] for _ in talks]

    async def everyone(texts: list[str]) -> list[str]:
        said = await asyncio.gather(
            *(talk.say(text) for talk, text in zip(talks, texts, strict=True))
        )
        for index, answer in enumerate(said):
            heard[index].append(answer.text)
        return [answer.text for answer in said]

    await everyone([f"My door code is {marker}." for marker in markers])
    for _ in range(ROUNDS):
        answers = await everyone(["What is my door code?"] * len(talks))
        assert answers == [f"Your door code is {marker}." for marker in markers]
        await everyone(["Hello!"] * len(talks))

    for own, texts in zip(markers, heard, strict=True):
        assert not [text for text in texts for other in markers if other != own and other in text]


async def test_all_agents_generate_correctly(
    claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    """Five agents at five tasks answer together exactly what each answers alone."""
    tasks = (
        ("Hello!", "Hello! How can I help?"),
        ("Repeat after me: the quick brown fox", "the quick brown fox"),
        ("What is my access key?", "I do not know that yet."),
        ("Thank you.", "You are welcome."),
        ("Count to 20.", None),
    )

    def agents() -> list[Talk]:
        return [ClaudeTalk(claude), GptTalk(gpt), ClaudeTalk(claude), GptTalk(gpt), GptTalk(gpt)]

    alone = [await talk.say(text) for talk, (text, _) in zip(agents(), tasks, strict=True)]
    together = await asyncio.gather(
        *(talk.say(text) for talk, (text, _) in zip(agents(), tasks, strict=True))
    )

    assert [said.text for said in alone] == [said.text for said in together]
    for said, (_, expected) in zip(together, tasks, strict=True):
        assert expected is None or said.text == expected
    assert together[-1].text.startswith("1 2 3 4 5 ")

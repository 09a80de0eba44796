"""One prefix, one copy: sessions with one system prompt compute it, hold it and store it once."""

import asyncio
import random

import pytest

from semantic_actors.kv.blocks import BLOCK_TOKENS
from tests.e2e.clients import RECALL, GptTalk, Said, open_gpt
from tests.e2e.conftest import Starter
from tests.e2e.daemon import Daemon, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

SESSIONS = 16
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "red", "tree", "sun")

ROW_BYTES = 8_192
"""Keys and values of one token of the pocket model."""

FACTS = [
    (RECALL[n % len(RECALL)][0], RECALL[(n + n // len(RECALL)) % len(RECALL)][1])
    for n in range(SESSIONS)
]
"""Each session's own."""


TURNS = ("My {0} is {1}.", "What is my {0}?")


def system_prompt(words: int = 760) -> str:
    """Some 1,500 tokens."""
    return " ".join(random.Random(words).choices(WORDS, k=words))


async def converse(daemon: Daemon) -> list[list[Said]]:
    """Let all sessions begin at once, each with a fact of its own, then ask all for theirs."""
    system = {"role": "system", "content": system_prompt()}
    turns = []
    async with open_gpt(daemon.url) as client:
        talks = [GptTalk(client, headers={"X-Session-Id": f"{n}"}) for n in range(SESSIONS)]
        for one in talks:
            one.recount([system])
        for text in TURNS:
            texts = [text.format(*fact) for fact in FACTS]
            asked = zip(talks, texts, strict=True)
            turns.append(await asyncio.gather(*(one.say(said) for one, said in asked)))
    return turns


async def test_sixteen_sessions_pay_for_their_system_prompt_once(start: Starter) -> None:
    """In tokens fed, in bytes of RAM and in bytes on disk; and each of them knows its own fact.

    In RAM a session's own tail grows by whole blocks.
    """
    with start() as daemon:
        first, second = await converse(daemon)

        async def stored() -> bool:
            now = await daemon.counters()
            return now["dirty_bytes"] + now["store_dirty_bytes"] + now["store_saves_waiting"] == 0

        await eventually(stored)
        counters = await daemon.counters()

    reader, *followers = sorted(said.cached for said in first)
    prefix = followers[0]
    ends = [said.prompt + said.completion for said in second]
    rows = prefix + SESSIONS * BLOCK_TOKENS
    assert (reader, prefix > 1_500) == (0, True)
    assert [f"Your {key} is {value}." for key, value in FACTS] == [said.text for said in second]
    assert counters["tokens_fed_total"] <= prefix + sum(end - prefix + len(TURNS) for end in ends)
    assert counters["pool_used_bytes"] <= 1.2 * rows * ROW_BYTES
    assert counters["store_saved_tokens_total"] <= prefix + sum(end - prefix for end in ends)

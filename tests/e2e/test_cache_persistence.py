"""A conversation outlives eviction, restarts, kills and forks: it is known, and not read again."""

import itertools
import random
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from semantic_actors.engine import pocket_path
from tests.e2e.clients import RECALL, ClaudeTalk, Said, open_claude
from tests.e2e.conftest import Starter
from tests.e2e.daemon import Daemon, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]

LONG = 1_500
"""Tokens of a conversation, at least."""

WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "red", "tree", "sun")


def told(number: int) -> list[Mapping[str, str]]:
    """What was said before: a fact, then small talk, each conversation its own."""
    key, value = RECALL[number % len(RECALL)]
    chance = random.Random(number)
    said = [(f"My {key} is {value}.", "Noted.")]
    for _ in range(40):
        words = " ".join(chance.sample(WORDS, 6))
        said.append((f"Repeat after me: {words}", words))
    texts = itertools.chain.from_iterable(said)
    roles = itertools.cycle(("user", "assistant"))
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def question(number: int) -> str:
    """Ask for the fact."""
    return f"What is my {RECALL[number % len(RECALL)][0]}?"


@asynccontextmanager
async def talking(daemon: Daemon) -> AsyncIterator[ClaudeTalk]:
    """A client of one daemon."""
    async with open_claude(daemon.url) as client:
        yield ClaudeTalk(client)


async def converse(daemon: Daemon, said: list[Mapping[str, str]], *texts: str) -> list[Said]:
    """Go on with a conversation; `said` grows by what is said."""
    async with talking(daemon) as talk:
        talk.recount(said)
        answers = [await talk.say(text) for text in texts]
    for text, answer in zip(texts, answers, strict=True):
        said += ({"role": "user", "content": text}, {"role": "assistant", "content": answer.text})
    return answers


async def kept(daemon: Daemon, tokens: int) -> None:
    """Wait until so many tokens are on disk."""

    async def enough() -> bool:
        now = await daemon.counters()
        saved = now["store_saved_tokens_total"] + now["store_skipped_tokens_total"]
        return saved >= tokens and now["dirty_bytes"] == 0

    await eventually(enough)


def assert_recalled(number: int, answer: Said, before: Said) -> None:
    """It knows the fact, and has read no more than what is new."""
    assert answer.text == f"Your {RECALL[number % len(RECALL)][0]} is {RECALL[number][1]}."
    assert answer.cached >= before.prompt + before.completion - 1
    assert answer.cached >= 0.95 * answer.prompt


@pytest.fixture
def state(tmp_path: Path) -> tuple[str, str]:
    """A state directory for several daemons, one after the other."""
    return "--state-dir", str(tmp_path / "state")


@pytest.mark.parametrize("end", ["terminate", "kill"])
async def test_cache_persists_across_server_restart(
    start: Starter, state: tuple[str, str], end: str
) -> None:
    """After a drain, and after a kill at any time once the answer was written, all is known."""
    said = told(0)
    with start(*state) as daemon:
        [before] = await converse(daemon, said, "Thank you.")
        assert before.prompt >= LONG
        if end == "kill":
            await kept(daemon, before.prompt + before.completion - 1)
        getattr(daemon.process, end)()
        await daemon.exit_code()

    with start(*state) as daemon:
        [after] = await converse(daemon, said, question(0))

    assert_recalled(0, after, before)


async def test_agent_resumes_from_saved_cache(start: Starter, state: tuple[str, str]) -> None:
    """A session that others have pushed out of memory comes back from disk, among them."""
    conversations = [told(number) for number in range(5)]
    with start(*state, "--ram-budget", "24MiB") as daemon:
        first = [(await converse(daemon, said, "Thank you."))[0] for said in conversations]
        again = [
            (await converse(daemon, said, question(number)))[0]
            for number, said in enumerate(conversations)
        ]
        counters = await daemon.counters()

    for number, (before, after) in enumerate(zip(first, again, strict=True)):
        assert_recalled(number, after, before)
    assert counters["tokens_restored_total"] >= 3 * LONG
    assert counters["store_quarantined_total"] == 0


async def test_the_conversation_goes_on_as_if_nothing_had_been(
    start: Starter, state: tuple[str, str]
) -> None:
    """Answers over two restarts are those of a daemon that never left, and as much is found.

    But for the token that ends an answer, which may have been fed or not when it was seen.
    """
    texts = ["Thank you.", "How are you?", question(1), "Count to 12.", "Hello!", question(1)]
    unbroken, broken = told(1), told(1)
    with start() as daemon:
        expected = await converse(daemon, unbroken, *texts)

    answers = []
    for pair in (texts[:2], texts[2:4], texts[4:]):
        with start(*state) as daemon:
            answers += await converse(daemon, broken, *pair)

    assert [one.text for one in expected] == [one.text for one in answers]
    found = [(one.cached, two.cached) for one, two in zip(expected, answers, strict=True)][1:]
    assert all(abs(one - two) <= 1 for one, two in found), found


async def test_both_branches_of_a_fork_come_back(start: Starter, state: tuple[str, str]) -> None:
    """Two conversations that went apart after a common past are both known, each its own."""
    past = told(2)
    left, right = [*past], [*past]
    facts = (("dog name", "rex"), ("dog name", "max"))
    with start(*state) as daemon:
        for said, (key, value) in zip((left, right), facts, strict=True):
            await converse(daemon, said, f"My {key} is {value}.")
        counters = await daemon.counters()
    assert counters["tokens_fed_total"] < 1.5 * LONG

    with start(*state) as daemon:
        for said, (key, value) in zip((left, right), facts, strict=True):
            [known] = await converse(daemon, said, f"What is my {key}?")
            assert known.text == f"Your {key} is {value}."
            assert known.cached >= 0.95 * known.prompt


async def test_model_tag_compatibility_validation(
    start: Starter, state: tuple[str, str], tmp_path: Path
) -> None:
    """What another model computed is not used, and is still there when that one is back."""
    said = told(3)
    other = tmp_path / "other"
    shutil.copytree(pocket_path(), other)
    config = other / "config.json"
    config.write_text(config.read_text() + "\n")
    with start(*state) as daemon:
        [before] = await converse(daemon, said, "Thank you.")

    with start(*state, "--model", str(other)) as daemon:
        [foreign] = await converse(daemon, [*said], question(3))
    with start(*state) as daemon:
        [own] = await converse(daemon, said, question(3))

    assert foreign.cached == 0
    assert foreign.text == own.text
    assert_recalled(3, own, before)


async def test_cache_load_time_under_500ms(start: Starter, state: tuple[str, str]) -> None:
    """Of four restored conversations the fastest is answered within half a second, all in all.

    Or in half of the time that reading it took, where that is more than a second.
    """
    conversations = [told(number) for number in range(4)]
    with start(*state) as daemon:
        cold = [await timed(daemon, said) for said in conversations]
    with start(*state) as daemon:
        warm = [await timed(daemon, said) for said in conversations]

    assert all(answer.cached >= 0.95 * answer.prompt for answer, _ in warm)
    assert min(seconds for _, seconds in warm) < max(0.5, min(seconds for _, seconds in cold) / 2)


async def timed(daemon: Daemon, said: list[Mapping[str, str]]) -> tuple[Said, float]:
    """Go on with a conversation by a turn, and say how many seconds that took."""
    began = time.perf_counter()
    [answer] = await converse(daemon, said, "Thank you.")
    return answer, time.perf_counter() - began

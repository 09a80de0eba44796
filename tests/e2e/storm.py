"""Agents that talk to a daemon all at once, for as long as it lives, and remember what it said."""

import random
from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

import anthropic

from tests.e2e.clients import RECALL, ClaudeTalk, Said
from tests.e2e.daemon import Daemon, eventually

WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "red", "tree", "sun")

LONGEST = 1_200
"""Tokens of a conversation, about; then a new one begins."""

LEAVING = (503, 529)
"""Statuses of a daemon that is on its way out."""

Message = Mapping[str, str]


class Asked(NamedTuple):
    """What was said, after which past, and what the answer was."""

    past: tuple[Message, ...]
    text: str
    answer: Said


class Agent:
    """Tells a fact, and from then on small talk of `past_turns` before each thing it says.

    All that it says follows from its number.
    """

    def __init__(self, number: int, past_turns: int, *, named: bool = True) -> None:
        self.number = number
        self.key, self.value = fact(number)
        self.asked: list[Asked] = []
        self.past_turns = past_turns
        self._headers = {"X-Session-Id": f"agent {number}"} if named else {}
        self._messages: list[Message] = []

    async def say(self, client: anthropic.AsyncAnthropic, text: str) -> Said:
        """Say something after all that was said before; it counts once it is answered."""
        past = [*(self._messages or told(self.key, self.value)), *self._small_talk()]
        talk = ClaudeTalk(client, headers=self._headers)
        talk.recount(past)
        said = await talk.say(text)
        self.asked.append(Asked(tuple(past), text, said))
        answer = {"role": "assistant", "content": said.text}
        self._messages = [*past, {"role": "user", "content": text}, answer]
        return said

    async def talk_on(self, client: anthropic.AsyncAnthropic) -> None:
        """Go on until the daemon is gone."""
        rng = random.Random(f"{self.number} {len(self.asked)}")
        try:
            while True:
                if self.asked and self.asked[-1].answer.prompt > LONGEST:
                    self._messages = []
                await self.say(client, rng.choice((f"What is my {self.key}?", "Hello!")))
        except anthropic.APIConnectionError:
            pass
        except anthropic.APIStatusError as error:
            if error.status_code not in LEAVING:
                raise

    async def check(self, client: anthropic.AsyncAnthropic) -> None:
        """Ask the same of a daemon that nothing has happened to."""
        for past, text, answer in self.asked:
            talk = ClaudeTalk(client)
            talk.recount(past)
            assert (await talk.say(text)).text == answer.text, (self.number, len(past), text)

    def _small_talk(self) -> list[Message]:
        rng = random.Random(f"{self.number} {len(self.asked)}")
        return small_talk(rng, self.past_turns)


async def on_disk(daemon: Daemon, *said: Said) -> None:
    """Wait until all that a daemon has computed is on disk: that of these answers."""

    async def kept() -> bool:
        now = await daemon.counters()
        saved = now["store_saved_tokens_total"] + now["store_skipped_tokens_total"]
        computed = sum(one.prompt + one.completion - 1 - one.cached for one in said)
        return saved >= computed and now["dirty_bytes"] == 0

    await eventually(kept)


def fact(number: int) -> tuple[str, str]:
    """Return a name of something, and a value that no other number of a crowd has."""
    key, _ = RECALL[number % len(RECALL)]
    return key, f"{1_000 + number * 7_919 % 9_000}"


def told(key: str, value: str) -> list[Message]:
    """Tell a fact."""
    return dialogue((f"My {key} is {value}.", "Noted."))


def small_talk(rng: random.Random, turns: int) -> list[Message]:
    """Return so many turns of some 37 tokens, as if they had been said."""
    texts = [" ".join(rng.sample(WORDS, 6)) for _ in range(turns)]
    return dialogue(*((f"Repeat after me: {text}", text) for text in texts))


def dialogue(*turns: tuple[str, str]) -> list[Message]:
    """Return what user and assistant said in turn."""
    roles = ("user", "assistant") * len(turns)
    said = zip(roles, chain.from_iterable(turns), strict=True)
    return [{"role": role, "content": text} for role, text in said]

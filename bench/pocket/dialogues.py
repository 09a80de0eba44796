"""Synthetic dialogues: facts told and asked, filler, repetition, small talk, tool calls."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

import phrases
import tools
import words
from chance import happens, one_of
from tools import Tool

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Turn:
    """One message. `learned` turns are the ones the model is trained to produce."""

    role: Role
    content: str
    call: tuple[str, tools.Arguments] | None = None
    learned: bool = False

    @property
    def body(self) -> str:
        """The text between the role line and the end-of-turn token, as the chat template has it."""
        if self.role == "tool":
            return "Result: " + self.content
        return self.content + (tools.call_text(*self.call) if self.call else "")


def answer(content: str, call: tuple[str, tools.Arguments] | None = None) -> Turn:
    """An assistant turn that the model learns."""
    return Turn("assistant", content, call, learned=True)


@dataclass(frozen=True)
class Mix:
    """What a dialogue is made of: probabilities per turn (questions take the rest) and sizes."""

    fact: float = 0.10
    filler: float = 0.20
    repeat: float = 0.08
    tool: float = 0.22
    talk: float = 0.06
    unknown: float = 0.15  # share of questions about what was never told
    oldest: float = 0.0  # share of questions about the fact unmentioned for longest
    facts: tuple[int, int] = (2, 10)
    filler_words: tuple[int, int] = (2, 50)
    repeat_words: int = 14
    buried: float = 0.15  # share of facts told inside a longer text
    changed: float = 0.04  # share of told facts that replace an older value
    with_tools: float = 0.5
    system_words: int = 60  # longest prose in a system prompt
    far: float = 0.0  # share of sequences laid out as tell, work, ask


@dataclass
class Dialogue:
    """Yields turns one exchange at a time and knows what has been told so far."""

    rng: Random
    mix: Mix
    tools: list[Tool] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    _mentioned: dict[str, int] = field(default_factory=dict)
    _clock: int = 0
    _exchanges: int = 0

    def __post_init__(self) -> None:
        rng = self.rng
        if not self.tools and happens(rng, self.mix.with_tools):
            self.tools = tools.offer(rng, rng.choice((1, 1, 2, 2, 3, 4)))
        self.most_facts = rng.randint(*self.mix.facts)
        self._keys = self._key_family()

    def _key_family(self) -> list[str]:
        """Keys with near misses among them ('harbor code', 'harbor key', 'gate code')."""
        rng = self.rng
        keys = []
        for _ in range(self.most_facts * 2 + 4):
            key = words.fact_key(rng)
            keys.append(key)
            first, _, last = key.rpartition(" ")
            if first and happens(rng, 0.3):
                keys.append(f"{rng.choice(words.ADJECTIVES)} {last}")
            if first and happens(rng, 0.2):
                keys.append(f"{first} {rng.choice(words.NOUNS)}")
        keys = list(dict.fromkeys(keys))
        rng.shuffle(keys)
        return keys

    def system(self) -> str:
        """A system prompt: none, a few sentences, or running prose, sometimes with a fact in it."""
        rng = self.rng
        most_lines = max(2, min(12, self.mix.system_words // 6))
        text = one_of(
            rng,
            (35, lambda: ""),
            (25, lambda: rng.choice(phrases.SYSTEM_LINES)),
            (20, lambda: " ".join(rng.sample(phrases.SYSTEM_LINES, rng.randint(2, most_lines)))),
            (20, lambda: words.prose(rng, rng.randint(3, max(4, self.mix.system_words)))),
        )
        if text and happens(rng, 0.1):
            key = self.fresh_key()
            value = words.hard_value(rng)
            self.remember(key, value)
            text += f" The {key} is {value}."
        return text

    def fresh_key(self) -> str:
        """A key that has not been told yet."""
        for key in self._keys:
            if key not in self.told:
                return key
        return words.fact_key(self.rng)

    def remember(self, key: str, value: str) -> None:
        """Record that the fact stands in the text now; the latest told is last."""
        self.told.pop(key, None)
        self.told[key] = value
        self._mention(key)

    def _mention(self, key: str) -> None:
        self._clock += 1
        self._mentioned[key] = self._clock

    def exchange(self) -> list[Turn]:
        """The next exchange, its kind drawn from the mix."""
        mix, rng = self.mix, self.rng
        self._exchanges += 1
        draw = rng.random()
        if not self.told and happens(rng, 0.7):
            draw *= mix.fact + mix.filler + mix.repeat
        full = len(self.told) >= self.most_facts and not happens(rng, mix.changed)
        for share, make in (
            (mix.fact, self.question if full else self.telling),
            (mix.filler, self.filler),
            (mix.repeat, self.repetition),
            (mix.tool if self.tools else mix.tool * 0.04, self.tool_use),
            (mix.talk, self.small_talk),
        ):
            if draw < share:
                return make()
            draw -= share
        return self.question()

    def telling(self) -> list[Turn]:
        """One or two facts told, perhaps inside a longer text."""
        rng, mix = self.rng, self.mix
        text = self._fact_sentence()
        if happens(rng, 0.25):
            text = self._joined(text, self._fact_sentence())
        if happens(rng, mix.buried):
            before = words.filler(rng, *mix.filler_words) if happens(rng, 0.7) else ""
            before = before.rstrip(" .") + ". " if before else ""
            after = " " + words.filler(rng, *mix.filler_words) if happens(rng, 0.7) else ""
            text = (before + text[0].upper() + text[1:] if before else text) + after
        return [Turn("user", text), answer(phrases.NOTED)]

    def _joined(self, first: str, second: str) -> str:
        """Two facts in one message: "My pin is 77 and my dog is Rex"."""
        if happens(self.rng, 0.5) or not first.startswith(("My", "my", "The", "the")):
            return f"{first} {second}"
        return f"{first.rstrip('.')} and {second[0].lower()}{second[1:]}"

    def _fact_sentence(self) -> str:
        rng = self.rng
        changed = bool(self.told) and happens(rng, self.mix.changed)
        key = rng.choice(list(self.told)) if changed else self.fresh_key()
        value = words.hard_value(rng)
        self.remember(key, value)
        return phrases.tell(rng, key, value, changed=changed and happens(rng, 0.7))

    def filler(self) -> list[Turn]:
        """A statement to nod at; now and then the reply is a given text, read but not learned.

        Sometimes a system message comes first.
        """
        rng = self.rng
        text = words.filler(rng, *self.mix.filler_words)
        if happens(rng, 0.15):
            reply = Turn("assistant", words.filler(rng, *self.mix.filler_words))
            return [Turn("user", text), reply]
        later = self._exchanges > 1  # the first system message would be the conversation's own
        aside = [Turn("system", rng.choice(phrases.SYSTEM_LINES))] * (later and happens(rng, 0.05))
        return [*aside, Turn("user", text), answer(phrases.OKAY)]

    def repetition(self) -> list[Turn]:
        """Words to be copied."""
        rng = self.rng
        count = rng.randint(1, self.mix.repeat_words)
        if happens(rng, 0.2):
            text = words.prose(rng, count)
        else:
            pieces = (
                words.any_word(rng) if happens(rng, 0.9) else words.digits(rng, rng.randint(1, 4))
                for _ in range(count)
            )
            text = " ".join(pieces)
            text = text.capitalize() if happens(rng, 0.2) else text
        return [Turn("user", rng.choice(phrases.REPEATS) + text), answer(text)]

    def tool_use(self) -> list[Turn]:
        """A call that is asked for, its result, and the answer; or a tool that is not there."""
        rng = self.rng
        names = {tool.name for tool in self.tools}
        if not self.tools or happens(rng, 0.03):
            missing = tools.closed_tool(rng) if happens(rng, 0.5) else tools.any_tool(rng)
            if missing.name not in names:
                missing = replace(missing, closed=None)
                wish = tools.request(rng, missing, tools.invent_arguments(rng, missing))
                return [Turn("user", wish), answer(phrases.NO_SUCH_TOOL)]
        if not self.tools:
            return self.question()
        tool = rng.choice(self.tools)
        arguments = tools.invent_arguments(rng, tool)
        found = tools.result(rng)
        return [
            Turn("user", tools.request(rng, tool, arguments)),
            answer("", (tool.name, arguments)),
            Turn("tool", found),
            answer("The tool says: " + found),
        ]

    def small_talk(self) -> list[Turn]:
        """Greetings and the like, and counting."""
        rng = self.rng
        if happens(rng, 0.5):
            last = rng.randint(1, rng.choice((12, 30, 60, 100, 100)))
            wish = rng.choice(phrases.COUNTS).format(n=last)
            return [Turn("user", wish), answer(" ".join(map(str, range(1, last + 1))))]
        said, reply = rng.choice(phrases.SMALL_TALK)
        return [Turn("user", rng.choice(said)), answer(reply)]

    def question(self) -> list[Turn]:
        """A question about a told fact, or about what nobody told."""
        rng, mix = self.rng, self.mix
        if not self.told or happens(rng, mix.unknown):
            return self.unknown_question()
        keys = list(self.told)
        if happens(rng, mix.oldest):
            key = min(keys, key=lambda known: self._mentioned[known])
        else:
            key = rng.choice(keys[:3] if happens(rng, 0.3) else keys)
        self._mention(key)
        asked, start = phrases.ask(rng, key)
        return [Turn("user", asked), answer(f"{start}{self.told[key]}.")]

    def unknown_question(self) -> list[Turn]:
        """A question without an answer in the text: an untold key, or general knowledge."""
        rng = self.rng
        if happens(rng, 0.15) and not any(
            tool.closed and tool.closed.natural for tool in self.tools
        ):
            asked = rng.choice(phrases.OPEN_QUESTIONS).format(
                place=rng.choice(words.CITIES),
                name=rng.choice(words.FIRST_NAMES),
                number=rng.randint(10, 99),
                other=rng.randint(1, 99),
                food=rng.choice(tools.THINGS),
            )
            return [Turn("user", asked), answer(phrases.UNKNOWN)]
        key = rng.choice(self._keys) if happens(rng, 0.7) else words.fact_key(rng)
        while key in self.told:
            key = words.fact_key(rng)
        return [Turn("user", phrases.ask(rng, key)[0]), answer(phrases.UNKNOWN)]

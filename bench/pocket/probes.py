"""Dialogues that end with a question whose exact answer is known: the evaluation's questions."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import phrases
import tools
import words
from chance import happens
from dialogues import Dialogue, Mix, Turn, answer
from rendering import Renderer, system_text

BETWEEN = Mix(
    fact=0.0,
    filler=0.55,
    repeat=0.1,
    tool=0.12,
    talk=0.1,
    filler_words=(5, 60),
    with_tools=0.3,
    system_words=60,
)
Value = Callable[[Random], str]


@dataclass(frozen=True)
class Probe:
    """A conversation up to the user's (or tool's) last turn, and the turn that must follow."""

    system: str
    tools: list[tools.Tool]
    turns: list[Turn]
    expected: Turn

    def context(self) -> list[Turn]:
        """All turns before the answer, the system message included."""
        text = system_text(self.system, self.tools)
        return ([Turn("system", text)] if text else []) + self.turns


def _length(renderer: Renderer, turns: list[Turn]) -> int:
    return sum(len(renderer.encode(turn.body)) + 5 for turn in turns)


def recall(
    rng: Random, renderer: Renderer, distance: int, value: Value, *, known: bool = True
) -> Probe:
    """3-8 facts, each told once; the question is about the one told `distance` tokens ago.

    With `known` false it is about a key that was never told.
    """
    dialogue = Dialogue(rng, BETWEEN)
    system = dialogue.system()
    keys: list[str] = []
    while len(keys) < rng.randint(4, 9):
        key = words.fact_key(rng)
        if key not in keys and key not in dialogue.told:
            keys.append(key)
    target, missing, *others = keys
    asked_about = re.compile(rf"\b({re.escape(target)}|{re.escape(missing)})\b")

    def told(key: str) -> list[Turn]:
        dialogue.remember(key, value(rng))
        return [Turn("user", phrases.tell(rng, key, dialogue.told[key])), answer(phrases.NOTED)]

    turns = dialogue.exchange() if dialogue.told and happens(rng, 0.5) else []
    turns = turns + told(target)
    passed = 0
    places = sorted((rng.random() for _ in others), reverse=True)
    while passed < distance - 12:
        if others and passed >= places[-1] * distance:
            places.pop()
            new = told(others.pop())
        else:
            new = dialogue.exchange()
        if any(asked_about.search(turn.content) for turn in new):
            continue
        turns += new
        passed += _length(renderer, new)
    asked, start = phrases.ask(rng, target if known else missing)
    expected = f"{start}{dialogue.told[target]}." if known else phrases.UNKNOWN
    return Probe(system, dialogue.tools, [*turns, Turn("user", asked)], answer(expected))


def _warm(rng: Random, offered: list[tools.Tool] | None = None) -> tuple[Dialogue, str, list[Turn]]:
    """A dialogue some exchanges old."""
    mix = Mix(
        fact=0.4, filler=0.4, repeat=0.0, tool=0.1, talk=0.1, filler_words=(4, 30), with_tools=0.3
    )
    dialogue = Dialogue(rng, mix, tools=offered or [])
    system = dialogue.system()
    turns: list[Turn] = []
    for _ in range(rng.randint(0, 6)):
        turns += dialogue.exchange()
    return dialogue, system, turns


def tool(rng: Random, stage: str, *, closed: bool) -> Probe:
    """A tool conversation cut before the call, before its answer, or before a later recall.

    The stage "question" is the call too, but asked for by a question that does not name the tool.
    """
    if natural := stage == "question":
        offered = [tools.closed_tool(rng, rng.choice([t for t in tools.CLOSED if t.natural]))]
    else:
        offered = tools.offer(rng, rng.randint(1, 3), closed_share=1.0 if closed else 0.0)
    dialogue, system, turns = _warm(rng, offered)
    key, value = dialogue.fresh_key(), words.plain_value(rng)
    dialogue.remember(key, value)
    turns += [Turn("user", phrases.tell(rng, key, value)), answer(phrases.NOTED)]
    chosen = rng.choice(offered)
    arguments = tools.invent_arguments(rng, chosen)
    wish = Turn("user", tools.request(rng, chosen, arguments, natural=float(natural)))
    found = tools.result(rng)
    steps = [
        wish,
        answer("", (chosen.name, arguments)),
        Turn("tool", found),
        answer("The tool says: " + found),
    ]
    if stage == "recall":
        asked, start = phrases.ask(rng, key)
        return Probe(
            system, offered, [*turns, *steps, Turn("user", asked)], answer(f"{start}{value}.")
        )
    cut = 3 if stage == "answer" else 1
    return Probe(system, offered, turns + steps[:cut], steps[cut])


def small(rng: Random, kind: str) -> Probe:
    """Repetition, counting or small talk inside a warm dialogue."""
    dialogue, system, turns = _warm(rng)
    if kind == "repeat":
        asked, expected = dialogue.repetition()
    elif kind == "count":
        last = rng.randint(5, 60)
        asked = Turn("user", f"Count to {last}.")
        expected = answer(" ".join(map(str, range(1, last + 1))))
    else:
        said, reply = rng.choice(phrases.SMALL_TALK)
        asked, expected = Turn("user", rng.choice(said)), answer(reply)
    return Probe(system, dialogue.tools, [*turns, asked], expected)


def build(kind: str, rng: Random, renderer: Renderer) -> Probe:
    """A probe by its name, e.g. 'recall 1024', 'hard 512', 'unknown 256', 'tool call', 'count'."""
    family, _, detail = kind.partition(" ")
    if family in ("recall", "hard"):
        value = words.plain_value if family == "recall" else words.hard_value
        return recall(rng, renderer, int(detail), value)
    if family == "unknown":
        return recall(rng, renderer, int(detail), words.hard_value, known=False)
    if family in ("tool", "opentool"):
        return tool(rng, detail, closed=family == "tool")
    return small(rng, family)

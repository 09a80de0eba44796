"""From turns to token ids, exactly as the chat template renders them, and training sequences."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

from chance import happens
from dialogues import Dialogue, Mix, Turn
from tokenizers import Tokenizer
from tools import Tool

START, END = "<|im_start|>", "<|im_end|>"
REMEMBERED_LENGTH, REMEMBERED_TEXTS = 60, 100_000
FEW_FACTS, HALF = 5, 0.5


def system_text(prompt: str, tools: Iterable[Tool]) -> str:
    """The system message: the prompt and one line of JSON per tool."""
    lines = [json.dumps(tool.definition, ensure_ascii=False) for tool in tools]
    parts = ([prompt] if prompt else []) + (["\n".join(["Tools:", *lines])] if lines else [])
    return "\n\n".join(parts)


class Renderer:
    """Encodes turns; short bodies are remembered, since dialogues repeat them."""

    def __init__(self, tokenizer_file: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._known: dict[str, list[int]] = {}
        self.end = self.encode(END)[0]
        self._newline = self.encode("\n")
        self._heads = {
            role: self.encode(f"{START}{role}\n")
            for role in ("system", "user", "assistant", "tool")
        }

    def encode(self, text: str) -> list[int]:
        """Token ids of the text."""
        if len(text) > REMEMBERED_LENGTH:
            return self.tokenizer.encode(text, add_special_tokens=False).ids
        found = self._known.get(text)
        if found is None:
            found = self.tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._known) < REMEMBERED_TEXTS:
                self._known[text] = found
        return found

    def add(self, ids: list[int], mask: list[bool], turn: Turn) -> None:
        """Append a turn; the mask marks the tokens that the model is trained to produce."""
        head, body = self._heads[turn.role], self.encode(turn.body)
        ids += [*head, *body, self.end, *self._newline]
        mask += (
            [False] * len(head) + [turn.learned] * (len(body) + 1) + [False] * len(self._newline)
        )

    def opening(self, dialogue: Dialogue) -> tuple[list[int], list[bool]]:
        """Ids and mask of the system message, empty if there is none."""
        ids: list[int] = []
        mask: list[bool] = []
        text = system_text(dialogue.system(), dialogue.tools)
        if text:
            self.add(ids, mask, Turn("system", text))
        return ids, mask

    def prompt(self, turns: Iterable[Turn]) -> list[int]:
        """Ids of a conversation that the assistant has to go on with."""
        ids: list[int] = []
        for turn in turns:
            self.add(ids, [], turn)
        return ids + self._heads["assistant"]


def _phase(mix: Mix, done: float, tell_until: float, ask_from: float, told: int) -> Mix:
    """The far layout: tell facts first, then do other work, then ask for what is long past."""
    if done < tell_until or (told < FEW_FACTS and done < HALF):
        return replace(mix, fact=0.7, filler=0.18, repeat=0.04, tool=0.03, talk=0.02, buried=0.1)
    if done < ask_from:
        return replace(mix, fact=0.0, filler=0.3, repeat=0.2, tool=0.26, talk=0.12, unknown=1.0)
    return replace(
        mix, fact=0.0, filler=0.1, repeat=0.03, tool=0.06, talk=0.04, oldest=0.85, unknown=0.2
    )


def sequence(
    renderer: Renderer, rng: Random, length: int, mix: Mix
) -> tuple[list[int], list[bool]]:
    """Ids and mask of one training sequence, `length` + 1 tokens: one dialogue, cut at the end."""
    dialogue = Dialogue(rng, mix)
    ids, mask = renderer.opening(dialogue)
    far = happens(rng, mix.far)
    tell_until, ask_from = rng.uniform(0.12, 0.3), rng.uniform(0.55, 0.8)
    if far:
        dialogue.most_facts = rng.randint(6, 16)
    while len(ids) <= length:
        if far:
            dialogue.mix = _phase(mix, len(ids) / length, tell_until, ask_from, len(dialogue.told))
        for turn in dialogue.exchange():
            renderer.add(ids, mask, turn)
    return ids[: length + 1], mask[: length + 1]

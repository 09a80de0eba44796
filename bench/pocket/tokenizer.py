"""Trains the byte-level BPE tokenizer on the same synthetic text that the model reads."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import tools
import words
from dialogues import Dialogue, Mix
from rendering import system_text
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ADDED = ["<tool_call>", "</tool_call>"]
# Words take one leading space, digits go in pairs, punctuation (quotes too) never joins a word:
# a quoted word has the same tokens in the user's wish and in the JSON of the call.
PIECES = r"'(?:s|t|re|ve|m|ll|d)\b| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]|\s+(?!\S)|\s+"


def both_spellings() -> list[str]:
    """Words that must be one token each, with and without a leading space."""
    return sorted(
        {*tools.closed_words(), *words.NAMES, *words.NATO, *words.NUMBER_WORDS, *words.PLAIN_VALUES}
    )


def _corpus(rng: Random) -> Iterator[str]:
    doubled = both_spellings()
    for _ in range(1500):
        yield from doubled
        yield "".join(f" {word}" for word in doubled)
    keys = words.ADJECTIVES + words.NOUNS + words.SINGLE_KEYS
    for _ in range(100):
        yield "".join(f" {word}" for word in keys)
    pairs = [f"{number:02d}" for number in range(100)]
    for _ in range(200):
        yield from pairs
        yield "".join(f" {pair}" for pair in pairs)
        yield " 0 1 2 3 4 5 6 7 8 9"
    yield from ["system", "user", "assistant", "tool"] * 500
    for _ in range(3000):
        dialogue = Dialogue(rng, Mix(fact=0.25, filler=0.2, filler_words=(4, 40)))
        yield system_text(dialogue.system(), dialogue.tools)
        for _ in range(12):
            yield from (turn.body for turn in dialogue.exchange())


def train(size: int, seed: int, path: Path) -> Tokenizer:
    """Train, check and save; returns the tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    bytes_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(ADDED),
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(Random(seed)), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in ADDED])
    _check(tokenizer, size)
    tokenizer.save(str(path))
    return tokenizer


def _check(tokenizer: Tokenizer, size: int) -> None:
    if tokenizer.get_vocab_size() != size:
        reason = f"vocabulary has {tokenizer.get_vocab_size()} tokens, not {size}"
        raise ValueError(reason)
    split = [
        spelling
        for word in both_spellings()
        for spelling in (word, f" {word}")
        if len(tokenizer.encode(spelling).ids) != 1
    ]
    if split:
        reason = f"not single tokens: {split}"
        raise ValueError(reason)
    for text in (
        "héllo ✓\n\n x",
        'My "access" key is 4821.',
        tools.call_text("get_weather", {"city": "Paris"}),
    ):
        if tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) != text:
            reason = f"does not round-trip: {text!r}"
            raise ValueError(reason)

"""Codecs of the zoo's families, loaded once, and the public view of transformers on them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from mlx_lm import tokenizer_utils
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Tokenizer

from semantic_actors.engine import pocket_path
from semantic_actors.text import Codec
from tests.text import zoo


@pytest.fixture(scope="session")
def byte_level() -> Tokenizer:
    """Return a byte-level BPE tokenizer."""
    return zoo.byte_level()


@pytest.fixture(scope="session")
def sentencepiece() -> Tokenizer:
    """Return a tokenizer with byte fallback and SentencePiece's spaces."""
    return zoo.sentencepiece()


@pytest.fixture(scope="session")
def speak(
    tmp_path_factory: pytest.TempPathFactory, byte_level: Tokenizer, sentencepiece: Tokenizer
) -> Callable[..., Path]:
    """Return a function that writes the folder of a model that has this template."""

    def write(template: str | None, eos: str = "<|im_end|>", *, spm: bool = False) -> Path:
        place = tmp_path_factory.mktemp("zoo") / "model"
        return zoo.folder(place, sentencepiece if spm else byte_level, template, eos)

    return write


@pytest.fixture(scope="session")
def folder(speak: Callable[..., Path]) -> Callable[[str], Path]:
    """Return a function that gives the folder of a family; `spm-` asks for SentencePiece."""

    @cache
    def find(name: str) -> Path:
        template, eos = zoo.TEMPLATES[name.removeprefix("spm-")]
        return speak(template, eos, spm=name.startswith("spm-"))

    return find


@pytest.fixture(scope="session")
def codec(folder: Callable[[str], Path]) -> Callable[[str], Codec]:
    """Return a function that gives the codec of a family."""
    return cache(lambda name: Codec.load(folder(name)))


@pytest.fixture(scope="session")
def hf(folder: Callable[[str], Path]) -> Callable[[str], TokenizerWrapper]:
    """Return a function that gives the tokenizer of a family as mlx-lm and transformers have it."""
    return cache(lambda name: tokenizer_utils.load(folder(name)))


@pytest.fixture(scope="session")
def pocket() -> Codec:
    """Return the codec of the bundled model."""
    return Codec.load(pocket_path())

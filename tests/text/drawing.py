"""A model with no opinion: it draws any token that a grammar allows, all alike."""

import random
from collections.abc import Sequence
from itertools import cycle

from semantic_actors.domain.grammar import Grammar, Guide
from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    JsonOutput,
    ToolChoice,
    ToolSpec,
)
from semantic_actors.text import Codec
from semantic_actors.text.grammar_guide import PhasedGrammar

FIELD = "output_config.format.schema"
LIMIT = 4_000
"""Tokens after which an answer of the schemas in these tests should have ended long ago."""


def generation(
    schema: str | None = None,
    tools: tuple[ToolSpec, ...] = (),
    choice: ToolChoice = ToolChoice(),  # noqa: B008 (it is immutable)
    *,
    thinking: bool | None = None,
) -> Generation:
    """Ask for an answer."""
    return Generation(
        ChatPrompt((ChatMessage("user", "hi"),), tools, thinking=thinking),
        tool_choice=choice,
        output=None if schema is None else JsonOutput(schema, FIELD),
    )


def grammar(codec: Codec, asked: Generation, *, thinking: bool = False) -> PhasedGrammar | None:
    """Compile, and wait for it."""
    place = codec.grammar(asked)
    if place is None:
        return None
    return place.taken(place.coming.result(10), thinking=thinking)


def allowed(mask: bytes) -> list[int]:
    """Return the tokens of a mask."""
    bits = int.from_bytes(mask, "little")
    return [token for token in range(bits.bit_length()) if bits >> token & 1]


def pick(mask: bytes, chance: random.Random) -> int:
    """Return one of the tokens of a mask."""
    bits = int.from_bytes(mask, "little")
    for _ in range(chance.randrange(bits.bit_count())):
        bits &= bits - 1
    return (bits & -bits).bit_length() - 1


def drawn(
    way: Grammar,
    seed: int,
    ends: frozenset[int],
    *,
    free: Sequence[int] = (),
    begun: TokenIds = (),
    limit: int = LIMIT,
) -> list[int]:
    """Go on with an answer up to its end, if that comes; where all is allowed, repeat `free`."""
    chance, saying = random.Random(seed), cycle(free)
    guide: Guide = way.begin(begun)
    answer: list[int] = []
    while len(answer) < limit:
        mask = guide.mask()
        token = next(saying) if mask is None else pick(mask, chance)
        guide.push(token)
        answer.append(token)
        if token in ends:
            break
    return answer

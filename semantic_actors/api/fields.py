"""The parts of a request that both APIs share: bounded fields, and content in canonical form.

Canonical form: a string and a list with one text block of that string are the same text. Blocks
that a client wrote apart (system, user, tool results) are joined by a line end. The blocks of an
assistant's message are joined by nothing: we cut them ourselves, where a tool call stood in one
text, and joined like this the text that comes back is the text that was generated.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from semantic_actors.api.decode import built, check_depth, check_values
from semantic_actors.api.refusals import FieldRefused
from semantic_actors.domain import limits
from semantic_actors.domain.request import Sampling

JsonObject = dict[str, Any]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
TopP = Annotated[float, Meta(gt=0, le=1)]
TopK = Annotated[int, Meta(ge=0, le=limits.MAX_TOP_K)]
MaxTokens = Annotated[int, Meta(ge=1, le=limits.MAX_TOKENS_BOUND)]
Seed = Annotated[int, Meta(ge=-limits.MAX_SEED, le=limits.MAX_SEED)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepetitionPenalty = Annotated[
    float, Meta(ge=limits.MIN_REPETITION_PENALTY, le=limits.MAX_REPETITION_PENALTY)
]
TokenBias = Annotated[float, Meta(ge=-limits.MAX_LOGIT_BIAS, le=limits.MAX_LOGIT_BIAS)]
LogitBias = Annotated[
    dict[Annotated[int, Meta(ge=0)], TokenBias], Meta(max_length=limits.MAX_LOGIT_BIASES)
]
NonEmpty = Annotated[str, Meta(min_length=1)]
StopSequence = Annotated[str, Meta(min_length=1, max_length=limits.MAX_STOP_SEQUENCE_CHARS)]
StopSequences = Annotated[list[StopSequence], Meta(max_length=limits.MAX_STOP_SEQUENCES)]


class TextBlock(msgspec.Struct, tag_field="type", tag="text"):
    """A piece of text; `cache_control` and citations are dropped by not being named here."""

    text: str


Attachments = Literal["refuse", "placeholder"]
"""What becomes of images and documents, which a model of text cannot read."""


def attachment(kind: str, field: str, policy: Attachments) -> TextBlock:
    """Say in the conversation that an attachment of some `kind` stood here, or refuse it."""
    if policy == "refuse":
        raise FieldRefused(field, "text, which is all that the model reads", kind)
    return TextBlock(f"[{kind} omitted: the model reads text only]")


def joined(content: str | Iterable[Any] | None, separator: str = "\n") -> str:
    """Return content in canonical form; blocks that are not text do not count."""
    match content:
        case None:
            return ""
        case str():
            return content
        case _:
            return separator.join(block.text for block in content if isinstance(block, TextBlock))


def sampling(
    temperature: float | None,
    top_p: float | None,
    top_k: int | None = None,
    min_p: float | None = None,
    seed: int | None = None,
) -> Sampling:
    """Fill in the defaults; without a seed the answer is drawn from an unpredictable one."""
    return Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=top_k or 0,
        min_p=min_p or 0.0,
        seed=secrets.randbelow(limits.MAX_SEED + 1) if seed is None else seed,
    )


def page_limit(query: Mapping[str, str], default: int, most: int) -> int:
    """Return the `limit` of a query, as many as are to be listed. Raises `FieldRefused`."""
    given = query.get("limit", str(default))
    plain = given.isascii() and given.isdigit() and len(given) <= len(str(most))
    if not plain or not 1 <= int(given) <= most:
        field = "limit"
        raise FieldRefused(field, f"an integer >= 1 and <= {most}", repr(given))
    return int(given)


def check_object(text: str, field: str) -> None:
    """Refuse `text` unless it is the JSON of an object, and not a bottomless one."""
    content = text.encode(errors="replace")
    check_values(content, field)
    try:
        value = built(content, JsonObject)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FieldRefused(field, "the JSON text of an object", text) from error
    check_depth(value, field)

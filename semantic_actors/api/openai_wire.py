"""What OpenAI's chat and text requests have in common, and what of it we can honour.

A parameter that would change the answer and that we do not have is refused by name, unless it asks
for nothing. The rest of what we do not know is ignored.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from semantic_actors.api import fields
from semantic_actors.api.refusals import Unsupported, as_json
from semantic_actors.domain import limits
from semantic_actors.domain.request import Generation, JsonOutput, Prompt, Sampling, ToolChoice

ChoiceCount = Annotated[int, Meta(ge=1, le=limits.MAX_CHOICES)]
Logprobs = Annotated[int, Meta(ge=0, le=limits.MAX_LOGPROBS)]

_SEED_STRIDE: Final = 0x9E3779B97F4A7C15
"""Between the seeds of two choices, far apart: from the one that is given follow the others."""


class StreamOptions(msgspec.Struct):
    """What a stream holds besides the answer."""

    include_usage: bool | None = None


class Continuation(msgspec.Struct, kw_only=True):
    """How to go on from a prompt."""

    model: fields.NonEmpty
    max_tokens: fields.MaxTokens | None = None
    temperature: fields.Temperature | None = None
    top_p: fields.TopP | None = None
    top_k: fields.TopK | None = None
    min_p: fields.Probability | None = None
    seed: fields.Seed | None = None
    stop: fields.StopSequence | fields.StopSequences | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    prompt_cache_key: str | None = None
    n: ChoiceCount | None = None
    presence_penalty: fields.Penalty | None = None
    frequency_penalty: fields.Penalty | None = None
    repetition_penalty: fields.RepetitionPenalty | None = None
    logit_bias: fields.LogitBias | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def refuse_unsupported(body: Continuation, neutral: Mapping[str, Any]) -> None:
    """Raise `Unsupported` for the first field that is neither null nor its `neutral` value."""
    for field, nothing in neutral.items():
        value = getattr(body, field)
        if value is not None and value != nothing:
            raise Unsupported(field, as_json(value), None if nothing is None else as_json(nothing))


def generations(
    body: Continuation,
    prompt: Prompt,
    *,
    max_tokens: int | None,
    logprobs: int | None,
    tool_choice: ToolChoice = ToolChoice(),  # noqa: B008 - it never changes
    output: JsonOutput | None = None,
) -> tuple[Generation, ...]:
    """Translate a request for answers to one prompt: they differ by nothing but their seeds."""
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    first = Generation(
        prompt=prompt,
        sampling=_sampling(body, logprobs),
        max_tokens=max_tokens,
        stop=tuple(stop),
        tool_choice=tool_choice,
        output=output,
    )
    return (first, *(_another(first, choice) for choice in range(1, body.n or 1)))


def _another(first: Generation, choice: int) -> Generation:
    seed = (first.sampling.seed + choice * _SEED_STRIDE) & limits.MAX_SEED
    sampling = msgspec.structs.replace(first.sampling, seed=seed)
    return msgspec.structs.replace(first, sampling=sampling)


def _sampling(body: Continuation, logprobs: int | None) -> Sampling:
    return msgspec.structs.replace(
        fields.sampling(body.temperature, body.top_p, body.top_k, body.min_p, body.seed),
        repetition_penalty=body.repetition_penalty or 1.0,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=tuple(sorted((body.logit_bias or {}).items())),
        logprobs=logprobs,
    )

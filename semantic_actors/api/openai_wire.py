"""What OpenAI's chat and text requests have in common, and what of it we can honour.

A parameter that would change the answer and that we do not have is refused by name, unless it asks
for nothing. The rest of what we do not know is ignored.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from semantic_actors.api import fields
from semantic_actors.api.refusals import Unsupported
from semantic_actors.domain import limits
from semantic_actors.domain.request import Generation, Prompt, Sampling

Count = Annotated[int, Meta(ge=0, le=limits.MAX_TOKENS_BOUND)]

_NEUTRAL: Final[Mapping[str, Any]] = {
    "n": 1,
    "best_of": 1,
    "echo": False,
    "suffix": "",
    "logprobs": False,
    "top_logprobs": 0,
    "functions": [],
}
"""The value of each parameter without support that changes nothing; null is another."""


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
    n: Count | None = None
    presence_penalty: fields.Penalty | None = None
    frequency_penalty: fields.Penalty | None = None
    repetition_penalty: fields.RepetitionPenalty | None = None
    logit_bias: fields.LogitBias | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def refuse_unsupported(body: Continuation) -> None:
    """Raise `Unsupported` for the first parameter that asks for what we do not have."""
    for field in body.__struct_fields__:
        value = getattr(body, field)
        if field in _NEUTRAL and value is not None and value != _NEUTRAL[field]:
            raise Unsupported(field, _as_json(value), _as_json(_NEUTRAL[field]))


def generation(body: Continuation, prompt: Prompt, max_tokens: int | None) -> Generation:
    """Translate a request for an answer."""
    refuse_unsupported(body)
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    return Generation(
        prompt=prompt,
        sampling=_sampling(body),
        max_tokens=max_tokens,
        stop=tuple(stop),
    )


def _sampling(body: Continuation) -> Sampling:
    return msgspec.structs.replace(
        fields.sampling(body.temperature, body.top_p, body.top_k, body.min_p, body.seed),
        repetition_penalty=body.repetition_penalty or 1.0,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=tuple(sorted((body.logit_bias or {}).items())),
    )


def _as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

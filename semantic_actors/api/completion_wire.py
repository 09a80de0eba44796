"""The requests of OpenAI's text completion API, and what they mean: one text, continued."""

from typing import Annotated, Final

from msgspec import Meta

from semantic_actors.api import openai_wire
from semantic_actors.api.fields import NonEmpty
from semantic_actors.api.openai_wire import Continuation, Count
from semantic_actors.domain.request import Generation, TextPrompt

_DEFAULT_MAX_TOKENS: Final = 16
"""What this API means by no `max_tokens`."""


class CompletionRequest(Continuation, kw_only=True):
    """The body of `/v1/completions`; a list of prompts may hold one."""

    prompt: NonEmpty | Annotated[list[NonEmpty], Meta(min_length=1, max_length=1)]
    best_of: Count | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: Count | None = None


def generation(body: CompletionRequest) -> Generation:
    """Translate a request for an answer."""
    text = body.prompt if isinstance(body.prompt, str) else body.prompt[0]
    return openai_wire.generation(body, TextPrompt(text), body.max_tokens or _DEFAULT_MAX_TOKENS)

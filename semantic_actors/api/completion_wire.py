"""The requests of OpenAI's text completion API, and what they mean: texts, continued.

A prompt is a text, or the token ids of one; there may be several. Each has `n` answers of its own.
"""

from typing import Annotated, Final, cast

from msgspec import Meta

from semantic_actors.api import openai_wire
from semantic_actors.api.fields import NonEmpty
from semantic_actors.api.openai_wire import ChoiceCount, Continuation, Logprobs, refuse_unsupported
from semantic_actors.api.refusals import FieldRefused, as_json
from semantic_actors.domain import limits
from semantic_actors.domain.request import Generation, TextPrompt, TokenPrompt

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenList = Annotated[list[TokenId], Meta(min_length=1, max_length=limits.MAX_PROMPT_TOKENS)]
Prompts = Annotated[
    list[NonEmpty | TokenId | TokenList], Meta(min_length=1, max_length=limits.MAX_PROMPT_TOKENS)
]

_DEFAULT_MAX_TOKENS: Final = 16
"""What this API means by no `max_tokens`."""


class CompletionRequest(Continuation, kw_only=True):
    """The body of `/v1/completions`."""

    prompt: NonEmpty | Prompts
    best_of: ChoiceCount | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: Logprobs | None = None


def prompts(body: CompletionRequest) -> tuple[TextPrompt | TokenPrompt, ...]:
    """Read the prompts: one or several texts or lists of token ids, not some of each."""
    field, n = "prompt", body.n or 1
    if isinstance(body.prompt, str):
        return (TextPrompt(body.prompt),)
    kinds = {*map(type, body.prompt)}
    if kinds == {int}:
        return (TokenPrompt(tuple(cast("list[int]", body.prompt))),)
    if len(kinds) > 1:
        expected = "only strings, only token ids or only arrays of token ids"
        raise FieldRefused(field, expected, as_json(body.prompt))
    most = limits.MAX_CHOICES // n
    if len(body.prompt) > most:
        expected = f"at most {most} prompts with n {n}, for {limits.MAX_CHOICES} answers"
        raise FieldRefused(field, expected, as_json(body.prompt))
    return tuple(map(_prompt, cast("list[str | list[int]]", body.prompt)))


def echoes(body: CompletionRequest) -> tuple[str, ...]:
    """Return what the answers to each prompt begin with; nothing if they do not."""
    if not body.echo:
        return ()
    return tuple(prompt.text for prompt in prompts(body) if isinstance(prompt, TextPrompt))


def generations(body: CompletionRequest) -> tuple[Generation, ...]:
    """Translate a request for answers, prompt by prompt."""
    asked = prompts(body)
    refuse_unsupported(body, {"suffix": "", "best_of": body.n or 1})
    if body.echo:
        _check_echo(body, asked[0])
    return tuple(
        generation
        for prompt in asked
        for generation in openai_wire.generations(
            body,
            prompt,
            max_tokens=body.max_tokens or _DEFAULT_MAX_TOKENS,
            logprobs=body.logprobs,
        )
    )


def _check_echo(body: CompletionRequest, prompt: TextPrompt | TokenPrompt) -> None:
    echo, logprobs = "echo", "logprobs"
    if isinstance(prompt, TokenPrompt):
        raise FieldRefused(echo, "false or null where a prompt is given in token ids", "true")
    if body.logprobs is not None:
        raise FieldRefused(logprobs, "null beside echo: a prompt has none", str(body.logprobs))


def _prompt(given: str | list[int]) -> TextPrompt | TokenPrompt:
    return TextPrompt(given) if isinstance(given, str) else TokenPrompt(tuple(given))

"""A generation request, free of any wire format.

Both HTTP dialects are translated into these types before anything else sees them, so that the
same conversation is the same prompt whichever client sent it. Content is plain text: the canonical
form of a string and of a list of text blocks is the same string.
"""

from typing import Any, Literal

import msgspec

from semantic_actors.domain.ids import TokenIds

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(msgspec.Struct, frozen=True):
    """A call the model made. `arguments` is the JSON text of an object."""

    id: str
    name: str
    arguments: str


class ChatMessage(msgspec.Struct, frozen=True):
    """One message in canonical form; `tool_call_id` is set on role `tool` only.

    `reasoning` is what the assistant thought before `content`. It is no part of what makes two
    messages the same: clients drop it, or send it back.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str = ""


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool the client offers; `parameters` is its JSON schema, key order as sent."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] = {}


class ChatPrompt(msgspec.Struct, frozen=True):
    """A conversation to be rendered with the model's chat template.

    `thinking` says whether the model is to think before it answers, where its template knows how
    to tell it; None leaves that to the template.

    `tools` are listed at its beginning; those in `shown` stand in the text of some message, and
    can be called all the same.
    """

    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    thinking: bool | None = None
    shown: tuple[ToolSpec, ...] = ()

    @property
    def callable(self) -> tuple[ToolSpec, ...]:
        """All tools that may be called."""
        return (*self.tools, *self.shown)


class TextPrompt(msgspec.Struct, frozen=True):
    """Text to be continued as it stands, without a template."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True):
    """Token ids to be continued as they stand: the client has done the tokenizer's work."""

    tokens: TokenIds


Prompt = ChatPrompt | TextPrompt | TokenPrompt


class Sampling(msgspec.Struct, frozen=True):
    """How a token is drawn from the logits. `temperature` 0 is greedy; `top_k` 0 is off.

    Applied in this order: `logit_bias`, added to the tokens it names, sorted by id;
    `repetition_penalty`, which divides the positive and multiplies the negative logits of what is
    in the prompt or the answer; `presence_penalty`, off what is in the answer, and
    `frequency_penalty`, off for each time it is; `top_p`, `min_p`, `top_k`; `temperature`.

    `logprobs` None asks for no log-probabilities, a number for the drawn token's and for those of
    so many of the likeliest. They are the model's own: none of the above has been applied.

    The draw at position `p` depends on `seed` and `p` alone, so an answer that is resumed after a
    restart goes on as it would have.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None

    @property
    def penalised(self) -> bool:
        """Whether a draw depends on the tokens before it, and not on their logits alone."""
        return (
            self.repetition_penalty != 1.0
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
        )


GREEDY = Sampling(temperature=0.0)


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether tools may be called: `required` is at least one call, of tool `name` if given.

    The tools stay in the prompt whatever is chosen: a prefix is worth more than their absence.
    Without `parallel` there is at most one call.
    """

    mode: Literal["auto", "required", "none"] = "auto"
    name: str | None = None
    parallel: bool = True


class JsonOutput(msgspec.Struct, frozen=True):
    """The answer is one JSON value that `schema`, the text of a JSON schema, accepts.

    `field` is where the request had the schema: what cannot be served is refused under that name.
    """

    schema: str
    field: str


class Generation(msgspec.Struct, frozen=True):
    """Everything a session needs to produce one answer.

    `max_tokens` None means: as many as the context leaves. A larger value than the context leaves
    is clamped, never refused.
    """

    prompt: Prompt
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    output: JsonOutput | None = None

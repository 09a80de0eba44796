"""The requests of Anthropic's Messages API, and what they mean.

What a client sends along for other servers (betas, metadata, context management, cache control,
effort, the display of thinking) is ignored by not being named, in every version of the API.

Thinking is what the API says it is: `adaptive` and `enabled` turn it on, `disabled` and
`between_tools` off, and without a word the model does what it does by itself. A budget of tokens
for it is not kept: `max_tokens` bounds both.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from semantic_actors.api import fields
from semantic_actors.api.anthropic_blocks import Message, Tool
from semantic_actors.api.anthropic_content import Reader, system
from semantic_actors.api.anthropic_tools import Toolbox, ToolChoice, as_json
from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import Attachments, JsonObject, NonEmpty, TextBlock
from semantic_actors.api.refusals import ThreadUnsupported
from semantic_actors.domain import limits, request
from semantic_actors.domain.request import ChatPrompt, Generation, JsonOutput


class Thinking(msgspec.Struct):
    """Whether the model is to think."""

    type: Literal["adaptive", "enabled", "disabled", "between_tools"]

    @property
    def wanted(self) -> bool:
        """Whether it is."""
        return self.type in {"adaptive", "enabled"}


class OutputFormat(msgspec.Struct):
    """The form of the answer."""

    type: Literal["json_schema"]
    schema: JsonObject


class OutputConfig(msgspec.Struct):
    """How the answer is to be."""

    format: OutputFormat | None = None


class Metadata(msgspec.Struct):
    """Who the client's user is; Claude Code hides its session id in it."""

    user_id: str | None = None


_NEW_THREAD: Final = {"type": "create"}
"""Asks to keep a conversation that is whole: only who goes on from a thread sends less than all."""


class CountTokensRequest(msgspec.Struct, kw_only=True):
    """A conversation: the body of `/v1/messages/count_tokens`."""

    model: NonEmpty
    messages: Annotated[list[Message], Meta(min_length=1, max_length=limits.MAX_MESSAGES)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[Tool], Meta(max_length=limits.MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    thread: Any = None


class MessagesRequest(CountTokensRequest, kw_only=True):
    """A conversation and how to go on: the body of `/v1/messages`.

    `output_format` is what `output_config.format` was called before.
    """

    max_tokens: fields.MaxTokens
    temperature: fields.Temperature | None = None
    top_p: fields.TopP | None = None
    top_k: fields.TopK | None = None
    stop_sequences: fields.StopSequences | None = None
    stream: bool | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    metadata: Metadata | None = None


def chat_prompt(body: CountTokensRequest, attachments: Attachments) -> ChatPrompt:
    """Translate a conversation."""
    prompt, _ = _conversation(body, attachments)
    return prompt


def generation(body: MessagesRequest, attachments: Attachments) -> Generation:
    """Translate a request for an answer."""
    prompt, choice = _conversation(body, attachments)
    return Generation(
        prompt=prompt,
        sampling=fields.sampling(body.temperature, body.top_p, body.top_k),
        max_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences or ()),
        tool_choice=choice,
        output=_output(body),
    )


def _conversation(
    body: CountTokensRequest, attachments: Attachments
) -> tuple[ChatPrompt, request.ToolChoice]:
    """Translate a conversation and what is to be called in it: a choice depends on both."""
    if body.thread not in (None, _NEW_THREAD):
        raise ThreadUnsupported
    toolbox = Toolbox(body.tools or [], body.messages)
    reader = Reader(toolbox, attachments)
    messages = (*system(body.system), *reader.read(body.messages))
    prompt = ChatPrompt(
        messages,
        tools=toolbox.listed,
        shown=tuple(toolbox.shown.values()),
        thinking=None if body.thinking is None else body.thinking.wanted,
    )
    return prompt, toolbox.choice(body.tool_choice)


def _output(body: MessagesRequest) -> JsonOutput | None:
    form, field = body.output_format, "output_format.schema"
    if body.output_config is not None and body.output_config.format is not None:
        form, field = body.output_config.format, "output_config.format.schema"
    if form is None:
        return None
    check_depth(form.schema, field)
    return JsonOutput(as_json(form.schema), field)

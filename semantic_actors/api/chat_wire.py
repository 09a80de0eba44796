"""The requests of OpenAI's Chat Completions API, and what they mean.

Whether the model is to think is said by `reasoning_effort`, of which templates know only whether
there is any. Clients of local servers tell the template itself, by `chat_template_kwargs`: that
has the last word.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from semantic_actors.api import fields, openai_wire
from semantic_actors.api.chat_messages import Messages, chat_messages
from semantic_actors.api.chat_tools import Choice, Tools, narrowed, offered, tool_choice
from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import Attachments, JsonObject, NonEmpty
from semantic_actors.api.openai_wire import Continuation, Logprobs, refuse_unsupported
from semantic_actors.api.refusals import FieldRefused, Superseded, as_json
from semantic_actors.domain.request import ChatPrompt, Generation, JsonOutput

_NEUTRAL: Final[Mapping[str, Any]] = {"audio": None, "web_search_options": None}
"""The value of each parameter without support that changes nothing."""

_SUPERSEDED: Final[Mapping[str, str]] = {"functions": "tools", "function_call": "tool_choice"}


class TextFormat(msgspec.Struct, tag_field="type", tag="text"):
    """Any text."""


class JsonObjectFormat(msgspec.Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchema(msgspec.Struct):
    """A schema; without one any object will do."""

    name: NonEmpty
    schema: JsonObject | None = None


class JsonSchemaFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    """JSON that a schema accepts; `strict` or not, nothing else can be generated."""

    json_schema: JsonSchema


class TemplateArguments(msgspec.Struct):
    """What is said to the chat template itself; the names that templates have for one thing."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class ChatRequest(Continuation, kw_only=True):
    """The body of `/v1/chat/completions`."""

    messages: Messages
    max_completion_tokens: fields.MaxTokens | None = None
    tools: Tools | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Logprobs | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    chat_template_kwargs: TemplateArguments | None = None
    modalities: Annotated[list[Literal["text"]], Meta(min_length=1)] | None = None
    audio: Any = None
    web_search_options: Any = None
    functions: Any = None
    function_call: Any = None


def generations(body: ChatRequest, attachments: Attachments) -> tuple[Generation, ...]:
    """Translate a request for answers."""
    _refuse(body)
    tools = offered(body.tools or [])
    choice = tool_choice(body.tool_choice, tools, parallel=body.parallel_tool_calls)
    prompt = ChatPrompt(
        messages=tuple(chat_messages(body.messages, attachments)),
        tools=narrowed(tools, body.tool_choice),
        thinking=_thinking(body),
    )
    return openai_wire.generations(
        body,
        prompt,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        logprobs=_logprobs(body),
        tool_choice=choice,
        output=_output(body),
    )


def _refuse(body: ChatRequest) -> None:
    refuse_unsupported(body, _NEUTRAL)
    for field, successor in _SUPERSEDED.items():
        value = getattr(body, field)
        if value:
            raise Superseded(field, as_json(value), successor)


def _thinking(body: ChatRequest) -> bool | None:
    said = body.chat_template_kwargs or TemplateArguments()
    for told in (said.enable_thinking, said.thinking):
        if told is not None:
            return told
    return None if body.reasoning_effort is None else body.reasoning_effort != "none"


def _logprobs(body: ChatRequest) -> int | None:
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        field = "top_logprobs"
        raise FieldRefused(field, "0 or null without logprobs", str(body.top_logprobs))
    return None


def _output(body: ChatRequest) -> JsonOutput | None:
    match body.response_format:
        case JsonObjectFormat():
            return JsonOutput('{"type":"object"}', "response_format")
        case JsonSchemaFormat(json_schema=JsonSchema(schema=schema)):
            field = "response_format.json_schema.schema"
            wanted = {"type": "object"} if schema is None else schema
            check_depth(wanted, field)
            return JsonOutput(msgspec.json.encode(wanted).decode(), field)
        case _:
            return None

"""The requests of OpenAI's Chat Completions API, and what they mean.

A `developer` message is a system message. `tool_choice` `none` takes the tools away; the others
are what a model does anyway or cannot be made to do.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from semantic_actors.api import fields, openai_wire
from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import JsonObject, NonEmpty, TextBlock, check_object, joined
from semantic_actors.api.openai_wire import Continuation, Count
from semantic_actors.domain import limits
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    ToolCall,
    ToolSpec,
)


class Refusal(msgspec.Struct, tag_field="type", tag="refusal"):
    """A part of an assistant's message by which another model declined."""


class CalledFunction(msgspec.Struct):
    """Name and arguments of a call; the arguments are JSON text and stay as they are."""

    name: str
    arguments: str


class Call(msgspec.Struct):
    """A call the model made."""

    id: str
    function: CalledFunction


class SystemMessage(msgspec.Struct, tag_field="role", tag="system"):
    """Instructions."""

    content: str | list[TextBlock]


class DeveloperMessage(msgspec.Struct, tag_field="role", tag="developer"):
    """Instructions, by their newer name."""

    content: str | list[TextBlock]


class UserMessage(msgspec.Struct, tag_field="role", tag="user"):
    """Text of the user."""

    content: str | list[TextBlock]


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant"):
    """Text of the model and its tool calls."""

    content: str | list[TextBlock | Refusal] | None = None
    tool_calls: list[Call] | None = None


class ToolMessage(msgspec.Struct, tag_field="role", tag="tool"):
    """What a tool answered."""

    tool_call_id: str
    content: str | list[TextBlock]


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class Function(msgspec.Struct):
    """A function the client offers."""

    name: NonEmpty
    description: str | None = None
    parameters: JsonObject | None = None


class Tool(msgspec.Struct):
    """A tool; only functions can be offered to a local model, others are passed over."""

    type: str
    function: Function | None = None


class ResponseFormat(msgspec.Struct):
    """The form of the answer: text, and only text."""

    type: Literal["text"]


class ChatRequest(Continuation, kw_only=True):
    """The body of `/v1/chat/completions`."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=limits.MAX_MESSAGES)]
    max_completion_tokens: fields.MaxTokens | None = None
    tools: Annotated[list[Tool], Meta(max_length=limits.MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | JsonObject | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Count | None = None
    functions: list[Any] | None = None


def generation(body: ChatRequest) -> Generation:
    """Translate a request for an answer."""
    prompt = ChatPrompt(
        messages=tuple(_messages(body.messages)),
        tools=() if body.tool_choice == "none" else tuple(_tools(body.tools or [])),
    )
    return openai_wire.generation(body, prompt, body.max_completion_tokens or body.max_tokens)


def _tools(tools: list[Tool]) -> Iterator[ToolSpec]:
    for index, tool in enumerate(tools):
        if tool.function is not None:
            parameters = tool.function.parameters or {}
            check_depth(parameters, f"tools[{index}].function.parameters")
            yield ToolSpec(tool.function.name, tool.function.description, parameters)


def _messages(messages: list[Message]) -> Iterator[ChatMessage]:
    for index, message in enumerate(messages):
        match message:
            case SystemMessage() | DeveloperMessage():
                yield ChatMessage("system", joined(message.content))
            case UserMessage():
                yield ChatMessage("user", joined(message.content))
            case AssistantMessage():
                calls = tuple(_calls(message.tool_calls or [], f"messages[{index}].tool_calls"))
                yield ChatMessage("assistant", joined(message.content, ""), calls)
            case ToolMessage():
                yield ChatMessage(
                    "tool", joined(message.content), tool_call_id=message.tool_call_id
                )


def _calls(calls: list[Call], path: str) -> Iterator[ToolCall]:
    for index, call in enumerate(calls):
        check_object(call.function.arguments, f"{path}[{index}].function.arguments")
        yield ToolCall(call.id, call.function.name, call.function.arguments)

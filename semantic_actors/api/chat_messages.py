"""The messages of OpenAI's Chat Completions API, and what they mean.

A `developer` message is a system message. What an assistant refused with, it said. Names of
participants are passed over: no chat template shows them.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from semantic_actors.api.fields import Attachments, TextBlock, attachment, check_object, joined
from semantic_actors.api.refusals import Superseded, as_json
from semantic_actors.domain import limits
from semantic_actors.domain.request import ChatMessage, ToolCall


class Refusal(msgspec.Struct, tag_field="type", tag="refusal"):
    """A part of an assistant's message by which a model declined."""

    refusal: str


class Image(msgspec.Struct, tag_field="type", tag="image_url"):
    """A picture, or where one would have to be fetched: it never is."""


class Audio(msgspec.Struct, tag_field="type", tag="input_audio"):
    """A recording."""


class File(msgspec.Struct, tag_field="type", tag="file"):
    """A document."""


Part = TextBlock | Refusal | Image | Audio | File
Content = str | list[Part]


class CalledFunction(msgspec.Struct):
    """Name and arguments of a call, JSON text that stays as it is; "" stands for none."""

    name: str
    arguments: str


class Call(msgspec.Struct):
    """A call the model made."""

    id: str
    function: CalledFunction


class SystemMessage(msgspec.Struct, tag_field="role", tag="system"):
    """Instructions."""

    content: Content


class DeveloperMessage(msgspec.Struct, tag_field="role", tag="developer"):
    """Instructions, by their newer name."""

    content: Content


class UserMessage(msgspec.Struct, tag_field="role", tag="user"):
    """Text of the user."""

    content: Content


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant"):
    """Text of the model, its thoughts by either name, and its tool calls."""

    content: Content | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Any = None


class ToolMessage(msgspec.Struct, tag_field="role", tag="tool"):
    """What a tool answered."""

    tool_call_id: str
    content: Content


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage
Messages = Annotated[list[Message], Meta(min_length=1, max_length=limits.MAX_MESSAGES)]


def chat_messages(messages: Messages, attachments: Attachments) -> Iterator[ChatMessage]:
    """Translate a conversation."""
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        content = _readable(message.content, f"{path}.content", attachments)
        match message:
            case SystemMessage() | DeveloperMessage():
                yield ChatMessage("system", joined(content))
            case UserMessage():
                yield ChatMessage("user", joined(content))
            case AssistantMessage():
                yield _assistant(message, joined(content, ""), path)
            case ToolMessage():
                yield ChatMessage("tool", joined(content), tool_call_id=message.tool_call_id)


def _readable(content: Content | None, path: str, attachments: Attachments) -> Any:
    """Put text in the place of what the model cannot read, or refuse it."""
    if content is None or isinstance(content, str):
        return content
    return [_text(part, f"{path}[{index}]", attachments) for index, part in enumerate(content)]


def _text(part: Part, path: str, attachments: Attachments) -> TextBlock:
    match part:
        case TextBlock():
            return part
        case Refusal(refusal=text):
            return TextBlock(text)
        case Image():
            return attachment("image", path, attachments)
        case Audio():
            return attachment("audio", path, attachments)
        case File():
            return attachment("file", path, attachments)


def _assistant(message: AssistantMessage, text: str, path: str) -> ChatMessage:
    if message.function_call is not None:
        field = f"{path}.function_call"
        raise Superseded(field, as_json(message.function_call), "tool_calls")
    return ChatMessage(
        "assistant",
        text or message.refusal or "",
        tuple(_calls(message.tool_calls or [], f"{path}.tool_calls")),
        reasoning=message.reasoning_content or message.reasoning or "",
    )


def _calls(calls: list[Call], path: str) -> Iterator[ToolCall]:
    for index, call in enumerate(calls):
        arguments = call.function.arguments or "{}"
        check_object(arguments, f"{path}[{index}].function.arguments")
        yield ToolCall(call.id, call.function.name, arguments)

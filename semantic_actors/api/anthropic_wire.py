"""The requests of Anthropic's Messages API, and what they mean.

What a client sends along for other servers (thinking, betas, metadata, context management, cache
control) is ignored by not being named. `tool_choice` `none` takes the tools away; the others are
what a model does anyway or cannot be made to do.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from semantic_actors.api import fields
from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import JsonObject, NonEmpty, TextBlock, joined
from semantic_actors.api.refusals import FieldMissing, ThreadUnsupported
from semantic_actors.domain import limits
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    ToolCall,
    ToolSpec,
)

_BILLING: Final = "x-anthropic-billing-header"
"""Opens a system block of Claude Code that can differ in every request and says nothing."""


class ToolReference(msgspec.Struct, tag_field="type", tag="tool_reference"):
    """A deferred tool that a tool search found."""

    tool_name: str


class ToolResult(msgspec.Struct, tag_field="type", tag="tool_result"):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[TextBlock | ToolReference] | None = None


class ToolUse(msgspec.Struct, tag_field="type", tag="tool_use"):
    """A call the model made."""

    id: str
    name: str
    input: JsonObject


class Thinking(msgspec.Struct, tag_field="type", tag="thinking"):
    """Thinking of an earlier turn; none of ours, so it is not rendered."""


class RedactedThinking(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    """Thinking that another server encrypted."""


class UserMessage(msgspec.Struct, tag_field="role", tag="user"):
    """Text of the user and results of tools."""

    content: str | list[TextBlock | ToolResult]


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant"):
    """Text of the model and its tool calls."""

    content: str | list[TextBlock | ToolUse | Thinking | RedactedThinking]


class SystemMessage(msgspec.Struct, tag_field="role", tag="system"):
    """Instructions in the middle of a conversation, as Claude Code sends them."""

    content: str | list[TextBlock]


class Tool(msgspec.Struct):
    """A tool of the client, or one that Anthropic's servers would run and we cannot."""

    name: NonEmpty | None = None
    type: str | None = None
    description: str | None = None
    input_schema: JsonObject | None = None
    defer_loading: bool | None = None


class ToolChoice(msgspec.Struct):
    """Whether tools may be called."""

    type: Literal["auto", "any", "tool", "none"]


class Metadata(msgspec.Struct):
    """Who the client's user is; Claude Code hides its session id in it."""

    user_id: str | None = None


class CountTokensRequest(msgspec.Struct, kw_only=True):
    """A conversation: the body of `/v1/messages/count_tokens`."""

    model: NonEmpty
    messages: Annotated[
        list[UserMessage | AssistantMessage | SystemMessage],
        Meta(min_length=1, max_length=limits.MAX_MESSAGES),
    ]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[Tool], Meta(max_length=limits.MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thread: Any = None


class MessagesRequest(CountTokensRequest, kw_only=True):
    """A conversation and how to go on: the body of `/v1/messages`."""

    max_tokens: fields.MaxTokens
    temperature: fields.Temperature | None = None
    top_p: fields.TopP | None = None
    top_k: fields.TopK | None = None
    stop_sequences: fields.StopSequences | None = None
    stream: bool | None = None
    metadata: Metadata | None = None


def chat_prompt(body: CountTokensRequest) -> ChatPrompt:
    """Translate a conversation."""
    if body.thread is not None:
        raise ThreadUnsupported
    tools = {spec.name: (spec, deferred) for spec, deferred in _tools(body.tools or [])}
    deferred = {name: spec for name, (spec, later) in tools.items() if later}
    offered = tuple(spec for spec, later in tools.values() if not later)
    silent = body.tool_choice is not None and body.tool_choice.type == "none"
    return ChatPrompt(
        messages=(*_system(body.system), *_messages(body.messages, deferred)),
        tools=() if silent else offered,
    )


def generation(body: MessagesRequest) -> Generation:
    """Translate a request for an answer."""
    return Generation(
        prompt=chat_prompt(body),
        sampling=fields.sampling(body.temperature, body.top_p, body.top_k),
        max_tokens=body.max_tokens,
        stop=tuple(body.stop_sequences or ()),
    )


def _tools(tools: list[Tool]) -> Iterator[tuple[ToolSpec, bool]]:
    """Yield what can be offered, and whether only once it is referred to."""
    for index, tool in enumerate(tools):
        if tool.input_schema is not None and tool.name is not None:
            check_depth(tool.input_schema, f"tools[{index}].input_schema")
            spec = ToolSpec(tool.name, tool.description, tool.input_schema)
            yield spec, bool(tool.defer_loading)
        elif tool.type in {None, "custom"}:
            field = f"tools[{index}]." + ("name" if tool.name is None else "input_schema")
            raise FieldMissing(field)


def _system(system: str | list[TextBlock] | None) -> Iterator[ChatMessage]:
    blocks = [TextBlock(system)] if isinstance(system, str) else system or []
    text = joined(block for block in blocks if not block.text.startswith(_BILLING))
    if text:
        yield ChatMessage("system", text)


def _messages(
    messages: list[UserMessage | AssistantMessage | SystemMessage],
    deferred: Mapping[str, ToolSpec],
) -> Iterator[ChatMessage]:
    for index, message in enumerate(messages):
        match message:
            case UserMessage():
                yield from _user(message, deferred)
            case AssistantMessage():
                yield _assistant(message, f"messages[{index}]")
            case SystemMessage():
                yield ChatMessage("system", joined(message.content))


def _user(message: UserMessage, deferred: Mapping[str, ToolSpec]) -> Iterator[ChatMessage]:
    if isinstance(message.content, str):
        yield ChatMessage("user", message.content)
        return
    results = [block for block in message.content if isinstance(block, ToolResult)]
    for result in results:
        text = joined(_resolved(result.content, deferred))
        yield ChatMessage("tool", text, tool_call_id=result.tool_use_id)
    if len(results) < len(message.content) or not results:
        yield ChatMessage("user", joined(message.content))


def _resolved(
    content: str | list[TextBlock | ToolReference] | None, deferred: Mapping[str, ToolSpec]
) -> list[TextBlock]:
    """Show a deferred tool where it was found: in the list of tools it would move the prefix."""
    if content is None or isinstance(content, str):
        return [TextBlock(content or "")]
    return [
        _shown(block, deferred) if isinstance(block, ToolReference) else block for block in content
    ]


def _shown(reference: ToolReference, deferred: Mapping[str, ToolSpec]) -> TextBlock:
    tool = deferred.get(reference.tool_name)
    return TextBlock(reference.tool_name if tool is None else _json(msgspec.to_builtins(tool)))


def _assistant(message: AssistantMessage, path: str) -> ChatMessage:
    if isinstance(message.content, str):
        return ChatMessage("assistant", message.content)
    calls: list[ToolCall] = []
    for index, block in enumerate(message.content):
        if isinstance(block, ToolUse):
            check_depth(block.input, f"{path}.content[{index}].input")
            calls.append(ToolCall(block.id, block.name, _json(block.input)))
    return ChatMessage("assistant", joined(message.content, ""), tuple(calls))


def _json(value: Any) -> str:
    """Write JSON the one way we write it, keys in the order they came."""
    return json.dumps(value, ensure_ascii=False)

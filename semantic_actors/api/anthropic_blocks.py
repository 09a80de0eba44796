"""The blocks of which messages of Anthropic's Messages API are made.

A block carries content, so one of a kind that is not named here is refused by name; a field that
is not named here is ignored. Images and documents that are no text have their source unread: no
address is ever opened.
"""

from typing import Any, Literal

import msgspec

from semantic_actors.api.fields import JsonObject, NonEmpty, TextBlock


class PlainSource(msgspec.Struct, tag_field="type", tag="text"):
    """A document that is text."""

    data: str


class Base64Source(msgspec.Struct, tag_field="type", tag="base64"):
    """The bytes of a picture or of pages."""


class UrlSource(msgspec.Struct, tag_field="type", tag="url"):
    """Where such bytes can be had; not here."""


class FileSource(msgspec.Struct, tag_field="type", tag="file"):
    """A file that another server keeps."""


class Image(msgspec.Struct, tag_field="type", tag="image"):
    """A picture."""

    source: Base64Source | UrlSource | FileSource


class ContentSource(msgspec.Struct, tag_field="type", tag="content"):
    """A document that is blocks."""

    content: str | list[TextBlock | Image]


class Document(msgspec.Struct, tag_field="type", tag="document"):
    """Something to read."""

    source: PlainSource | ContentSource | Base64Source | UrlSource | FileSource
    title: str | None = None
    context: str | None = None


class SearchResult(msgspec.Struct, tag_field="type", tag="search_result"):
    """What the client found for the model, and where."""

    source: str
    title: str
    content: list[TextBlock]


class ContainerUpload(msgspec.Struct, tag_field="type", tag="container_upload"):
    """A file for a machine that another server runs."""


Readable = TextBlock | Image | Document | SearchResult | ContainerUpload
"""What becomes text in a message."""


class ToolReference(msgspec.Struct, tag_field="type", tag="tool_reference"):
    """A deferred tool that a tool search found."""

    tool_name: str


class BrowserState(msgspec.Struct, tag_field="type", tag="browser_state"):
    """The tabs of the client's browser."""

    tabs: list[Any]


class ToolResult(msgspec.Struct, tag_field="type", tag="tool_result"):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[Readable | ToolReference | BrowserState] | None = None
    is_error: bool | None = None


class ToolUse(msgspec.Struct, tag_field="type", tag="tool_use"):
    """A call the model made."""

    id: str
    name: str
    input: JsonObject


class Thinking(msgspec.Struct, tag_field="type", tag="thinking"):
    """What the model thought; the signature, which any server may have made, is not read."""

    thinking: str = ""


class RedactedThinking(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    """Thinking that another server encrypted."""


class ServerCall(msgspec.Struct):
    """A call of a tool that another server ran itself."""

    id: str
    name: str
    input: JsonObject


class ServerToolUse(ServerCall, tag_field="type", tag="server_tool_use"):
    """One of that server's own tools."""


class McpToolUse(ServerCall, tag_field="type", tag="mcp_tool_use"):
    """One of a server that it had asked in turn."""


class ServerResult(msgspec.Struct):
    """What such a tool answered, in a form of its own."""

    tool_use_id: str
    content: Any = None
    is_error: bool | None = None


class WebSearchResult(ServerResult, tag_field="type", tag="web_search_tool_result"):
    """Pages found."""


class WebFetchResult(ServerResult, tag_field="type", tag="web_fetch_tool_result"):
    """A page."""


class CodeResult(ServerResult, tag_field="type", tag="code_execution_tool_result"):
    """What a program wrote."""


class BashResult(ServerResult, tag_field="type", tag="bash_code_execution_tool_result"):
    """What a command wrote."""


class EditorResult(ServerResult, tag_field="type", tag="text_editor_code_execution_tool_result"):
    """A file, or what became of it."""


class ToolSearchResult(ServerResult, tag_field="type", tag="tool_search_tool_result"):
    """Tools found."""


class AdvisorResult(ServerResult, tag_field="type", tag="advisor_tool_result"):
    """What another model advised."""


class McpResult(ServerResult, tag_field="type", tag="mcp_tool_result"):
    """What a server answered that was asked in turn."""


class Compaction(msgspec.Struct, tag_field="type", tag="compaction"):
    """What another server made of a conversation's beginning; nothing where it failed."""

    content: str | None = None


class McpListing(msgspec.Struct, tag_field="type", tag="mcp_tool_listing"):
    """Tools that another server could have called."""


class Fallback(msgspec.Struct, tag_field="type", tag="fallback"):
    """The place where another model took over; says nothing to the model."""


class Tool(msgspec.Struct):
    """A tool of the client, or one that Anthropic's servers would run and we cannot."""

    name: NonEmpty | None = None
    type: str | None = None
    description: str | None = None
    input_schema: JsonObject | None = None
    defer_loading: bool | None = None


class NamedTool(msgspec.Struct, tag_field="type", tag="tool_reference"):
    """A tool by its name."""

    name: str


class DefinedTool(msgspec.Struct, tag_field="type", tag="tool_definition"):
    """A tool by value."""

    definition: Tool


class McpTool(msgspec.Struct, tag_field="type", tag="mcp_tool_reference"):
    """A tool that another server could call."""


class McpToolset(msgspec.Struct, tag_field="type", tag="mcp_toolset_reference"):
    """All that it could call at one place."""


class ToolAddition(msgspec.Struct, tag_field="type", tag="tool_addition"):
    """From here on there is one tool more."""

    tool: NamedTool | DefinedTool | McpTool | McpToolset


class ToolRemoval(msgspec.Struct, tag_field="type", tag="tool_removal"):
    """From here on there is one tool less."""

    tool: NamedTool | McpTool | McpToolset


UserBlock = Readable | ToolResult
SystemBlock = TextBlock | ToolAddition | ToolRemoval
AssistantBlock = (
    Readable
    | ToolUse
    | Thinking
    | RedactedThinking
    | ServerToolUse
    | McpToolUse
    | WebSearchResult
    | WebFetchResult
    | CodeResult
    | BashResult
    | EditorResult
    | ToolSearchResult
    | AdvisorResult
    | McpResult
    | McpListing
    | Compaction
    | Fallback
)


class UserMessage(msgspec.Struct, tag_field="role", tag="user"):
    """What the user says, and results of tools."""

    content: str | list[UserBlock]


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant"):
    """What the model said, and its calls of tools."""

    content: str | list[AssistantBlock]


class SystemMessage(msgspec.Struct, tag_field="role", tag="system"):
    """Instructions in the middle of a conversation, as Claude Code sends them.

    `clear_at` `next_user_message` takes the text away once the user has spoken again.
    """

    content: str | list[SystemBlock] | None = None
    clear_at: Literal["next_user_message", "never"] | None = None


Message = UserMessage | AssistantMessage | SystemMessage

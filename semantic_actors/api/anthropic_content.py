"""From the messages of Anthropic's Messages API to canonical ones.

What a message becomes depends on what stands before it and, for a system message that clears
itself, on whether the user has spoken since: a conversation that grows is a prompt that grows. So
tools that are introduced on the way are shown where that happens, and results stand in the order
of their calls, by which alone many templates match them, whatever order they were ready in.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar, assert_never

from semantic_actors.api.anthropic_blocks import (
    AssistantMessage,
    BrowserState,
    Compaction,
    ContainerUpload,
    ContentSource,
    Document,
    Fallback,
    Image,
    McpListing,
    Message,
    PlainSource,
    Readable,
    RedactedThinking,
    SearchResult,
    ServerCall,
    ServerResult,
    SystemMessage,
    Thinking,
    ToolAddition,
    ToolReference,
    ToolRemoval,
    ToolResult,
    ToolUse,
    UserMessage,
)
from semantic_actors.api.anthropic_tools import Toolbox, as_json
from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import Attachments, TextBlock, attachment
from semantic_actors.domain.request import ChatMessage, ToolCall

T = TypeVar("T")

_Shown = Readable | ToolReference | BrowserState

_BILLING: Final = "x-anthropic-billing-header"
"""Opens a line of Claude Code's system prompt that can differ in every request and says nothing."""

_FAILED: Final = "Error: "
"""Opens the result of a tool that failed."""


def system(content: str | Sequence[TextBlock] | None) -> Iterator[ChatMessage]:
    """Yield the system prompt, if there is one."""
    blocks = [TextBlock(content)] if isinstance(content, str) else content or []
    text = "\n".join(filter(None, (_unbilled(block.text) for block in blocks)))
    if text:
        yield ChatMessage("system", text)


class Reader:
    """Reads the messages of one request, in their order, and shows tools from its `toolbox`."""

    def __init__(self, toolbox: Toolbox, attachments: Attachments) -> None:
        self._toolbox = toolbox
        self._attachments = attachments
        self._order: dict[str, int] = {}

    def read(self, messages: Sequence[Message]) -> Iterator[ChatMessage]:
        """Yield what the messages say. Raises an `InvalidRequest`."""
        spoken = (i for i, message in enumerate(messages) if isinstance(message, UserMessage))
        last = max(spoken, default=0)
        for index, message in enumerate(messages):
            path = f"messages[{index}].content"
            match message:
                case UserMessage():
                    yield from self._user(message, path)
                case AssistantMessage():
                    yield from self._assistant(message, path)
                case SystemMessage(clear_at="next_user_message") if index < last:
                    yield from self._system(message, path, cleared=True)
                case SystemMessage():
                    yield from self._system(message, path, cleared=False)

    def _user(self, message: UserMessage, path: str) -> Iterator[ChatMessage]:
        if isinstance(message.content, str):
            yield ChatMessage("user", message.content)
            return
        results: list[ChatMessage] = []
        texts: list[str] = []
        for place, block in _placed(message.content, path):
            if isinstance(block, ToolResult):
                results.append(self._result(block, place))
            else:
                texts.append(self._text(block, place))
        last = len(self._order)
        yield from sorted(results, key=lambda one: self._order.get(one.tool_call_id or "", last))
        if texts or not results:
            yield ChatMessage("user", "\n".join(texts))

    def _result(self, result: ToolResult, path: str) -> ChatMessage:
        content = self._texts(result.content or "", f"{path}.content")
        text = _FAILED + content if result.is_error else content
        return ChatMessage("tool", text, tool_call_id=result.tool_use_id)

    def _system(self, message: SystemMessage, path: str, *, cleared: bool) -> Iterator[ChatMessage]:
        """Yield what the system says; a text that clears itself leaves changes of tools behind."""
        content = message.content or []
        blocks = [TextBlock(content)] if isinstance(content, str) else content
        texts = []
        for place, block in _placed(blocks, path):
            match block:
                case TextBlock(text=text):
                    texts.append("" if cleared else text)
                case ToolAddition():
                    texts.append(self._toolbox.add(block, place))
                case ToolRemoval():
                    texts.append(self._toolbox.remove(block))
        said = "\n".join(filter(None, texts))
        if said:
            yield ChatMessage("system", said)

    def _assistant(self, message: AssistantMessage, path: str) -> Iterator[ChatMessage]:
        """Yield one message, or several where another server's tools answered in between."""
        self._order.clear()
        if isinstance(message.content, str):
            yield ChatMessage("assistant", message.content)
            return
        turn = _Turn()
        for place, block in _placed(message.content, path):
            match block:
                case ServerResult():
                    yield from turn.end()
                    yield _server_result(block, place)
                case ToolUse() | ServerCall():
                    check_depth(block.input, f"{place}.input")
                    self._order[block.id] = len(self._order)
                    turn.calls.append(ToolCall(block.id, block.name, as_json(block.input)))
                case Thinking(thinking=thought):
                    turn.thoughts.append(thought)
                case Compaction(content=text):
                    turn.texts.append(text or "")
                case RedactedThinking() | McpListing() | Fallback():
                    pass
                case _:
                    turn.texts.append(self._text(block, place))
        yield from turn.end(always=not message.content)

    def _texts(self, content: str | Sequence[_Shown], path: str) -> str:
        if isinstance(content, str):
            return content
        return "\n".join(self._text(block, place) for place, block in _placed(content, path))

    def _text(self, block: _Shown, path: str) -> str:
        match block:
            case TextBlock(text=text):
                return text
            case Document():
                return self._document(block, path)
            case SearchResult(source=source, title=title, content=content):
                return "\n".join((title, source, *(part.text for part in content)))
            case ToolReference(tool_name=name):
                return self._toolbox.show(name)
            case BrowserState(tabs=tabs):
                check_depth(tabs, f"{path}.tabs")
                return as_json({"tabs": tabs})
            case Image() | ContainerUpload():
                return self._attachment("image" if isinstance(block, Image) else "file", path)
            case _:
                assert_never(block)

    def _document(self, document: Document, path: str) -> str:
        match document.source:
            case PlainSource(data=text):
                pass
            case ContentSource(content=content):
                text = self._texts(content, f"{path}.source.content")
            case _:
                text = self._attachment("document", path)
        return "\n".join(filter(None, (document.title, document.context, text)))

    def _attachment(self, kind: str, path: str) -> str:
        return attachment(kind, path, self._attachments).text


class _Turn:
    """What the model said up to some point of its message. Texts are joined as they were cut."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []

    def end(self, *, always: bool = False) -> Iterator[ChatMessage]:
        """Yield it, if there is anything, and begin again."""
        if always or self.texts or self.thoughts or self.calls:
            reasoning = "".join(self.thoughts)
            yield ChatMessage(
                "assistant", "".join(self.texts), tuple(self.calls), reasoning=reasoning
            )
        self.texts, self.thoughts, self.calls = [], [], []


def _server_result(result: ServerResult, path: str) -> ChatMessage:
    check_depth(result.content, f"{path}.content")
    content = _legible(result.content)
    lines = content if isinstance(content, list) else [content]
    plain = all(isinstance(line, str) for line in lines)
    text = "\n".join(lines) if plain else as_json(content)
    return ChatMessage(
        "tool", _FAILED + text if result.is_error else text, tool_call_id=result.tool_use_id
    )


def _legible(value: Any) -> Any:
    """Leave out of JSON what no model can read: what is encrypted, and bytes in base64."""
    match value:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "base64"}:
            return {"type": "base64"}
        case dict():
            kept = {key: inner for key, inner in value.items() if "encrypted" not in key}
            return {key: _legible(inner) for key, inner in kept.items()}
        case list():
            return [_legible(inner) for inner in value]
        case _:
            return value


def _unbilled(text: str) -> str:
    return text.partition("\n")[2].lstrip("\n") if text.startswith(_BILLING) else text


def _placed(blocks: Sequence[T], path: str) -> Iterator[tuple[str, T]]:
    """Yield each block with its place in the request."""
    return ((f"{path}[{index}]", block) for index, block in enumerate(blocks))

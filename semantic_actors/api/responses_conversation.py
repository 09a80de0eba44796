"""What the items of a conversation mean: its messages in canonical form.

What the model did in one turn comes back as several items: a thought, a message, calls. They are
one message of the assistant, joined as they were cut, so that the conversation that comes back is
the one that was answered.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from semantic_actors.api.fields import JsonObject
from semantic_actors.api.refusals import as_json
from semantic_actors.domain.request import ChatMessage, ToolCall

_CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call"})


def messages(items: Iterable[JsonObject]) -> Iterator[ChatMessage]:
    """Read messages out of settled items."""
    for by_assistant, run in groupby(items, _by_assistant):
        if by_assistant:
            yield _said(list(run))
        else:
            yield from map(_told, run)


def tool_name(namespace: str | None, name: str) -> str:
    """Return the name by which the model knows a tool, which may be one of a namespace."""
    if not namespace:
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def _by_assistant(item: JsonObject) -> bool:
    return item["type"] in _CALLS | {"reasoning"} or item.get("role") == "assistant"


def _said(items: list[JsonObject]) -> ChatMessage:
    """Make one message of what the assistant did in a row.

    A call that was cut off is left out: its arguments are no JSON, and nobody ran it.
    """
    thoughts = [_joined(item["content"] or item["summary"], "") for item in _of(items, "reasoning")]
    texts = [_joined(item["content"], "") for item in _of(items, "message")]
    calls = [
        ToolCall(item["call_id"], *_name_and_arguments(item))
        for item in items
        if item["type"] in _CALLS and item["status"] != "incomplete"
    ]
    return ChatMessage("assistant", "".join(texts), tuple(calls), reasoning="".join(thoughts))


def _told(item: JsonObject) -> ChatMessage:
    """Make a message of what somebody else said."""
    if item["type"] == "message":
        return ChatMessage(
            "user" if item["role"] == "user" else "system", _joined(item["content"], "\n")
        )
    output = item["output"]
    text = output if isinstance(output, str) else _joined(output, "\n")
    return ChatMessage("tool", text, tool_call_id=item["call_id"])


def _name_and_arguments(item: JsonObject) -> tuple[str, str]:
    match item["type"]:
        case "function_call":
            return tool_name(item.get("namespace"), item["name"]), item["arguments"]
        case "custom_tool_call":
            return item["name"], as_json({"input": item["input"]})
        case _:
            return "local_shell", as_json(item["action"])


def _of(items: Iterable[JsonObject], kind: str) -> Iterator[JsonObject]:
    return (item for item in items if item["type"] == kind)


def _joined(parts: Iterable[JsonObject], separator: str) -> str:
    return separator.join(part["text"] for part in parts)

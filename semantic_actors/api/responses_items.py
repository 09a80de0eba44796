"""The items of OpenAI's Responses API, as clients write them and as they are kept.

Clients write the same item in several ways; kept are its meaning and its id. Calls of tools that
OpenAI hosts are passed over, for there is nobody here to have made them. What would silently take
history away is refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import Attachments, JsonObject, attachment, check_object
from semantic_actors.api.refusals import FieldMissing, FieldRefused, as_json


class InputText(msgspec.Struct, tag_field="type", tag="input_text"):
    """Text of the client."""

    text: str


class OutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    """Text of the model."""

    text: str


class PlainText(msgspec.Struct, tag_field="type", tag="text"):
    """Text by the name it has elsewhere."""

    text: str


class ReasoningText(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    """What the model thought."""

    text: str


class SummaryText(msgspec.Struct, tag_field="type", tag="summary_text"):
    """A summary of what it thought."""

    text: str


class Refusal(msgspec.Struct, tag_field="type", tag="refusal"):
    """A part of a message by which another model declined."""


class InputImage(msgspec.Struct, tag_field="type", tag="input_image"):
    """A picture; it is not looked at, let alone fetched."""


class InputFile(msgspec.Struct, tag_field="type", tag="input_file"):
    """A file; it is not read, let alone fetched."""


class InputAudio(msgspec.Struct, tag_field="type", tag="input_audio"):
    """A recording; it is not listened to."""


Text = InputText | OutputText | PlainText | ReasoningText | SummaryText
Attached = InputImage | InputFile | InputAudio
Part = Text | Refusal | Attached

_ATTACHED: Final = {InputImage: "image", InputFile: "file", InputAudio: "audio"}

PASSED_OVER: Final = frozenset(
    {
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "file_search_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""Items of hosted tools, and of what else is not served here."""

MEANT: Final = (
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "local_shell_call",
    "local_shell_call_output",
    "item_reference",
)
"""Items that are part of the conversation."""


class Item(msgspec.Struct):
    """An item of any type. Only messages may come without one, and bare references."""

    type: str | None = None
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[Part] | None = None
    summary: list[Part] | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: Any = None
    input: Any = None
    action: Any = None
    output: Any = None

    @property
    def kind(self) -> str:
        """The type that it has, or that it means."""
        if self.type is None and self.role is None and self.id is not None:
            return "item_reference"
        return "message" if self.type is None else self.type


def settled(
    items: Iterable[Item], referenced: Mapping[str, JsonObject], policy: Attachments
) -> Iterator[JsonObject]:
    """Check items and bring them to the one form in which they are kept and shown.

    `referenced` has what references stand for, by id. Only items that came with an id have one.
    Raises `InvalidRequest`, which names the place of an item among these.
    """
    for index, item in enumerate(items):
        match item.kind:
            case "item_reference":
                yield referenced[_needed(item.id, f"input[{index}].id")]
            case kind if kind in MEANT:
                known = {} if item.id is None else {"id": item.id}
                yield known | _settle(item, f"input[{index}]", policy)
            case kind if kind not in PASSED_OVER:
                expected = "one of " + ", ".join(map(repr, MEANT))
                raise FieldRefused(field=f"input[{index}].type", expected=expected, got=kind)


def _settle(item: Item, field: str, policy: Attachments) -> JsonObject:
    match item.kind:
        case "message":
            return _message(item, field, policy)
        case "reasoning":
            content = _told(item.content, f"{field}.content", policy, "reasoning_text")
            summary = _told(item.summary, f"{field}.summary", policy, "summary_text")
            return {"type": "reasoning", "summary": summary, "content": content}
        case "function_call":
            return _function_call(item, field)
        case "custom_tool_call":
            given = _text(item.input, f"{field}.input")
            return _call(item, field) | {
                "name": _needed(item.name, f"{field}.name"),
                "input": given,
            }
        case "local_shell_call":
            if not isinstance(item.action, dict):
                raise FieldRefused(
                    field=f"{field}.action", expected="an object", got=as_json(item.action)
                )
            check_depth(item.action, f"{field}.action")
            return _call(item, field) | {"action": item.action}
        case _:
            return _output(item, field, policy)


def _message(item: Item, field: str, policy: Attachments) -> JsonObject:
    role = _needed(item.role, f"{field}.role")
    if item.content is None:
        raise FieldMissing(field=f"{field}.content")
    kind = "output_text" if role == "assistant" else "input_text"
    content = _told(item.content, f"{field}.content", policy, kind)
    return {"type": "message", "role": role, "status": "completed", "content": content}


def _function_call(item: Item, field: str) -> JsonObject:
    arguments = _text(item.arguments, f"{field}.arguments")
    cut = item.status == "incomplete"
    if not cut:
        check_object(arguments, f"{field}.arguments")
    name = _needed(item.name, f"{field}.name")
    shown = _call(item, field) | {"name": name, "arguments": arguments}
    if item.namespace is not None:
        shown["namespace"] = item.namespace
    return shown | {"status": "incomplete"} if cut else shown


def _call(item: Item, field: str) -> JsonObject:
    call_id = _needed(item.call_id or item.id, f"{field}.call_id")
    return {"type": item.kind, "call_id": call_id, "status": "completed"}


def _output(item: Item, field: str, policy: Attachments) -> JsonObject:
    call_id = _needed(item.call_id or item.id, f"{field}.call_id")
    output = item.output
    if isinstance(output, list):
        try:
            parts = msgspec.convert(output, list[Part])
        except msgspec.ValidationError as error:
            expected = "text, or an array of parts"
            raise FieldRefused(field=f"{field}.output", expected=expected, got=str(error)) from None
        output = _told(parts, f"{field}.output", policy, "input_text")
    else:
        output = _text(output, f"{field}.output")
    return {"type": item.kind, "call_id": call_id, "status": "completed", "output": output}


def _told(
    content: str | list[Part] | None, field: str, policy: Attachments, kind: str
) -> list[JsonObject]:
    """Bring content to a list of texts of one kind, as the types of the API want them."""
    parts = [InputText(content)] if isinstance(content, str) else content or []
    texts = [_part(part, f"{field}[{index}]", policy) for index, part in enumerate(parts)]
    more: JsonObject = {"annotations": []} if kind == "output_text" else {}
    return [{"type": kind, "text": text, **more} for text in texts if text is not None]


def _part(part: Part, field: str, policy: Attachments) -> str | None:
    match part:
        case InputImage() | InputFile() | InputAudio():
            return attachment(_ATTACHED[type(part)], field, policy).text
        case Refusal():
            return None
        case _:
            return part.text


def _needed(value: str | None, field: str) -> str:
    if value is None:
        raise FieldMissing(field)
    if not value:
        raise FieldRefused(field, "a string of at least 1 characters", '""')
    return value


def _text(value: Any, field: str) -> str:
    if value is None:
        raise FieldMissing(field)
    if not isinstance(value, str):
        raise FieldRefused(field, "a string", as_json(value))
    return value

"""The requests of OpenAI's Responses API, and what they mean.

A namespace is a group of functions: the model knows each by one name, made of both, and its calls
are told apart again. Tools of other types are hosted by OpenAI, and passed over. Instructions hold
for one request: they are no part of what is kept.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from semantic_actors.api import fields
from semantic_actors.api.decode import check_depth
from semantic_actors.api.fields import JsonObject, NonEmpty
from semantic_actors.api.refusals import FieldMissing, FieldRefused, Unsupported, as_json
from semantic_actors.api.responses_conversation import messages, tool_name
from semantic_actors.api.responses_items import Item
from semantic_actors.domain import limits
from semantic_actors.domain.request import (
    ChatMessage,
    ChatPrompt,
    Generation,
    JsonOutput,
    Sampling,
    ToolChoice,
    ToolSpec,
)

LOGPROBS = "message.output_text.logprobs"
"""What `include` names to ask for log-probabilities."""

Modes = Literal["none", "auto", "required"]
ToolName = tuple[str | None, str]
"""The namespace of a function, if it has one, and its own name."""


class Tool(msgspec.Struct):
    """A tool of any type; a namespace has tools of its own."""

    type: str
    name: NonEmpty | None = None
    description: str | None = None
    parameters: JsonObject | None = None
    tools: Annotated[list["Tool"], Meta(max_length=limits.MAX_TOOLS)] | None = None


class NamedTool(msgspec.Struct):
    """A tool as a choice names it."""

    type: str
    name: str | None = None


class Choice(msgspec.Struct):
    """A choice of one function, or of some."""

    type: str
    name: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: Annotated[list[NamedTool], Meta(max_length=limits.MAX_TOOLS)] | None = None


class TextFormat(msgspec.Struct, tag_field="type", tag="text"):
    """Any text."""


class JsonFormat(msgspec.Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class SchemaFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    """JSON that a schema accepts."""

    schema: JsonObject


class TextSettings(msgspec.Struct):
    """The form of the text; how much of it there should be, nobody can be told."""

    format: TextFormat | JsonFormat | SchemaFormat | None = None


class Reasoning(msgspec.Struct):
    """How much the model is to think: a model knows only whether."""

    effort: str | None = None


class PromptRequest(msgspec.Struct, kw_only=True):
    """What makes a prompt: the body of `/v1/responses/input_tokens`."""

    model: NonEmpty | None = None
    input: str | Annotated[list[Item], Meta(max_length=limits.MAX_MESSAGES)] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: Annotated[list[Tool], Meta(max_length=limits.MAX_TOOLS)] | None = None
    tool_choice: Modes | Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: Reasoning | None = None
    conversation: Any = None
    prompt: Any = None


Metadata = Annotated[
    dict[
        Annotated[str, Meta(max_length=limits.MAX_METADATA_KEY_CHARS)],
        Annotated[str, Meta(max_length=limits.MAX_METADATA_VALUE_CHARS)],
    ],
    Meta(max_length=limits.MAX_METADATA),
]


class ResponsesRequest(PromptRequest, kw_only=True):
    """The body of `/v1/responses`."""

    max_output_tokens: fields.MaxTokens | None = None
    temperature: fields.Temperature | None = None
    top_p: fields.TopP | None = None
    top_k: fields.TopK | None = None
    min_p: fields.Probability | None = None
    seed: fields.Seed | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=limits.MAX_LOGPROBS)] | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    prompt_cache_key: str | None = None


class Offer(msgspec.Struct, frozen=True):
    """The functions a request offers, and which of them may or must be called.

    `names` says of each what its client calls it.
    """

    tools: tuple[ToolSpec, ...]
    names: Mapping[str, ToolName]
    choice: ToolChoice


def new_items(body: PromptRequest) -> list[Item]:
    """Return what the request adds to the conversation. Raises `InvalidRequest`."""
    for field in ("conversation", "prompt"):
        if (value := getattr(body, field)) is not None:
            raise Unsupported(field, as_json(value), "previous_response_id")
    if isinstance(body.input, str):
        return [Item(role="user", content=body.input)]
    if body.input is None and body.previous_response_id is None:
        return [Item(role="user", content="")]  # it may all be said in the instructions
    return body.input or []


def chat_prompt(body: PromptRequest, items: list[JsonObject], offer: Offer) -> ChatPrompt:
    """Make the prompt of a conversation, of which all items are settled."""
    if not items:
        raise FieldRefused(field="input", expected="an array of at least 1 items", got="[]")
    if len(items) > limits.MAX_MESSAGES:
        bound = f"at most {limits.MAX_MESSAGES} items with those of the responses before"
        raise FieldRefused(field="input", expected=bound, got=str(len(items)))
    told = (ChatMessage("system", body.instructions),) if body.instructions else ()
    return ChatPrompt(
        messages=(*told, *messages(items)), tools=offer.tools, thinking=_thinking(body.reasoning)
    )


def generation(body: ResponsesRequest, prompt: ChatPrompt, offer: Offer) -> Generation:
    """Translate a request for an answer. Raises `InvalidRequest`."""
    if body.background:
        raise Unsupported(field="background", got="true", allowed="false")
    return Generation(
        prompt=prompt,
        sampling=_sampling(body),
        max_tokens=body.max_output_tokens,
        tool_choice=offer.choice,
        output=_output(body.text),
    )


def offered(body: PromptRequest) -> Offer:
    """Read what the model may call. Raises `InvalidRequest`."""
    tools: dict[str, ToolSpec] = {}
    names: dict[str, ToolName] = {}
    for field, namespace, tool in _functions(body.tools or [], "tools"):
        if tool.name is None:
            raise FieldMissing(field=f"{field}.name")
        name = tool_name(namespace, tool.name)
        if name in tools:
            raise FieldRefused(
                field=f"{field}.name", expected="a name that no other tool has", got=name
            )
        parameters = tool.parameters or {}
        check_depth(parameters, f"{field}.parameters")
        if len(tools) == limits.MAX_TOOLS:
            bound = f"at most {limits.MAX_TOOLS} functions in all"
            raise FieldRefused(field="tools", expected=bound, got="more")
        tools[name] = ToolSpec(name, tool.description, parameters)
        names[name] = namespace, tool.name
    if isinstance(body.tool_choice, Choice) and body.tool_choice.type == "allowed_tools":
        allowed = {_chosen(names, tool.name) for tool in body.tool_choice.tools or []}
        tools = {name: tool for name, tool in tools.items() if name in allowed}
    choice = _choice(body, tools, names)
    return Offer(tuple(tools.values()), names, choice)


def _functions(
    tools: list[Tool], path: str, namespace: str | None = None
) -> Iterator[tuple[str, str | None, Tool]]:
    """List the functions with where they are and the namespace they are in."""
    for index, tool in enumerate(tools):
        field = f"{path}[{index}]"
        if tool.type == "function":
            yield field, namespace, tool
        elif tool.type == "namespace" and namespace is None:
            if tool.name is None:
                raise FieldMissing(field=f"{field}.name")
            yield from _functions(tool.tools or [], f"{field}.tools", tool.name)


def _choice(
    body: PromptRequest, tools: Mapping[str, ToolSpec], names: Mapping[str, ToolName]
) -> ToolChoice:
    """Say whether tools may or must be called; a choice without tools is none."""
    parallel = body.parallel_tool_calls is not False
    chosen = body.tool_choice
    match chosen:
        case None | "auto":
            return ToolChoice(parallel=parallel)
        case "none":
            return ToolChoice("none", parallel=parallel)
        case "required":
            mode, name = "required", None
        case Choice(type="allowed_tools"):
            mode, name = chosen.mode or "auto", None
        case Choice(type="function"):
            mode, name = "required", _chosen(names, chosen.name)
        case _:
            expected = "'none', 'auto', 'required', or a choice of functions"
            raise FieldRefused(field="tool_choice.type", expected=expected, got=repr(chosen.type))
    if mode == "required" and not tools:
        raise FieldRefused(
            field="tool_choice", expected="functions in tools to choose from", got="none"
        )
    if isinstance(chosen, Choice) and chosen.type == "function" and name is None:
        expected = "the name of one of the functions in tools"
        raise FieldRefused(field="tool_choice.name", expected=expected, got=repr(chosen.name))
    return ToolChoice("required" if mode == "required" else "auto", name, parallel)


def _chosen(names: Mapping[str, ToolName], wanted: str | None) -> str | None:
    """Find the function that goes by a name: the model's, or its own if no other has that."""
    if wanted in names:
        return wanted
    found = [name for name, (_, own) in names.items() if own == wanted]
    return found[0] if len(found) == 1 else None


def _sampling(body: ResponsesRequest) -> Sampling:
    drawn = fields.sampling(body.temperature, body.top_p, body.top_k, body.min_p, body.seed)
    if LOGPROBS not in (body.include or []):
        return drawn
    return msgspec.structs.replace(drawn, logprobs=body.top_logprobs or 0)


def _output(text: TextSettings | None) -> JsonOutput | None:
    match text.format if text else None:
        case JsonFormat():
            return JsonOutput('{"type":"object"}', "text.format")
        case SchemaFormat(schema=schema):
            check_depth(schema, "text.format.schema")
            return JsonOutput(as_json(schema), "text.format.schema")
        case _:
            return None


def _thinking(reasoning: Reasoning | None) -> bool | None:
    if reasoning is None or reasoning.effort is None:
        return None
    return reasoning.effort != "none"

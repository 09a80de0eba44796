"""The model's chat template: from a conversation to text, with what templates refuse mended.

Templates come with the model and run in transformers' sandbox (immutable, no access to Python).
They get the conversation and nothing that a request could name. State: none after load.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import jinja2
import msgspec
import structlog
from mlx_lm.tokenizer_utils import TokenizerWrapper

from semantic_actors.domain.errors import InvalidRequest, PayloadTooLarge
from semantic_actors.domain.request import ChatMessage, ChatPrompt, ToolSpec
from semantic_actors.text.dialects import Line, Lines, in_call_order, spoken
from semantic_actors.text.hermes import calls_told, tools_told
from semantic_actors.text.marks import Guard, Marks
from semantic_actors.text.openings import Openings
from semantic_actors.text.tool_calls import arguments_of
from semantic_actors.text.vocabulary import Vocabulary

_log = structlog.get_logger(__name__)

MAX_RENDERED_CHARS: Final = 32 * 2**20
"""Length of a rendered conversation: four times what a body can hold, against runaway templates."""

MAX_REASON_CHARS: Final = 300
"""How much of a template's own message is passed on; templates may quote the conversation."""

REFUSALS: Final = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template raises, on purpose or by tripping over a shape it does not expect."""

Guarding = Callable[[Any], Any]
"""Given every JSON value that a client wrote; what it returns is rendered instead."""

Shape = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""Messages and tools as templates take them."""


class Draft(msgspec.Struct, frozen=True):
    """A conversation in the dialect that the template takes, and its rendering with slots."""

    marks: Marks
    lines: Lines
    tools: tuple[ToolSpec, ...]
    thinking: bool
    text: str


class ChatTemplate:
    """Renders conversations with the template of one model. Safe to use from any thread."""

    def __init__(self, wrapper: TokenizerWrapper, vocabulary: Vocabulary) -> None:
        """Learn how the template opens an assistant's turn. Raises `REFUSALS` on a broken one."""
        self._wrapper = wrapper
        # Text, unless there is none, or several to choose from, or it is mlx-lm's Python.
        template = wrapper.chat_template
        self.speaks = bool(wrapper.has_chat_template)
        words = template if isinstance(template, str) else "tools tool_calls"
        self.shows_tools, self.shows_calls = "tools" in words, "tool_calls" in words
        self.openings = Openings(self._opening, vocabulary, REFUSALS)

    def draft(self, prompt: ChatPrompt, replayed: Collection[int]) -> Draft:
        """Render with a slot for each replayed message whose slot the template leaves whole.

        Calls are told in text to a template that knows of none, or refuses them as they are.
        """
        if not self.speaks:
            msg = "the model has no chat template: only text prompts can be served"
            raise InvalidRequest(msg)
        try:
            return self._slotted(prompt, replayed, told=not self.shows_calls)
        except InvalidRequest as refusal:
            if not self.shows_calls or not any(map(_is_about_calls, prompt.messages)):
                raise
            try:
                return self._slotted(prompt, replayed, told=True)
            except InvalidRequest:
                raise refusal from None

    def _slotted(self, prompt: ChatPrompt, replayed: Collection[int], *, told: bool) -> Draft:
        while True:
            try:
                draft = self._settle(prompt, replayed, told=told)
            except InvalidRequest:
                # Some templates insist that a tool's result follows the call, which a slot hides.
                kept = {i for i in replayed if not prompt.messages[i].tool_calls}
                if len(kept) == len(replayed):
                    raise
            else:
                shown = Counter(draft.marks.slots.findall(draft.text))
                kept = {i for i in replayed if shown[str(i)] == 1}
                if len(kept) == len(replayed):
                    return draft
            _log.info("replay_dropped", messages=len(replayed) - len(kept))
            replayed = kept

    def guarded(self, draft: Draft, guard: Guard) -> str | None:
        """Render the draft again with the client's strings guarded; None if none needs it."""
        shape = _shape(draft.lines, draft.tools, guard)
        if not guard.touched:
            return None
        try:
            return self._render(shape, draft.marks, thinking=draft.thinking)
        except REFUSALS as error:
            raise _refused(error, draft.marks) from error

    def _settle(self, prompt: ChatPrompt, replayed: Collection[int], *, told: bool) -> Draft:
        marks, tools = Marks(), prompt.tools
        thinking = self._wrapper.has_thinking if prompt.thinking is None else prompt.thinking
        lines = tuple(
            Line(message, marks.slot(index) if index in replayed else None)
            for index, message in enumerate(in_call_order(prompt.messages))
        )
        if told:
            lines = calls_told(lines)
        if tools and not self.shows_tools:
            lines, tools = tools_told(lines, tool_dicts(tools, as_it_is)), ()
        refusals: list[Exception] = []
        for said in spoken(lines):
            try:
                text = self._render(_shape(said, tools, as_it_is), marks, thinking=thinking)
            except REFUSALS as error:
                refusals.append(error)
            else:
                return Draft(marks, said, tools, thinking, text)
        raise _refused(refusals[0], marks) from refusals[0]

    def _render(self, shape: Shape, marks: Marks, *, thinking: bool) -> str:
        text = self._apply(*shape, prompting=True, thinking=thinking)
        if len(text) > MAX_RENDERED_CHARS:
            msg = (
                f"the conversation is {len(text)} characters long when rendered,"
                f" more than {MAX_RENDERED_CHARS}"
            )
            raise PayloadTooLarge(msg)
        return self._opened(text, marks, thinking=thinking)

    def _apply(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        *,
        prompting: bool,
        thinking: bool,
    ) -> str:
        return str(
            self._wrapper.apply_chat_template(
                messages,
                tools=tools or None,
                add_generation_prompt=prompting,
                enable_thinking=thinking,
                tokenize=False,
            )
        )

    def _opening(self, messages: list[dict[str, Any]], *, prompting: bool, thinking: bool) -> str:
        if not self.speaks:
            return ""
        return self._apply(messages, [], prompting=prompting, thinking=thinking)

    def _opened(self, text: str, marks: Marks, *, thinking: bool) -> str:
        """Open every replayed turn as prompts do, so that it is an append."""
        out: list[str] = []
        done = 0
        for slot in marks.slots.finditer(text):
            before = text[done : slot.start()]
            out += [self.openings.reopened(before, thinking=thinking), slot.group()]
            done = slot.end()
        return "".join((*out, text[done:]))


def as_it_is(value: Any) -> Any:
    """Guard nothing."""
    return value


def tool_dicts(tools: tuple[ToolSpec, ...], guarding: Guarding) -> list[dict[str, Any]]:
    """Return tools in the shape that templates and tool parsers take."""
    return [{"type": "function", "function": _function(tool, guarding)} for tool in tools]


def _shape(lines: Lines, tools: tuple[ToolSpec, ...], guarding: Guarding) -> Shape:
    names = {call.id: call.name for line in lines for call in line.message.tool_calls}
    return [_message(line, names, guarding) for line in lines], tool_dicts(tools, guarding)


def _function(tool: ToolSpec, guarding: Guarding) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": guarding(tool.description)}
    return {"name": guarding(tool.name), **described, "parameters": guarding(tool.parameters)}


def _message(line: Line, names: Mapping[str, str], guarding: Guarding) -> dict[str, Any]:
    message = line.message
    if line.slot is not None:
        return {"role": message.role, "content": line.slot}
    shaped: dict[str, Any] = {"role": message.role, "content": guarding(message.content)}
    if message.reasoning:
        shaped["reasoning_content"] = guarding(message.reasoning)
    if message.tool_calls:
        shaped["tool_calls"] = [
            {
                "type": "function",
                "id": guarding(call.id),
                "function": {
                    "name": guarding(call.name),
                    "arguments": guarding(arguments_of(call)),
                },
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        shaped["tool_call_id"] = guarding(message.tool_call_id)
        if message.tool_call_id in names:
            shaped["name"] = guarding(names[message.tool_call_id])
    return shaped


def _is_about_calls(message: ChatMessage) -> bool:
    return message.role == "tool" or bool(message.tool_calls)


def _refused(error: Exception, marks: Marks) -> InvalidRequest:
    reason = marks.take_out(str(error)).text[:MAX_REASON_CHARS]
    return InvalidRequest(f"the model's chat template refuses the conversation: {reason}")

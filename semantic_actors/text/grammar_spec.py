"""What a request asks of the shape of its answer, and no more: equal ones share a grammar."""

from typing import Literal

import msgspec

from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.limits import MAX_SCHEMA_BYTES
from semantic_actors.domain.request import ChatPrompt, Generation, JsonOutput, ToolChoice, ToolSpec
from semantic_actors.text.grammar_schema import JsonObject


class GrammarSpec(msgspec.Struct, frozen=True):
    """The schema of the output, the tools that may be called by name, and whether they must be.

    `thinks` says that the answer may begin with a thought.
    """

    schema: str | None
    tools: tuple[tuple[str, JsonObject], ...]
    mode: Literal["auto", "required", "none"]
    parallel: bool
    thinks: bool

    @property
    def strict(self) -> bool:
        """Whether the answer is no free text at all."""
        return self.schema is not None or self.mode == "required"


def grammar_spec(generation: Generation) -> GrammarSpec | None:
    """Return what is asked for; None if any text will do. Raises `InvalidRequest`."""
    prompt, choice, output = generation.prompt, generation.tool_choice, generation.output
    offered = prompt.callable if isinstance(prompt, ChatPrompt) else ()
    tools = _callable(offered, choice)
    if output is not None:
        _check(output)
    elif not offered:
        return None
    return GrammarSpec(
        schema=None if output is None or choice.mode == "required" else output.schema,
        tools=tuple((tool.name, tool.parameters) for tool in tools),
        mode=choice.mode if offered else "none",
        parallel=choice.parallel,
        thinks=isinstance(prompt, ChatPrompt) and prompt.thinking is not False,
    )


def _callable(offered: tuple[ToolSpec, ...], choice: ToolChoice) -> tuple[ToolSpec, ...]:
    """Return the tools that may be called."""
    if choice.mode == "none":
        return ()
    tools = tuple(tool for tool in offered if choice.name in (None, tool.name))
    if choice.mode == "required" and not tools:
        wanted = "a call" if choice.name is None else f"a call of {choice.name[:100]!r}"
        msg = f"tool_choice asks for {wanted}, but no such tool is offered"
        raise InvalidRequest(msg, field="tool_choice")
    return tools


def _check(output: JsonOutput) -> None:
    """Refuse what is too large before it is hashed."""
    if len(output.schema) > MAX_SCHEMA_BYTES:
        found = f"{output.field}: the schema has {len(output.schema)} characters"
        msg = f"{found}, at most {MAX_SCHEMA_BYTES} are served"
        raise InvalidRequest(msg, field=output.field)

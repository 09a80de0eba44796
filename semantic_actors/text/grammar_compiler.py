"""From what is asked of an answer to its grammar.

Compiling takes milliseconds, for a hostile schema up to a few hundred: it is work for a thread of
its own, and gives the GIL back. What cannot be kept is refused where it is a promise, an output of
a schema or a call that must come; calls that may come are held to as much as can be kept.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn

import msgspec
import structlog
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from semantic_actors.domain.limits import MAX_TOOL_SCHEMA_BYTES
from semantic_actors.text import grammar_lark as lark
from semantic_actors.text.grammar_guide import Bound, Free, Phase, PhasedGrammar, TokenBytes, reason
from semantic_actors.text.grammar_lark import Calls, Tool
from semantic_actors.text.grammar_schema import (
    ANY_OBJECT,
    JsonObject,
    Unservable,
    admitted,
    of_arguments,
    parsed,
)
from semantic_actors.text.grammar_spec import GrammarSpec
from semantic_actors.text.splitter import ThoughtMarks
from semantic_actors.text.tool_calls import Notation
from semantic_actors.text.vocabulary import Vocabulary

_log = structlog.get_logger(__name__)

GRAMMAR_STACK_BYTES: Final = 128 * 2**20
"""Stack of the thread that compiles: it follows references to `MAX_SCHEMA_REACH` levels, of some
12 kB each. Only what is used takes memory."""

_LIMITS: Final = LLParserLimits(
    max_items_in_row=5_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=100_000,
    step_max_items=25_000,
    max_lexer_states=50_000,
    max_grammar_size=200_000,
    verbose_errors=False,
)
"""A step that reaches one of them took some 100 ms; a state of the lexer has up to 2 kB."""

_TRIALS_S: Final = 0.3
"""Seconds in which tools are tried one by one; whose turn never came takes any object."""

_LEAD: Final = 2
"""Blanks that may stand between a thought and its answer, as most models write them."""

_ANSWER: Final = 0
"""The first phase of every grammar."""


class Refused(msgspec.Struct, frozen=True):
    """What is asked for cannot be kept; `reason` is fit for the client.

    It is the schema of the output that cannot, or else the choice of tools.
    """

    reason: str
    output: bool


class GrammarCompiler:
    """Compiles specifications, for one model. Never changes."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        ends: frozenset[int],
        notation: Notation | None,
        thoughts: ThoughtMarks | None,
    ) -> None:
        size = 1 + max(vocabulary.tokenizer.get_vocab().values())
        spelled = [vocabulary.spelled(token) for token in range(size)]
        self._vocabulary = vocabulary
        self._words = TokenBytes(spelled, vocabulary.controls, ends)
        self._notation = notation
        self._thoughts = thoughts
        self._tokenizer: LLTokenizer | None
        known = sorted(end for end in ends if end < size)  # a model may name more than it has
        backend: Any = _Backend(spelled, sorted(vocabulary.controls), known)
        try:
            self._tokenizer = LLTokenizer(backend, eos_token=known)
        except (TypeError, ValueError) as error:
            _log.warning("answers_not_guided", reason=str(error))
            self._tokenizer = None

    def compile(self, spec: GrammarSpec) -> PhasedGrammar | Refused | None:
        """Return the grammar of an answer; None if it is not guided."""
        spelled = self._notation is not None and self._notation.spelling is not None
        if spec.mode == "required" and not spelled:
            reason = "the model's chat template does not tell how it writes calls"
            return Refused(reason, output=False)
        if spec.mode == "none" and spec.schema is None:
            return self._without_calls()
        if self._tokenizer is None or not (spelled or spec.strict):
            reason = "the model's tokenizer cannot be held to a grammar"
            return Refused(reason, spec.schema is not None) if spec.strict else None
        try:
            return self._strict(spec) if spec.strict else self._at_will(spec)
        except Unservable as error:
            if spec.strict:
                return Refused(str(error), spec.schema is not None)
            _log.warning("calls_not_guided", reason=str(error))
            return None

    def _strict(self, spec: GrammarSpec) -> PhasedGrammar:
        """Return the grammar of an answer that is nothing but what was asked for."""
        schema = None if spec.schema is None else admitted(parsed(spec.schema))
        thought = [self._thoughts.start] if spec.thinks and self._thoughts is not None else []
        spelling = None if self._notation is None else self._notation.spelling
        unspelled = [self._notation.start] if self._notation and spec.tools and not spelling else []

        def grammar(tools: Sequence[Tool]) -> str:
            calls = Calls(spelling, tools, spec.parallel) if spelling and tools else None
            marks = (*thought, *unspelled)
            return lark.answer(self._literal, schema=schema, calls=calls, marks=marks)

        if schema is not None and spec.tools:
            self._matcher(grammar(()))  # what fails then is a tool
        matcher = self._of_tools(spec, grammar)
        free, thinking = 1, 2
        turns = [(mark.encode(), thinking) for mark in thought]
        turns += [(mark.encode(), free) for mark in unspelled]
        once = self._control(thought[0]) if thought else None
        answer = Bound(matcher, turns=tuple(turns), lead=_LEAD, once=once)
        return self._phased(answer, Free(), unfinished=self._words.but(self._words.ends))

    def _at_will(self, spec: GrammarSpec) -> PhasedGrammar:
        """Return the grammar of free text, with calls where the model wants them."""
        notation = self._notation
        assert notation is not None, "calls are spelled in one"
        assert notation.spelling is not None, "calls are spelled in one"
        spelling, start = notation.spelling, notation.start
        again = spec.parallel and bool(notation.end)

        def grammar(tools: Sequence[Tool]) -> str:
            calls = Calls(spelling, tools, several=spec.parallel and not again)
            return lark.after_start(self._literal, calls, start)

        matcher = self._of_tools(spec, grammar)
        called, thinking = 1, 2
        marks = [(start.encode(), called)]
        if self._thoughts is not None:
            marks.append((self._thoughts.start.encode(), thinking))
        text = Free(marks=tuple(marks))
        calls = Bound(matcher, then=_ANSWER if again else None, otherwise=_ANSWER)
        return self._phased(text, calls)

    def _without_calls(self) -> PhasedGrammar | None:
        """Return the grammar of an answer in which no call can begin; None if it begins as text."""
        if self._notation is None:
            return None
        start = self._control(self._notation.start)
        return None if start is None else self._phased(Free(mask=self._words.but([start])), Free())

    def _control(self, text: str) -> int | None:
        """Return the control token that is spelled like this, if it is one."""
        found = self._vocabulary.scan(text)
        whole = [one.token for one in found if (one.start, one.end) == (0, len(text))]
        return whole[0] if whole else None

    def _phased(
        self, answer: Phase, behind: Phase, unfinished: bytes | None = None
    ) -> PhasedGrammar:
        """Put the phases together; `unfinished` is the mask of what a thought may go on with."""
        if self._thoughts is None:
            return PhasedGrammar(self._words, (answer, behind))
        thought = Free(mask=unfinished, marks=((self._thoughts.end.encode(), _ANSWER),))
        return PhasedGrammar(self._words, (answer, behind, thought), thinking=2)

    def _of_tools(self, spec: GrammarSpec, grammar: Callable[[Sequence[Tool]], str]) -> LLMatcher:
        """Compile the grammar of as much of the tools as can be kept. Raises `Unservable`."""
        tools = [_bounded(name, schema) for name, schema in spec.tools]
        if len(msgspec.json.encode(spec.tools)) > MAX_TOOL_SCHEMA_BYTES:
            tools = [Tool(tool.name, _ANY) for tool in tools]
        try:
            return self._matcher(grammar(tools))
        except Unservable:
            if not tools:
                raise
        until = time.monotonic() + _TRIALS_S
        tried = [
            self._kept(tool, schema, until)
            for tool, (_, schema) in zip(tools, spec.tools, strict=True)
        ]
        return self._matcher(grammar(tried))

    def _kept(self, tool: Tool, schema: JsonObject, until: float) -> Tool:
        """Return a tool with what can be kept of its schema."""
        try:
            return self._tried(tool.name, schema, until)
        except Unservable as error:
            _log.info("tool_schema_not_kept", reason=_kind(error))
        with suppress(Unservable):
            return self._tried(tool.name, schema, until, lenient=True)
        with suppress(Unservable):
            return self._tried(tool.name, self._loosened(schema, until), until, lenient=True)
        return Tool(tool.name, _ANY)

    def _loosened(self, schema: JsonObject, until: float) -> JsonObject:
        """Let those properties be anything whose own schemas cannot be kept."""
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            msg = "it has no properties to take apart"
            raise Unservable(msg)
        kept: JsonObject = {}
        for name, one in properties.items():
            kept[name] = {}
            with suppress(Unservable):
                alone = {**schema, "properties": {name: one}, "required": [name]}
                self._tried("", alone, until, lenient=True)
                kept[name] = one
        return {**schema, "properties": kept}

    def _tried(self, name: str, schema: JsonObject, until: float, *, lenient: bool = False) -> Tool:
        """Compile a tool alone. Raises `Unservable`, as soon as there is no time left."""
        if time.monotonic() > until:
            msg = "its turn never came"
            raise Unservable(msg)
        tool = Tool(name, admitted(of_arguments(schema), lenient=lenient))
        self._matcher(lark.arguments(tool))
        return tool

    def _matcher(self, grammar: str) -> LLMatcher:
        """Compile, and take the first step, which is the dearest. Raises `Unservable`."""
        assert self._tokenizer is not None, "who has none compiles nothing"
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=_LIMITS)
        if not matcher.is_error():
            matcher.compute_bitmask()
        if matcher.is_error():
            raise Unservable(reason(matcher))
        return matcher

    def _literal(self, text: str) -> str:
        """Write text of the template down: control tokens by their ids."""
        parts: list[str] = []
        done = 0
        for found in self._vocabulary.scan(text):
            parts += [lark.quoted(text[done : found.start]), f"<[{found.token}]>"]
            done = found.end
        return " ".join((*parts, lark.quoted(text[done:])))


class _Backend:
    """The vocabulary in the shape that llguidance takes; as we use it, it never tokenizes."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, spelled: list[bytes], special: list[int], ends: list[int]) -> None:
        self.tokens = spelled
        self.special_token_ids = special
        self.eos_token_id = ends[0] if ends else None

    def __call__(self, text: str) -> NoReturn:
        raise NotImplementedError(text)


_ANY: Final = admitted(ANY_OBJECT)


def _bounded(name: str, schema: JsonObject) -> Tool:
    try:
        return Tool(name, admitted(of_arguments(schema)))
    except Unservable as error:
        _log.info("tool_schema_not_kept", reason=_kind(error))
        return Tool(name, _ANY)


def _kind(error: Unservable) -> str:
    """Say what is wrong without the client's words: up to the first quotation or colon."""
    return str(error).partition(":")[0].partition("'")[0].partition('"')[0].strip()

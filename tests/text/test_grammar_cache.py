"""Grammars are compiled once, one at a time, and kept within bounds."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import msgspec
import pytest

from semantic_actors.domain import limits
from semantic_actors.domain.errors import InvalidRequest, Overloaded
from semantic_actors.domain.request import ToolChoice, ToolSpec
from semantic_actors.text.grammar_cache import GrammarCache, Outcome
from semantic_actors.text.grammar_compiler import Refused
from semantic_actors.text.grammar_guide import Free, PhasedGrammar, TokenBytes
from semantic_actors.text.grammar_spec import GrammarSpec
from tests.text.drawing import FIELD, generation

FREE = PhasedGrammar(TokenBytes([b"a"], (), frozenset({0})), (Free(), Free()), thinking=1)


class ByHand(Executor):
    """Does a job when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        """Note it down."""
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: fn(*args)))
        return future

    def work(self) -> None:
        """Do all that was noted down."""
        while self.jobs:
            future, call = self.jobs.pop(0)
            try:
                future.set_result(call())
            except ArithmeticError as error:
                future.set_exception(error)


class Bench:
    """A cache whose compiler says what it is told to and remembers what it was asked."""

    def __init__(self, outcome: Outcome = FREE) -> None:
        self.outcome = outcome
        self.asked: list[GrammarSpec] = []
        self.fails = False
        self.hands = ByHand()
        self.starts = 0
        self.cache = GrammarCache(self._compile, self._start)

    def _start(self) -> Executor:
        self.starts += 1
        return self.hands

    def _compile(self, spec: GrammarSpec) -> Outcome:
        self.asked.append(spec)
        if self.fails:
            raise ArithmeticError
        return self.outcome

    def get(self, schema: str) -> None:
        """Ask for the grammar of a schema and have it compiled."""
        assert self.cache.ask(generation(schema)) is not None
        self.hands.work()


def constant(number: int, size: int = 0) -> str:
    """Return a schema of about that size."""
    return msgspec.json.encode({"const": number, "description": "x" * size}).decode()


def test_the_same_specification_is_compiled_once() -> None:
    """Wherever in a request the schema was, and whatever else the request says."""
    bench = Bench()
    first = bench.cache.ask(generation(constant(1)))
    second = bench.cache.ask(generation(constant(1)))
    bench.hands.work()
    third = bench.cache.ask(generation(constant(1)))

    assert first is not None
    assert second is not None
    assert third is not None
    assert first.coming is second.coming is third.coming
    assert len(bench.asked) == bench.starts == 1


def test_other_specifications_are_other_grammars() -> None:
    """Another schema, tool, choice or readiness to think."""
    bench = Bench()
    tool, other = ToolSpec("a"), ToolSpec("a", None, {"type": "object", "title": "b"})
    specs = [
        generation(constant(1)),
        generation(constant(2)),
        generation(constant(1), thinking=False),
        generation(constant(1), (tool,)),
        generation(tools=(tool,)),
        generation(tools=(other,)),
        generation(tools=(tool,), choice=ToolChoice(parallel=False)),
        generation(tools=(tool,), choice=ToolChoice("required")),
        generation(tools=(tool,), choice=ToolChoice("none")),
    ]
    for spec in specs:
        bench.cache.ask(spec)
    bench.hands.work()

    assert len(bench.asked) == len(specs)


def test_what_a_tool_is_for_does_not_matter_to_its_grammar() -> None:
    """Only its name and parameters do."""
    bench = Bench()
    for description in (None, "this", "that"):
        bench.cache.ask(generation(tools=(ToolSpec("a", description),)))
    bench.hands.work()

    assert len(bench.asked) == 1


def test_too_many_in_hand_are_refused() -> None:
    """What is in hand already may be waited for all the same."""
    bench = Bench()
    for number in range(limits.MAX_GRAMMARS_IN_HAND):
        bench.cache.ask(generation(constant(number)))

    with pytest.raises(Overloaded):
        bench.cache.ask(generation(constant(-1)))
    assert bench.cache.ask(generation(constant(0))) is not None
    bench.hands.work()
    assert bench.cache.ask(generation(constant(-1))) is not None


def test_the_least_recently_used_grammar_leaves_first() -> None:
    """So many are kept, and no more."""
    bench = Bench()
    for number in range(limits.MAX_GRAMMARS):
        bench.get(constant(number))
    bench.get(constant(0))
    bench.get(constant(-1))
    assert len(bench.asked) == limits.MAX_GRAMMARS + 1

    bench.get(constant(0))
    assert len(bench.asked) == limits.MAX_GRAMMARS + 1
    bench.get(constant(1))
    assert len(bench.asked) == limits.MAX_GRAMMARS + 2


def test_large_schemas_leave_sooner() -> None:
    """All that is kept has a bounded size."""
    bench = Bench()
    size = 200_000
    most = limits.MAX_GRAMMAR_BYTES // size
    for number in range(most + 1):
        bench.get(constant(number, size))

    bench.get(constant(most, size))
    assert len(bench.asked) == most + 1
    bench.get(constant(0, size))
    assert len(bench.asked) == most + 2


def test_a_compiler_that_breaks_is_asked_again() -> None:
    """What is no outcome is not kept."""
    bench = Bench()
    bench.fails = True
    bench.get(constant(1))
    bench.fails = False
    bench.get(constant(1))

    assert len(bench.asked) == 2


def test_a_refusal_names_the_field_of_the_request_that_is_refused() -> None:
    """The same refusal, of the same schema, in the words of either API."""
    output = Bench(Refused("it is odd", output=True)).cache.ask(generation(constant(1)))
    choice = ToolChoice("required")
    call = Bench().cache.ask(generation(tools=(ToolSpec("a"),), choice=choice))
    assert output is not None
    assert call is not None

    with pytest.raises(InvalidRequest, match="it is odd") as refused:
        output.taken(Refused("it is odd", output=True), thinking=False)
    assert refused.value.field == FIELD
    with pytest.raises(InvalidRequest, match="tool_choice: ") as refused:
        call.taken(Refused("it is odd", output=False), thinking=False)
    assert refused.value.field == "tool_choice"


def test_an_answer_that_can_do_without_a_grammar_has_no_field() -> None:
    """Calls that may come are no promise."""
    asked = Bench().cache.ask(generation(tools=(ToolSpec("a"),)))

    assert asked is not None
    assert asked.field is None
    assert asked.taken(None, thinking=False) is None


def test_who_begins_inside_a_thought_begins_at_another_step() -> None:
    """One grammar serves both."""
    asked = Bench().cache.ask(generation(constant(1)))
    assert asked is not None

    assert asked.taken(FREE, thinking=False) is FREE
    inside = asked.taken(FREE, thinking=True)
    assert inside is not None
    assert inside.first == FREE.thinking


EXIT = """
import json
from semantic_actors.domain.request import ChatPrompt, Generation, JsonOutput
from semantic_actors.engine import pocket_path
from semantic_actors.text import Codec
codec = Codec.load(pocket_path())
last = None
for number in range(20):
    names = [f"p{number} {i}" for i in range(400)]
    schema = {"type": "object", "properties": {name: {"enum": names} for name in names[:20]}}
    output = JsonOutput(json.dumps({**schema, "required": names[:20]}), "schema")
    asked = codec.grammar(Generation(ChatPrompt(()), output=output))
    last = last or asked
last.coming.result()
"""


def test_an_exit_amid_compiling_is_an_exit() -> None:
    """The compiler is native code that comes back to the interpreter; it must still be there."""
    command = [sys.executable, "-c", EXIT]

    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603 (our own)

    assert (ended.returncode, ended.stderr) == (0, b"")

"""Compiled grammars: made on a thread of their own, one at a time, and kept for the next request.

Who asks for what is being compiled already waits for the same. State: the table of grammars, in
order of last use. Owner: the thread that asks, which is always the same one.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor, Future
from hashlib import blake2b

import msgspec

from semantic_actors.domain.errors import InvalidRequest, Overloaded
from semantic_actors.domain.limits import (
    MAX_GRAMMAR_BYTES,
    MAX_GRAMMARS,
    MAX_GRAMMARS_IN_HAND,
    MAX_TOOL_SCHEMA_BYTES,
)
from semantic_actors.domain.request import Generation
from semantic_actors.text.grammar_compiler import Refused
from semantic_actors.text.grammar_guide import PhasedGrammar
from semantic_actors.text.grammar_spec import GrammarSpec, grammar_spec

Outcome = PhasedGrammar | Refused | None
_Place = tuple[Future[Outcome], int]


class PendingGrammar(msgspec.Struct, frozen=True):
    """A grammar that is on its way. Without a `field` the answer can do without it."""

    coming: Future[Outcome]
    field: str | None
    output: str | None

    def taken(self, outcome: Outcome, *, thinking: bool) -> PhasedGrammar | None:
        """Return the grammar of an answer that begins inside a thought or not.

        Raises `InvalidRequest`.
        """
        match outcome:
            case Refused(reason=reason, output=output):
                field = self.output if output else "tool_choice"
                msg = f"{field}: this cannot be served: {reason}"
                raise InvalidRequest(msg, field=field)
            case None:
                return None
            case grammar:
                return grammar.inside() if thinking else grammar


class GrammarCache:
    """Grammars by what they were made of."""

    def __init__(
        self, compile_: Callable[[GrammarSpec], Outcome], start: Callable[[], Executor]
    ) -> None:
        """Compile on the thread that `start` starts, which is not before one is needed."""
        self._compile = compile_
        self._start = start
        self._thread: Executor | None = None
        self._known: OrderedDict[bytes, _Place] = OrderedDict()
        self._size = 0

    def ask(self, generation: Generation) -> PendingGrammar | None:
        """Ask for the grammar of an answer; None if it needs none. Does not wait.

        Raises `InvalidRequest`, and `Overloaded` where too many are in hand.
        """
        wanted = grammar_spec(generation)
        if wanted is None:
            return None
        output = generation.output.field if generation.output is not None else None
        choice = "tool_choice" if wanted.mode == "required" else None
        return PendingGrammar(self._find(wanted), field=choice or output, output=output)

    def _find(self, wanted: GrammarSpec) -> Future[Outcome]:
        text = msgspec.json.encode(wanted)
        key = blake2b(text, digest_size=16).digest()
        place = self._known.get(key)
        if place is not None and not _broken(place[0]):
            self._known.move_to_end(key)
            return place[0]
        waiting = sum(not coming.done() for coming, _ in self._known.values())
        if waiting >= MAX_GRAMMARS_IN_HAND:
            msg = f"{waiting} grammars are being compiled already"
            raise Overloaded(msg, retry_after_s=1)
        if self._thread is None:
            self._thread = self._start()
        coming = self._thread.submit(self._compile, wanted)
        self._keep(key, (coming, min(len(text), MAX_TOOL_SCHEMA_BYTES)))
        return coming

    def _keep(self, key: bytes, place: _Place) -> None:
        """Keep a grammar; one that leaves for it is still finished for who waits."""
        self._size += place[1] - self._known.pop(key, (None, 0))[1]
        self._known[key] = place
        while len(self._known) > MAX_GRAMMARS or self._size > MAX_GRAMMAR_BYTES:
            _, (_, size) = self._known.popitem(last=False)
            self._size -= size


def _broken(coming: Future[Outcome]) -> bool:
    """Whether it ended in what is no outcome: the next one may have more luck."""
    return coming.done() and (coming.cancelled() or coming.exception() is not None)

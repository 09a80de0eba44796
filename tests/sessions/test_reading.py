"""What a request waits for before it is begun, and for how long."""

import asyncio
from concurrent.futures import Future
from typing import cast

import pytest

from semantic_actors.domain.errors import InvalidRequest, Overloaded
from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import TurnId
from semantic_actors.domain.request import Generation, TextPrompt
from semantic_actors.sessions.reading import Reader
from semantic_actors.sessions.transcript import Transcript
from semantic_actors.text import Codec, PendingGrammar
from semantic_actors.text.grammar_guide import PhasedGrammar, TokenBytes
from tests.sessions.rig import AtOnce, LetterCodec
from tests.sim.loop import simulated

GRAMMAR = PhasedGrammar(TokenBytes([b"a"], (), frozenset({0})), ())
FIELD = "output_config.format.schema"


class Wanting(LetterCodec):
    """Every answer has a grammar, which comes when the test says so."""

    def __init__(self, field: str | None) -> None:
        self.asked = PendingGrammar(Future(), field, field)

    def grammar(self, generation: Generation) -> PendingGrammar:  # type: ignore[override] # noqa: ARG002
        """Promise one."""
        return self.asked


async def _read(codec: Wanting) -> Grammar | None:
    reader = Reader(cast("Codec", codec), AtOnce(), Transcript())
    rendered = await reader.read(TurnId(1), Generation(TextPrompt("abc")), ())
    assert rendered.tokens == tuple(map(ord, "abc"))
    return rendered.grammar


@simulated
async def test_a_prompt_waits_for_its_grammar() -> None:
    """Which comes a little later."""
    codec = Wanting(FIELD)
    asyncio.get_running_loop().call_later(0.5, codec.asked.coming.set_result, GRAMMAR)
    assert await _read(codec) is GRAMMAR


@simulated
async def test_a_grammar_that_takes_too_long_is_refused() -> None:
    """It costs its request an error that names the field."""
    codec = Wanting(FIELD)
    codec.asked.coming.set_running_or_notify_cancel()
    with pytest.raises(InvalidRequest, match="within 1 s") as refused:
        await _read(codec)
    assert refused.value.field == FIELD


@simulated
async def test_who_waits_for_the_grammars_of_others_may_come_again() -> None:
    """The schema may be well; it was not its turn."""
    with pytest.raises(Overloaded):
        await _read(Wanting(FIELD))


@simulated
async def test_an_answer_that_can_do_without_goes_without() -> None:
    """Calls that may come are not worth a refusal."""
    assert await _read(Wanting(None)) is None


@simulated
@pytest.mark.parametrize("field", [FIELD, None])
async def test_a_compiler_that_breaks_breaks_what_cannot_do_without(field: str | None) -> None:
    """It is told as the failure it is; calls that may come are not worth one."""
    codec = Wanting(field)
    codec.asked.coming.set_exception(RuntimeError("panicked"))
    if field is None:
        assert await _read(codec) is None
    else:
        with pytest.raises(RuntimeError, match="panicked"):
            await _read(codec)


@simulated
async def test_who_leaves_takes_no_grammar_from_others() -> None:
    """The one that is being compiled may be waited for by somebody else."""
    codec = Wanting(FIELD)
    leaving = asyncio.ensure_future(_read(codec))
    staying = asyncio.ensure_future(_read(codec))
    await asyncio.sleep(0.1)
    leaving.cancel()
    await asyncio.wait({leaving})
    codec.asked.coming.set_result(GRAMMAR)
    assert await staying is GRAMMAR

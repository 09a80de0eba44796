"""How a session reads a prompt: into token ids, and into a grammar if its answer is to have one.

The text thread tokenizes while the grammar is compiled elsewhere. That is not waited for for long.
"""

import asyncio
from array import array
from concurrent.futures import Executor

import msgspec
import structlog

from semantic_actors.domain.errors import InvalidRequest, Overloaded
from semantic_actors.domain.grammar import Grammar
from semantic_actors.domain.ids import TokenIds, TurnId
from semantic_actors.domain.limits import GRAMMAR_DEADLINE_S
from semantic_actors.domain.request import ChatPrompt, Generation, TokenPrompt
from semantic_actors.sessions.messages import Rendered
from semantic_actors.sessions.misses import expect
from semantic_actors.sessions.paths import Path, outline
from semantic_actors.sessions.transcript import Transcript, digests
from semantic_actors.text import Codec, PendingGrammar

log = structlog.get_logger(__name__)


class Reader:
    """Reads the prompts of one session; of its transcript it makes single look-ups only."""

    def __init__(self, codec: Codec, text_thread: Executor, transcript: Transcript) -> None:
        self._codec = codec
        self._text_thread = text_thread
        self._transcript = transcript

    async def read(self, turn: TurnId, generation: Generation, known: tuple[Path, ...]) -> Rendered:
        """Return what the turn needs of its request. Raises a `Rejected`."""
        loop = asyncio.get_running_loop()
        asked, rendered = await loop.run_in_executor(
            self._text_thread, self._tokenized, turn, generation, known
        )
        if asked is None:
            return rendered
        grammar = await _compiled(asked, thinking=rendered.thinking)
        return msgspec.structs.replace(rendered, grammar=grammar)

    def _tokenized(
        self, turn: TurnId, generation: Generation, known: tuple[Path, ...]
    ) -> tuple[PendingGrammar | None, Rendered]:
        asked, prompt = self._codec.grammar(generation), generation.prompt
        digest, replay = b"", dict[int, TokenIds]()
        if isinstance(prompt, ChatPrompt):
            chain = digests(prompt.messages)
            digest, replay = chain[-1], self._transcript.replay(chain)
            tokens = self._codec.render(prompt, replay)
        elif isinstance(prompt, TokenPrompt):
            tokens = self._codec.check(prompt.tokens)
        else:
            tokens = self._codec.encode_text(prompt.text)
        ids, answers = array("I", tokens), replay.values()
        expected = expect(ids, outline(prompt), known, answers, self._codec.decode)
        thinking = self._codec.opens_thought(tokens)
        return asked, Rendered(turn, tokens, digest, expected, thinking)


async def _compiled(asked: PendingGrammar, *, thinking: bool) -> Grammar | None:
    """Wait for a grammar, if not for long. Where that will do, an answer goes without.

    Raises a `Rejected`, or what broke the compiler.
    """
    coming = asyncio.wrap_future(asked.coming)
    done, _ = await asyncio.wait({coming}, timeout=GRAMMAR_DEADLINE_S)
    if asked.field is None and (not done or coming.exception() is not None):
        log.warning("answer_not_guided", reason="failed" if done else "late")
        return None
    if done:
        return asked.taken(coming.result(), thinking=thinking)
    if asked.coming.running():
        msg = f"{asked.field}: it was not compiled within {GRAMMAR_DEADLINE_S:.0f} s"
        raise InvalidRequest(msg, field=asked.field)
    msg = f"grammars of others were compiled for {GRAMMAR_DEADLINE_S:.0f} s"
    raise Overloaded(msg, retry_after_s=1)

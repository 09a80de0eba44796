"""Everything the house knows about the served model's text.

A prompt becomes token ids here, and drawn tokens become text again. One law governs prompts: only
the template writes control tokens. Text that a client wrote is encoded as text, whatever it
spells, in messages, tool results, arguments, names and schemas alike.

How: the conversation is rendered once as it is. If a client's string spells a control token that
occurs in the result, or could form one with its neighbours, it is rendered again with those
strings between marks; control tokens that touch a mark are then the client's. The first rendering
gives the text (templates trim, and would trim differently around marks), the second only says
whose each control token is. Where the two do not show the same control tokens (the template
looked at the text and decided differently), the second gives the text as well.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import structlog
from mlx_lm import tokenizer_utils
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Tokenizer

from semantic_actors.actors import OwnThread
from semantic_actors.domain.errors import InvalidRequest, ModelLoadFailed
from semantic_actors.domain.ids import TokenIds
from semantic_actors.domain.request import ChatPrompt, Generation
from semantic_actors.domain.stream import DrawnLogprob, TokenLogprob
from semantic_actors.text.detokenizer import Detokenizer
from semantic_actors.text.grammar_cache import GrammarCache, PendingGrammar
from semantic_actors.text.grammar_compiler import GRAMMAR_STACK_BYTES, GrammarCompiler
from semantic_actors.text.hermes import HERMES
from semantic_actors.text.marks import Guard
from semantic_actors.text.output import OutputDecoder
from semantic_actors.text.spelling import learn_spelling
from semantic_actors.text.splitter import Splitter, ThoughtMarks
from semantic_actors.text.stops import StopMatcher
from semantic_actors.text.template import ChatTemplate, Draft, as_it_is, tool_dicts
from semantic_actors.text.tool_calls import CallReader, Notation
from semantic_actors.text.vocabulary import Occurrence, Vocabulary

_log = structlog.get_logger(__name__)

_PROBE = "The  quick\n\n<brown> fox, 1234 jumps…\tover: \u00e9\u4e2d\U0001f98a"
"""Encoded at load by transformers and by us: a tokenizer with steps in Python would differ."""

_OPENING_TOKENS = 64
"""Tokens in which a template opens an answer; what is opened before is not the answer's."""

_NOTHING: Mapping[int, TokenIds] = MappingProxyType({})


class Codec:
    """Prompts to token ids and tokens to text, for one model.

    Never changes after load: one worker thread may render while decoders, each of which belongs
    to one answer, are used on the loop. Methods are synchronous; rendering is work for a worker.
    """

    def __init__(self, wrapper: TokenizerWrapper, eos_ids: frozenset[int]) -> None:
        """Take a loaded tokenizer; use `load`. Raises what a broken template raises."""
        self.eos_ids = eos_ids
        self._vocabulary = Vocabulary(_backend(wrapper))
        self.vocabulary = self._vocabulary.size
        self._wrapper = wrapper
        self._template = ChatTemplate(wrapper, self._vocabulary)
        self._notation = _notation(wrapper, self._template)
        self._thoughts: ThoughtMarks | None = None
        if wrapper.has_thinking:
            self._thoughts = ThoughtMarks(wrapper.think_start, wrapper.think_end)
        self._structure = tuple(wrapper.structural_markers)
        self._hidden = {**self._vocabulary.special, **dict.fromkeys(eos_ids, "")}
        compiler = GrammarCompiler(self._vocabulary, eos_ids, self._notation, self._thoughts)
        self._grammars = GrammarCache(
            compiler.compile, lambda: OwnThread("grammar", stack_bytes=GRAMMAR_STACK_BYTES)
        )

    @classmethod
    def load(cls, model_folder: str | Path) -> "Codec":
        """Load tokenizer and template of a model folder. Raises `ModelLoadFailed`."""
        folder = Path(model_folder)
        if not folder.is_dir():
            msg = f"{folder} is not a folder with a model"
            raise ModelLoadFailed(msg)
        offline = {"trust_remote_code": False, "local_files_only": True}
        try:
            wrapper = tokenizer_utils.load(folder, offline, eos_token_ids=_eos_ids(folder))
            codec = cls(wrapper, frozenset(wrapper.eos_token_ids))
        except Exception as error:  # the Rust library raises bare `Exception`
            msg = f"the tokenizer or chat template of {folder} cannot be used: {error}"
            raise ModelLoadFailed(msg) from error
        theirs = tuple(wrapper.encode(_PROBE, add_special_tokens=False))
        if codec._vocabulary.splice((_PROBE,)) != theirs:
            _log.warning("tokenizer_differs", folder=str(folder))
        return codec

    def render(self, prompt: ChatPrompt, replay: Mapping[int, TokenIds] = _NOTHING) -> TokenIds:
        """Return the canonical tokens of the conversation, up to where the answer begins.

        `replay[i]` are the `opening` of the prompt that the assistant's message `i` answered, and
        the tokens that the model drew, without the one that ended it. They stand for its text and
        calls as they are, so that the next turn appends to the last. Raises a `Rejected`.
        """
        draft = self._template.draft(prompt, {i for i in replay if _is_assistant(prompt, i)})
        text, controls = self._attributed(draft)
        known: list[tuple[int, int, TokenIds]]
        known = [(found.start, found.end, (found.token,)) for found in controls]
        slots = draft.marks.slots.finditer(text)
        known += [(*slot.span(), replay[int(slot[1])]) for slot in slots]
        pieces: list[str | TokenIds] = []
        done = 0
        for start, end, ids in sorted(known):
            pieces += [text[done:start], ids]
            done = end
        return self._vocabulary.splice([*pieces, text[done:]])

    def encode_text(self, text: str) -> TokenIds:
        """Return the tokens of a text prompt, after BOS if the tokenizer adds one."""
        return self._vocabulary.encode_text(text)

    def check(self, tokens: TokenIds) -> TokenIds:
        """Return a prompt of token ids as it is. Raises `InvalidRequest` for an unknown one."""
        known = self._vocabulary.tokenizer.id_to_token
        for token in sorted({*tokens}, reverse=True):
            if known(token) is None:
                msg = f"prompt: token {token} is not one of the {self.vocabulary} that there are"
                raise InvalidRequest(msg, field="prompt")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, control tokens spelled out: for people, who compare."""
        return str(self._vocabulary.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def logprobs(self, chosen: float, token: int, top: Iterable[tuple[int, float]]) -> DrawnLogprob:
        """Spell tokens and their log-probabilities in bytes."""
        spelled = self._vocabulary.spelled
        likeliest = tuple(TokenLogprob(spelled(one), value) for one, value in top)
        return DrawnLogprob(TokenLogprob(spelled(token), chosen), likeliest)

    def opening(self, prompt: TokenIds) -> TokenIds:
        """Return the end of a prompt that belongs to its answer: to replay it takes both."""
        return self._template.openings.apart(prompt)

    def grammar(self, generation: Generation) -> PendingGrammar | None:
        """Ask for the grammar of an answer; None if it needs none. Only the text thread asks.

        It is compiled on a thread of its own meanwhile. Raises a `Rejected`.
        """
        return self._grammars.ask(generation)

    def opens_thought(self, tokens: TokenIds) -> bool:
        """Tell whether a prompt ends inside a thought, so that the answer begins there."""
        wrapper, end = self._wrapper, tokens[-_OPENING_TOKENS:]
        if not wrapper.has_thinking:
            return False
        return bool(wrapper.rfind_think_start(end) > wrapper.rfind_think_end(end))

    def decoder(
        self, generation: Generation, *, thinking: bool = False, guided: bool = False
    ) -> OutputDecoder:
        """Return a decoder for one answer, which begins inside a thought or not.

        Calls are looked for if tools are offered, unless none may be called: then what would have
        marked them is hidden. `guided`: a grammar sees to it that what begins as a call is one.
        """
        vocabulary = self._vocabulary
        detokenizer = Detokenizer(vocabulary.tokenizer, byte_level=vocabulary.byte_level)
        splitter = self._splitter(generation, thinking=thinking, guided=guided)
        return OutputDecoder(detokenizer, self._hidden, StopMatcher(generation.stop), splitter)

    def _splitter(self, generation: Generation, *, thinking: bool, guided: bool) -> Splitter:
        prompt, notation = generation.prompt, self._notation
        if not isinstance(prompt, ChatPrompt):
            return Splitter()
        calls, hidden = None, self._structure
        if notation is not None and prompt.callable:
            if generation.tool_choice.mode == "none":
                hidden = (*hidden, notation.start, notation.end)
            else:
                calls = CallReader(notation, tool_dicts(prompt.callable, as_it_is))
        return Splitter(
            self._thoughts,
            calls,
            hidden=hidden,
            thinking=thinking,
            guided=guided,
            document=generation.output is not None,
        )

    def _attributed(self, draft: Draft) -> tuple[str, list[Occurrence]]:
        """Return the text to encode, and the control tokens in it that are the template's."""
        controls = self._vocabulary.scan(draft.text)
        spelled = {_spelled(draft.text, found) for found in controls}
        sealed = self._template.guarded(draft, Guard(draft.marks, spelled))
        if sealed is None:
            return draft.text, controls
        marked = draft.marks.take_out(sealed)
        shown = self._vocabulary.scan(marked.text)
        theirs = [
            _spelled(marked.text, found) in spelled and not marked.covers(found) for found in shown
        ]
        if [found.token for found in shown] == [found.token for found in controls]:
            return draft.text, list(compress(controls, theirs))
        _log.info("template_wavered", controls=len(controls), shown=len(shown))
        return marked.text, list(compress(shown, theirs))


def _notation(wrapper: TokenizerWrapper, template: ChatTemplate) -> Notation | None:
    """Return how the model writes calls, and how its template spells them if that can be told."""
    if not template.speaks:
        return None
    found = HERMES
    if wrapper.has_tool_calling and (template.shows_tools or template.shows_calls):
        found = Notation(wrapper.tool_call_start, wrapper.tool_call_end, wrapper.tool_parser)
    spelling = learn_spelling(found, lambda prompt: template.draft(prompt, ()).text)
    return msgspec.structs.replace(found, spelling=spelling or found.spelling)


def _spelled(text: str, found: Occurrence) -> str:
    """Return how a control token is spelled: full-width letters may be normalized to one."""
    return text[found.start : found.end].strip()


def _is_assistant(prompt: ChatPrompt, index: int) -> bool:
    return 0 <= index < len(prompt.messages) and prompt.messages[index].role == "assistant"


def _backend(wrapper: TokenizerWrapper) -> Tokenizer:
    backend = getattr(wrapper, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        msg = "there is no tokenizer.json, the only kind that is served"
        raise TypeError(msg)
    return backend


def _eos_ids(folder: Path) -> Any:
    """Read the ids that end a turn where mlx-lm's loader does: generation_config goes first."""
    found = None
    for name in ("config.json", "generation_config.json"):
        file = folder / name
        if file.exists():
            found = json.loads(file.read_text("utf-8")).get("eos_token_id") or found
    return found

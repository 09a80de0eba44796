"""The real daemon over a model that follows a script: `python -m tests.clients.scripted serve ...`.

HTTP, sessions, scheduler, caches and store are the real ones, and so are tokenizer and template,
the pocket model's. Only which token comes next is read from the prompt instead of computed, and a
cache holds tokens instead of arrays. Each answer's script, turn and prompt length go to the log.
"""

import re
import sys
import time
from typing import Final

import msgspec
import structlog
from tokenizers import Tokenizer

from semantic_actors.daemon.main import main
from semantic_actors.daemon.settings import Settings
from semantic_actors.domain.ids import TokenIds
from semantic_actors.engine import Backend, blas, pocket_path
from semantic_actors.engine.fake import FakeBackend
from tests.clients.script import Message, next_line

CONTEXT: Final = 65_536
TOKEN_S: Final = 0.004
"""Seconds that each token takes: a model so fast that nobody is beside another is no test."""

BEGIN: Final = "<|im_start|>"
END: Final = "<|im_end|>"

_KEPT: Final = 64
"""Answers that are remembered while they are being said."""

_log = structlog.get_logger(__name__)


class Teller:
    """Draws the tokens of the answers that the scripts in the prompts ask for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._begin = tokenizer.token_to_id(BEGIN)
        self._head = len(self._encode(f"{BEGIN}assistant\n"))
        self._answers: dict[int, TokenIds] = {}

    def __call__(self, tokens: TokenIds) -> int:
        """Return the token after `tokens`, which hold a prompt and an answer so far.

        After the end comes the end: a step may be under way when it is noticed.
        """
        last = len(tokens) - 1 - tokens[::-1].index(self._begin)
        prompt = last + self._head
        key = hash(tokens[:prompt])
        if key not in self._answers:
            self._answers[key] = self._answer(tokens[:last], prompt)
            if len(self._answers) > _KEPT:
                del self._answers[next(iter(self._answers))]
        time.sleep(TOKEN_S)
        answer = self._answers[key]
        return answer[min(len(tokens) - prompt, len(answer) - 1)]

    def _answer(self, history: TokenIds, prompt: int) -> TokenIds:
        text = self._tokenizer.decode(history, skip_special_tokens=False)
        turns = re.findall(rf"{re.escape(BEGIN)}(\w+)\n(.*?){re.escape(END)}", text, re.DOTALL)
        line = next_line([Message(role, content) for role, content in turns])
        _log.info("scripted", label=line.label, turn=line.turn, prompt_tokens=prompt)
        return self._encode(line.text + END)

    def _encode(self, text: str) -> TokenIds:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)


def scripted_backend(context: int) -> Backend:
    """Make the model: the pocket model's tokenizer, and nothing else of it."""
    folder = pocket_path()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend = FakeBackend(
        vocabulary=tokenizer.get_vocab_size(), context=context, think=Teller(tokenizer)
    )
    backend.info = msgspec.structs.replace(backend.info, folder=str(folder))
    return backend


def _run(arguments: list[str]) -> int:
    blas.preload()
    from semantic_actors.daemon import serve  # noqa: PLC0415 (BLAS comes before mlx)

    def open_scripted(settings: Settings) -> Backend:
        return scripted_backend(settings.model.context or CONTEXT)

    serve.open_model = open_scripted
    return main(arguments)


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))

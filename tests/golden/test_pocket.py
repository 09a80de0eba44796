"""Greedy output of the whole batch loop against `mlx_lm`'s own, token for token.

The prompts are seeded dialogues in the pocket model's own words, of 20 to some 700 tokens. Ours run
alone and in batches of 2, 4 and 8, with reuse on the third turn; `mlx_lm.generate_step` runs each
prompt from nothing. Rounding differs with the shape of a chunk, so a first difference is allowed
where the reference's two best logits are closer than `NEAR_TIE`, on at most one prompt in a
hundred, and is printed.
"""

import random
from collections import deque
from functools import cache
from typing import Any

import pytest

from semantic_actors.domain.ids import LOCAL, TokenIds
from semantic_actors.domain.request import GREEDY, ChatMessage, ChatPrompt
from semantic_actors.engine import blas, pocket_path
from semantic_actors.engine.protocol import Collect
from semantic_actors.kv import Pool
from semantic_actors.scheduling.batch import Batch, BatchLimits
from semantic_actors.scheduling.notices import AdmittedNotice, TokenNotice
from semantic_actors.scheduling.sequence import Sequence, new_sequence_id

blas.preload()

import mlx.core as mx  # noqa: E402 (BLAS comes first)
from mlx_lm.generate import generate_step  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402

from semantic_actors.engine.mlx_backend import MlxBackend, open_backend  # noqa: E402
from semantic_actors.text import Codec  # noqa: E402

pytestmark = pytest.mark.slow

PROMPTS = 50
ANSWER_TOKENS = 24
NEAR_TIE = 1e-3
ALLOWED_SHARE = 0.01

KEYS = ("access key", "harbor code", "garden pin", "team color", "lucky number", "dog name")
FILLERS = (
    "Hello!",
    "Thanks!",
    "Count to 9.",
    "Repeat after me: the quick brown fox",
    "How are you?",
)


@cache
def backend() -> MlxBackend:
    """The pocket model, loaded once."""
    return open_backend(str(pocket_path()))


@cache
def codec() -> Codec:
    """Its text."""
    return Codec.load(str(pocket_path()))


def dialogue(seed: int) -> tuple[ChatMessage, ...]:
    """A conversation that ends with a question about one of its facts."""
    rng = random.Random(seed)
    facts = {key: str(rng.randint(1_000, 9_999)) for key in rng.sample(KEYS, 3)}
    turns = [(f"My {key} is {value}.", "Noted.") for key, value in facts.items()]
    turns += [(rng.choice(FILLERS), "Okay.") for _ in range(rng.randint(0, 30))]
    rng.shuffle(turns)
    messages = [
        message
        for said, answered in turns
        for message in (ChatMessage("user", said), ChatMessage("assistant", answered))
    ]
    question = f"What is my {rng.choice(list(facts))}?"
    return (*messages, ChatMessage("user", question))


def sequence(tokens: TokenIds) -> Sequence:
    """A greedy submission."""
    return Sequence(
        id=new_sequence_id(),
        principal=LOCAL,
        tokens=list(tokens),
        prompt_tokens=len(tokens),
        max_tokens=ANSWER_TOKENS,
        stop_ids=codec().eos_ids,
        sampling=GREEDY,
    )


class Loop:
    """The batch and the engine, run by hand; caches are kept from one `answers` to the next."""

    def __init__(self) -> None:
        backend().reset()
        info = backend().info
        limits = BatchLimits(
            vocabulary=info.vocabulary,
            context=info.context,
            max_running=8,
            max_waiting=64,
            prefill_tokens=256,
        )
        self.batch = Batch(Pool(2**31), info.footprint, limits)
        self.cached = 0

    def answers(self, prompts: list[TokenIds]) -> list[TokenIds]:
        """Answer all prompts in one batch."""
        sequences = [sequence(tokens) for tokens in prompts]
        for one in sequences:
            self.batch.submit(one)
        got: dict[int, list[int]] = {one.id: [] for one in sequences}
        under_way: deque[Collect] = deque()
        while self._launch(under_way):
            for notice in self.batch.apply(under_way.popleft()()):
                assert isinstance(notice, TokenNotice), notice
                assert notice.token is not None
                got[notice.sequence].append(notice.token)
        return [tuple(got[one.id]) for one in sequences]

    def _launch(self, under_way: deque[Collect]) -> bool:
        """Keep the engine ahead, as the scheduler does; False once nothing is under way."""
        while self.batch.ready:
            plan, notices = self.batch.next_plan()
            for notice in notices:
                assert isinstance(notice, AdmittedNotice), notice
                self.cached += notice.cached
            if plan is None:
                break
            under_way.append(backend().launch(plan))
        return bool(under_way)


@cache
def reference(tokens: TokenIds) -> TokenIds:
    """What `mlx_lm` generates, one prompt at a time."""
    answer: list[int] = []
    model: Any = backend()._forward._model
    for token, _ in generate_step(mx.array(tokens), model, max_tokens=ANSWER_TOKENS):
        answer.append(int(token))
        if token in codec().eos_ids:
            break
    return tuple(answer)


def gap(tokens: TokenIds) -> float:
    """Distance of the reference's two best logits after `tokens`."""
    model: Any = backend()._forward._model
    logits = model(mx.array([tokens]), cache=make_prompt_cache(model))[0, -1]
    best: Any = mx.sort(logits)[-2:].tolist()
    return float(best[1] - best[0])


def compare(prompts: list[TokenIds], answers: list[TokenIds]) -> None:
    """Fail on any difference that is no near-tie, and on too many of those."""
    ties = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = reference(prompt)
        if answer == expected:
            continue
        pairs = enumerate(zip(answer, expected, strict=False))
        shorter = min(len(answer), len(expected))
        place = next((index for index, (ours, theirs) in pairs if ours != theirs), shorter)
        near = gap((*prompt, *expected[:place]))
        print(f"first difference at token {place}, gap {near:.1e}")  # noqa: T201 (the evidence)
        assert near < NEAR_TIE, (codec().eos_ids, answer, expected)
        ties += 1
    assert ties <= ALLOWED_SHARE * len(prompts), f"{ties} near-ties"


def prompts() -> list[TokenIds]:
    """The first turns."""
    return [codec().render(ChatPrompt(dialogue(seed))) for seed in range(PROMPTS)]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_greedy_output_equals_mlx_lm_token_for_token(size: int) -> None:
    """50 seeded prompts, alone and in batches, on the first turn."""
    loop = Loop()
    wanted = prompts()

    batches = [wanted[start : start + size] for start in range(0, PROMPTS, size)]
    answers = [answer for batch in batches for answer in loop.answers(batch)]

    compare(wanted, answers)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_third_turn_equals_mlx_lm_token_for_token(size: int) -> None:
    """Two turns on, what was fed and generated before is reused, and nothing has changed."""
    loop = Loop()
    histories = [dialogue(seed) for seed in range(PROMPTS)]
    replays: list[dict[int, TokenIds]] = [{} for _ in histories]
    answers: list[TokenIds] = []
    wanted: list[TokenIds] = []
    for turn in range(3):
        wanted = [
            codec().render(ChatPrompt(history), replay)
            for history, replay in zip(histories, replays, strict=True)
        ]
        batches = [wanted[start : start + size] for start in range(0, PROMPTS, size)]
        answers = [answer for batch in batches for answer in loop.answers(batch)]
        for index, answer in enumerate(answers):
            said = tuple(token for token in answer if token not in codec().eos_ids)
            replays[index][len(histories[index])] = said
            histories[index] += (
                ChatMessage("assistant", "answered"),
                ChatMessage("user", KEYS[turn]),
            )

    compare(wanted, answers)
    assert loop.cached > sum(map(len, wanted)), "the later turns reuse most of the earlier ones"

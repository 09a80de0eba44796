"""What the engine makes of a 4-bit model on a CPU, against mlx-lm's own loop.

Both sides run in this process with the same fast BLAS, on the same folder: a 30M llama with random
weights, 4-bit with bfloat16, as most published models are. Exits 1 below the gates.

Run: just bench-cpu
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

from semantic_actors.engine import blas

FOUND = blas.preload()  # before mlx is imported

import mlx.core as mx  # noqa: E402
import mlx_lm  # noqa: E402
from mlx_lm.generate import generate_step  # noqa: E402
from mlx_lm.models import llama  # noqa: E402
from mlx_lm.utils import quantize_model, save_config, save_model  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402

from semantic_actors.domain.ids import CacheId  # noqa: E402
from semantic_actors.domain.request import GREEDY  # noqa: E402
from semantic_actors.engine.mlx_backend import MlxBackend, open_backend  # noqa: E402
from semantic_actors.engine.protocol import Fed, Feed, Plan, Start  # noqa: E402

ROUNDS: Final = 3
PROMPT: Final = tuple(range(1, 97))
DECODED: Final = 16
PREFILL_GATE: Final = 20.0
DECODE_GATE: Final = 5.0

CONFIG: Final = {
    "model_type": "llama",
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "intermediate_size": 1408,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "vocab_size": 8192,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}

Rates = tuple[float, float]
"""Tokens per second in prefill and in decode."""


def build(folder: Path) -> None:
    """Write the model, and a tokenizer that `mlx_lm.load` insists on and nobody uses."""
    model = llama.Model(llama.ModelArgs.from_dict(CONFIG))
    model.set_dtype(mx.bfloat16)
    model, config = quantize_model(model, dict(CONFIG), group_size=64, bits=4)
    save_model(folder, model)
    save_config(config, folder / "config.json")
    vocabulary = {f"w{i}": i for i in range(CONFIG["vocab_size"])}  # type: ignore[call-overload]
    Tokenizer(models.WordLevel(vocabulary, "w0")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def stock(folder: Path) -> Callable[[], Rates]:
    """Load with mlx-lm, run its `generate_step`."""
    model, *_ = mlx_lm.load(str(folder))

    def run() -> Rates:
        began = time.perf_counter()
        steps = generate_step(mx.array(PROMPT), model, max_tokens=DECODED + 1)
        next(steps)
        prompted = time.perf_counter()
        for _ in range(DECODED):
            next(steps)
        return _rates(began, prompted, time.perf_counter())

    return run


def ours(folder: Path) -> Callable[[], Rates]:
    """Load with the engine, run its backend."""
    backend: MlxBackend = open_backend(str(folder))
    ids = count(1)

    def step(cache: CacheId, position: int, tokens: tuple[int, ...]) -> int:
        starts = () if position else (Start(cache),)
        plan = Plan(1, starts=starts, feeds=(Feed(cache, position, tokens, GREEDY),))
        match backend.launch(plan)().results[0]:
            case Fed(token=int(token)):
                return token
            case failed:
                raise RuntimeError(failed)

    def run() -> Rates:
        cache = CacheId(next(ids))
        began = time.perf_counter()
        token = step(cache, 0, PROMPT)
        prompted = time.perf_counter()
        for i in range(DECODED):
            token = step(cache, len(PROMPT) + i, (token,))
        rates = _rates(began, prompted, time.perf_counter())
        backend.launch(Plan(1, drops=(cache,)))()
        return rates

    return run


def _rates(began: float, prompted: float, ended: float) -> Rates:
    return len(PROMPT) / (prompted - began), DECODED / (ended - prompted)


def _median(rounds: list[Rates]) -> Rates:
    prefill, decode = (statistics.median(column) for column in zip(*rounds, strict=True))
    return prefill, decode


def main() -> int:
    """Measure in alternating rounds, print a table, return the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        sides = {"mlx-lm": stock(folder), "engine": ours(folder)}
        rounds = [{side: run() for side, run in sides.items()} for _ in range(ROUNDS)]
    medians = {side: _median([one[side] for one in rounds]) for side in sides}
    gains = [a / b for a, b in zip(medians["engine"], medians["mlx-lm"], strict=True)]
    passed = gains[0] >= PREFILL_GATE and gains[1] >= DECODE_GATE
    print(FOUND)
    print(f"{'tokens/s':10}{'prefill':>10}{'decode':>10}")
    for side, (prefill, decode) in medians.items():
        print(f"{side:10}{prefill:>10.1f}{decode:>10.1f}")
    print(f"{'gain':10}{gains[0]:>9.0f}x{gains[1]:>9.1f}x")
    print(f"gates: {PREFILL_GATE:.0f}x, {DECODE_GATE:.0f}x:", "ok" if passed else "MISSED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

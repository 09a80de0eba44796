"""Tiny models with random weights, one for each model module of mlx-lm.

`families.json` holds constructor arguments by module name; sizes are such that a model builds in
milliseconds, its sliding windows are 32 tokens wide, and its vocabulary is 320 unless it insists.
"""

import importlib
import json
import random
from pathlib import Path
from typing import Any

from semantic_actors.engine import blas

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx.utils import tree_flatten, tree_unflatten  # noqa: E402
from mlx_lm.utils import quantize_model, save_config, save_model  # noqa: E402

from semantic_actors.domain.ids import CacheId, TokenIds  # noqa: E402
from semantic_actors.engine import loading, mlx_backend  # noqa: E402
from semantic_actors.engine.protocol import CollectLast  # noqa: E402

ARGUMENTS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("families.json").read_text()
)
WORDS = 320


def build(family: str, seed: int = 1) -> Any:
    """Build a model of `family`, the same for the same seed."""
    module = importlib.import_module(f"mlx_lm.models.{family}")
    mx.random.seed(seed)
    model = module.Model(module.ModelArgs.from_dict(ARGUMENTS[family]))
    uneven = [
        (name, (array + 0.05 * mx.random.normal(array.shape)).astype(array.dtype))
        for name, array in tree_flatten(model.parameters())
        if mx.issubdtype(array.dtype, mx.floating) and array.size > 1 and _constant(array)
    ]
    model.update(tree_unflatten(uneven))  # zeros and ones would hide mistakes
    model.eval()
    mx.eval(model.parameters())
    return model


def backend(family: str, context: int = 4096) -> mlx_backend.MlxBackend:
    """Make a backend over a tiny model."""
    return mlx_backend.MlxBackend(
        loading.LoadedModel(
            model=build(family),
            name=family,
            family=family,
            context=context,
            weights_bytes=0,
            device="cpu",
            folder="",
            notes=(),
            identity=family,
        )
    )


def save(folder: Path, *, bits: int | None = None, mode: str = "affine") -> Path:
    """Write a tiny llama in mlx-lm's format, bfloat16, quantized to `bits` if given."""
    model, config = build("llama"), dict(ARGUMENTS["llama"])
    model.set_dtype(mx.bfloat16)
    if bits is not None:
        model, config = quantize_model(model, config, group_size=32, bits=bits, mode=mode)
    save_model(folder, model)
    save_config(config, folder / "config.json")
    return folder


def words(seed: int, count: int) -> TokenIds:
    """Random token ids."""
    chance = random.Random(seed)
    return tuple(chance.randrange(WORDS) for _ in range(count))


class Recorder:
    """A forward that remembers each row of logits something was drawn from, float32."""

    def __init__(self, backend: mlx_backend.MlxBackend) -> None:
        self._backend = backend
        self._forward: Any = backend._forward
        self._last: dict[int, mx.array] = {}
        self.rows: list[mx.array] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._forward, name)

    def __call__(self, parts: Any, ids: mx.array, picked: Any, settle: CollectLast) -> mx.array:
        """Answer as the forward does."""
        logits: mx.array = self._forward(parts, ids, picked, settle)
        if picked:
            rows = list(logits.astype(mx.float32))
            self._last = {id(parts[i][0]): row for i, row in zip(picked, rows, strict=True)}
            self.rows += rows
        return logits

    def row(self, cache: CacheId) -> mx.array:
        """Return the row that `cache` was drawn from in the last step."""
        return self._last[id(self._backend._held[cache].past)]


def record(backend: mlx_backend.MlxBackend) -> Recorder:
    """Put a recorder between `backend` and its model."""
    recorder = Recorder(backend)
    backend._forward = recorder  # type: ignore[assignment]
    return recorder


def apart(rows: list[mx.array], others: list[mx.array]) -> float:
    """Largest difference between rows of logits, relative to their scale."""
    mine, theirs = mx.stack(rows), mx.stack(others)
    gap = mx.where(mine == theirs, 0.0, mx.abs(mine - theirs))  # a masked vocabulary is infinite
    scale = mx.max(mx.where(mx.isinf(theirs), 0.0, mx.abs(theirs)))
    apart: Any = (mx.max(gap) / mx.maximum(scale, 1.0)).item()
    return float(apart)


def _constant(array: mx.array) -> bool:
    return bool(mx.all(array == array.reshape(-1)[0]).item())

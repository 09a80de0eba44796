"""From a folder or a hub id to a model in memory, ready to run on this machine.

Runs on the engine thread. It knows nothing of tokenizers: ids go in, ids come out.

Why weights are widened on a CPU: mlx multiplies only float32 through BLAS. A 29M llama reads 1078
tokens a second in float32, 90 in bfloat16, and 5 in the usual 4-bit bfloat16.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import mlx.core as mx
import psutil
from huggingface_hub import constants as hub
from mlx.utils import tree_flatten
from mlx_lm.utils import _download, dequantize_model, load_adapters, load_model

from semantic_actors.domain.errors import ModelLoadFailed
from semantic_actors.engine import blas
from semantic_actors.engine.faults import describe
from semantic_actors.engine.identity import identity

Weights = Literal["auto", "as-is", "float32"]

DEFAULT_CONTEXT: Final = 32_768
"""Tokens a sequence may hold where the model names no limit (recurrent ones do not)."""

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
    "model_max_length",
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run: ids `(1, n)` and a cache in, logits `(1, n, vocabulary)` out."""

    model: Any  # an mlx-lm module; they share no typed base
    name: str
    family: str
    context: int
    weights_bytes: int
    device: str
    folder: str
    notes: tuple[str, ...]
    identity: str


def load(
    model: str,
    adapter: str | None = None,
    weights: Weights = "auto",
    context: int | None = None,
    memo: Path | None = None,
) -> LoadedModel:
    """Load `model`, a folder in mlx-lm's format or a hub id. Raises `ModelLoadFailed`.

    `context` caps the model's own limit, in tokens; `memo` is that of `identity`. On a CPU `auto`
    weights become float32 if that takes no more than half of the memory available.
    """
    folder = _locate(model)
    with _offline(), told(f"{model} cannot be loaded"):
        module, config = load_model(folder, lazy=True)
    if adapter is not None:
        _apply_adapter(module, adapter)
    note = _widen(module, weights)
    with told(f"the weights of {model} cannot be read"):
        module.eval()
        mx.eval(module.parameters())
    return LoadedModel(
        model=module,
        name=model,
        family=str(config["model_type"]),
        context=_context(config, context),
        weights_bytes=_bytes(module),
        folder=str(folder),
        device=str(mx.default_device().type).rpartition(".")[2],
        notes=(blas.preload(), note),
        identity=identity(module, folder, adapter, memo),
    )


def _locate(model: str) -> Path:
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _checked(folder)
    if folder.exists():
        msg = f"{model} is a file; give the folder that holds config.json"
        raise ModelLoadFailed(msg)
    if not _HUB_ID.fullmatch(model) or model.startswith("."):
        msg = f"there is no folder {model}, and it is not a hub id (owner/name)"
        raise ModelLoadFailed(msg)
    advice = f"there is no folder {model}, and the hub does not give it (check name and network)"
    with told(advice):
        return _checked(Path(_download(model)))


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        msg = f"{folder} has no config.json; give a model folder in mlx-lm's format"
        raise ModelLoadFailed(msg)
    if not any(folder.glob("model*.safetensors")):
        msg = f"{folder} has no model*.safetensors; make them with `mlx_lm.convert`"
        raise ModelLoadFailed(msg)
    with told(f"{folder}/config.json cannot be read"):
        config = json.loads((folder / "config.json").read_text())
    if not isinstance(config, dict) or "model_type" not in config:
        msg = f"{folder}/config.json names no model_type"
        raise ModelLoadFailed(msg)
    return folder


def _apply_adapter(module: Any, adapter: str) -> None:
    if not (Path(adapter) / "adapter_config.json").is_file():
        msg = f"{adapter} has no adapter_config.json; give an adapter folder in mlx-lm's format"
        raise ModelLoadFailed(msg)
    with told(f"the adapter {adapter} does not fit the model"):
        load_adapters(module, adapter)


def _widen(module: Any, weights: Weights) -> str:
    """Give the weights the form this machine is fastest with; say what was done."""
    if weights == "as-is" or (weights == "auto" and mx.default_device() != mx.cpu):
        return "weights: as stored"
    before, after, budget = _bytes(module), _bytes_widened(module), _budget()
    if not _needs_widening(module):
        return "weights: float32, as stored"
    if weights == "float32" or after <= budget:
        _dequantize(module)
        module.set_dtype(mx.float32)
        return f"weights: {_size(before)} as stored, {_size(after)} as float32 for this CPU"
    refusal = f"float32 would take {_size(after)}, half of the free memory is {_size(budget)}"
    if _quantized(module):
        module.set_dtype(mx.float32)  # scales only: 4-bit float32 is 8 times 4-bit bfloat16
        return f"weights: quantized, with float32 scales; {refusal}"
    return f"weights: as stored, slow on a CPU; {refusal}"


def _dequantize(module: Any) -> None:
    if not any(part.get("global_scale") is not None for _, part in _quantized(module)):
        dequantize_model(module)  # it would forget a global scale


def _quantized(module: Any) -> list[tuple[str, Any]]:
    return [(name, part) for name, part in module.named_modules() if "scales" in part]


def _parameters(module: Any) -> list[mx.array]:
    pairs: Any = tree_flatten(module.parameters())
    return [array for _, array in pairs]


def _needs_widening(module: Any) -> bool:
    narrow = any(array.dtype in (mx.float16, mx.bfloat16) for array in _parameters(module))
    return narrow or bool(_quantized(module))


def _bytes(module: Any) -> int:
    return sum(array.nbytes for array in _parameters(module))


def _bytes_widened(module: Any) -> int:
    """Bytes of the parameters once every weight is a float32; scales are counted in."""
    packed = sum(
        part.weight.nbytes * 8 // part.bits * 4 - part.weight.nbytes
        for _, part in _quantized(module)
    )
    plain = sum(
        array.size * 4 if mx.issubdtype(array.dtype, mx.floating) else array.nbytes
        for array in _parameters(module)
    )
    return int(packed + plain)


def _budget() -> int:
    return int(psutil.virtual_memory().available) // 2


def _context(config: dict[str, Any], cap: int | None) -> int:
    text = config.get("text_config") or {}
    named = [source.get(key) for source in (config, text) for key in _CONTEXT_KEYS]
    own = next((n for n in named if isinstance(n, int) and n > 0), DEFAULT_CONTEXT)
    return own if cap is None else min(own, cap)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes >> 20} MiB"


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the hub library off the network, as `HF_HUB_OFFLINE=1` does for a whole process."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


@contextmanager
def told(advice: str) -> Iterator[None]:
    """Turn whatever mlx-lm raises, `sys.exit` at import included, into a `ModelLoadFailed`."""
    try:
        yield
    except ModelLoadFailed:
        raise
    except (Exception, SystemExit) as error:
        msg = f"{advice}: {describe(error)}"
        raise ModelLoadFailed(msg) from error

"""Loading: a model in the form this machine runs best, or a sentence that says what to do."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engine import tiny

import mlx.core as mx  # isort: skip (after the BLAS)
import pytest
from huggingface_hub import constants
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model

from semantic_actors.domain.errors import ModelLoadFailed
from semantic_actors.domain.request import GREEDY
from semantic_actors.engine import EngineThread, loading, pocket_path
from semantic_actors.engine.mlx_backend import MlxBackend, open_backend
from tests.engine.driver import Driver

ON_CPU = mx.default_device() == mx.cpu
cpu_only = pytest.mark.skipif(not ON_CPU, reason="weights are widened on a CPU only")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a folder with a tiny llama, bfloat16."""
    return tiny.save(tmp_path / "model")


def _dtypes(model: Any) -> set[mx.Dtype]:
    return {array.dtype for _, array in tree_flatten(model.parameters())}


def _logits(loaded: loading.LoadedModel) -> mx.array:
    logits: mx.array = loaded.model(mx.array([tiny.words(1, 40)]))[0, -1]
    return logits


def _config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "mlx_lm.convert"),
    "no json": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    "no type": (lambda folder: (folder / "config.json").write_text("[]"), "no model_type"),
    "unknown type": (lambda folder: _config(folder, model_type="novel"), "novel not supported"),
    "a module that exits": (lambda folder: _config(folder, model_type="olmo"), "SystemExit"),
    "other sizes": (lambda folder: _config(folder, hidden_size=32), "cannot be loaded"),
    "own code": (lambda folder: _config(folder, model_file="evil.py"), "custom module"),
    "half the weights": (
        lambda folder: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:5000]
        ),
        "cannot be",
    ),
}


@pytest.mark.parametrize(("harm", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_says_why(
    folder: Path, harm: Callable[[Path], object], reason: str
) -> None:
    """Whatever is wrong with a folder is one kind of error, with its reason and its name."""
    harm(folder)

    with pytest.raises(ModelLoadFailed, match=reason) as failed:
        loading.load(str(folder))

    assert str(folder) in str(failed.value)


@pytest.mark.parametrize("model", ["missing", "/no/such/folder", "./model", "a b/c", ""])
def test_a_name_that_is_nothing(model: str, tmp_path: Path, monkeypatch: Any) -> None:
    """What is neither a folder nor a hub id is refused without asking the network."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelLoadFailed, match="folder"):
        loading.load(model)


def test_a_hub_id_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is not here and cannot be fetched says so."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(ModelLoadFailed, match="check name and network"):
        loading.load("nobody/no-such-model")


def test_a_local_folder_never_asks_the_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a folder is read the hub library is offline, and afterwards as it was."""
    seen = []

    def spy(*arguments: Any, **options: Any) -> Any:
        seen.append(constants.is_offline_mode())
        return load_model(*arguments, **options)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(loading, "load_model", spy)

    loading.load(str(folder))

    assert seen == [True]
    assert not constants.is_offline_mode()


@cpu_only
@pytest.mark.parametrize("mode", ["affine", "mxfp4"])
def test_quantized_weights_are_widened_on_a_cpu(tmp_path: Path, mode: str) -> None:
    """A 4-bit bfloat16 model becomes float32, answers the same, and the note says so."""
    folder = str(tiny.save(tmp_path, bits=4, mode=mode))

    wide, stored = loading.load(folder), loading.load(folder, weights="as-is")

    assert _dtypes(wide.model) == {mx.float32}
    assert mx.uint32 in _dtypes(stored.model)
    assert _logits(wide).dtype == mx.float32
    assert wide.weights_bytes <= loading._bytes_widened(stored.model) < 1.1 * wide.weights_bytes
    assert "float32" in wide.notes[1]
    assert tiny.apart([_logits(stored).astype(mx.float32)], [_logits(wide)]) < 0.1


@cpu_only
def test_weights_are_widened_only_as_far_as_memory_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room, quantized weights stay, with float32 scales; plain ones stay as stored."""
    quantized, plain = tiny.save(tmp_path / "q", bits=4), tiny.save(tmp_path / "p")
    monkeypatch.setattr(loading, "_budget", lambda: 1000)

    kept, as_stored = loading.load(str(quantized)), loading.load(str(plain))
    forced = loading.load(str(plain), weights="float32")

    assert _dtypes(kept.model) == {mx.uint32, mx.float32}
    assert _logits(kept).dtype == mx.float32
    assert _dtypes(as_stored.model) == {mx.bfloat16}
    assert "half of the free memory" in kept.notes[1]
    assert "slow" in as_stored.notes[1]
    assert _dtypes(forced.model) == {mx.float32}


def test_the_context_is_capped(folder: Path) -> None:
    """The model's limit, or the argument if that is less, or a default if there is none."""
    assert loading.load(str(folder)).context == 4096
    assert loading.load(str(folder), context=100).context == 100
    assert loading.load(str(folder), context=10**6).context == 4096
    _config(folder, max_position_embeddings=None)
    assert loading.load(str(folder)).context == loading.DEFAULT_CONTEXT


def test_the_smallest_context_still_runs(folder: Path) -> None:
    """Measuring at load stays within a context of few tokens."""
    backend = open_backend(str(folder), context=3)

    driver = Driver(backend)

    assert driver.token(driver.new(), (1, 2, 3), GREEDY) >= 0


def _adapter(folder: Path) -> Path:
    folder.mkdir()
    parameters = {"rank": 4, "scale": 20.0, "dropout": 0.0}
    model = tiny.build("llama")
    linear_to_lora_layers(model, 2, parameters)
    mx.random.seed(5)
    weights = {
        name: 0.3 * mx.random.normal(array.shape)
        for name, array in tree_flatten(model.parameters())
        if "lora" in name
    }
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    settings = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("bits", [None, 4])
def test_an_adapter_changes_the_answer(tmp_path: Path, bits: int | None) -> None:
    """An adapter is applied to the weights, widened ones too."""
    folder, adapter = tiny.save(tmp_path / "model", bits=bits), _adapter(tmp_path / "adapter")

    adapted, bare = loading.load(str(folder), str(adapter)), loading.load(str(folder))

    assert tiny.apart([_logits(adapted)], [_logits(bare)]) > 0.1
    assert not ON_CPU or _dtypes(adapted.model) == {mx.float32}


def test_a_broken_adapter_says_why(folder: Path, tmp_path: Path) -> None:
    """A folder without an adapter, or with one for another model, is one kind of error."""
    with pytest.raises(ModelLoadFailed, match=r"no adapter_config\.json"):
        loading.load(str(folder), str(tmp_path))

    adapter = _adapter(tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelLoadFailed, match="does not fit"):
        loading.load(str(folder), str(adapter))


@pytest.mark.asyncio
async def test_a_failed_load_ends_its_thread_cleanly(tmp_path: Path) -> None:
    """A load that fails on an engine thread is told to the caller, and mlx still runs here."""
    engine = EngineThread(lambda: open_backend(str(tmp_path)), asyncio.get_running_loop())

    with pytest.raises(ModelLoadFailed, match=r"no config\.json"):
        await engine.start()

    assert mx.array([1, 2]).sum().item() == 3


@cpu_only
def test_a_model_that_does_not_run_here_says_so() -> None:
    """A model that loads and has no kernel for this device fails to load, not to answer."""
    with pytest.raises(ModelLoadFailed, match="does not run on this cpu"):
        tiny.backend("bitnet")


def test_the_bundled_model_loads() -> None:
    """The model that ships with the package is found and runs."""
    info = open_backend(str(pocket_path())).info

    assert info.family == "llama"
    assert info.weights_bytes < 16 * 2**20


def test_the_model_is_described(folder: Path) -> None:
    """What the rest of the house needs to know is in `info`."""
    info = open_backend(str(folder)).info

    assert (info.family, info.vocabulary, info.context) == ("llama", 320, 4096)
    assert info.name == str(folder)
    assert info.device == ("cpu" if ON_CPU else "gpu")
    assert info.weights_bytes > 0
    assert len(info.notes) == 2
    assert isinstance(open_backend(str(folder)), MlxBackend)

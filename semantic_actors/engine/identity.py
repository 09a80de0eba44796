"""What keys and values depend on besides the tokens: one name for it.

Weights, configuration and adapter by their bytes, the precision they are computed in, and the
revision of our own numerics. The digest of a file is remembered under its device, inode, size and
times, so that many gigabytes are read once, not at every start.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import mlx.core as mx
from mlx.utils import tree_flatten

NUMERICS: Final = "1"
"""Changed when keys and values come out otherwise than before; what was stored then is not used."""

Memo = dict[str, list[Any]]


def identity(module: Any, folder: Path, adapter: str | None, memo: Path | None) -> str:
    """Name what computes keys and values: a hexadecimal digest.

    `memo` is a file in which digests are remembered; one that cannot be used does no harm.
    """
    files = [*_weights(folder), folder / "config.json"]
    if adapter is not None:
        files += [*_weights(Path(adapter)), Path(adapter) / "adapter_config.json"]
    known = _read(memo)
    digests: Memo = {}
    for file in files:
        key, stamp = str(file.resolve()), _stamp(file)
        before = known.get(key, [])
        digests[key] = before if before[:-1] == stamp else [*stamp, _digest(file)]
    _write(memo, known | digests)
    parts = [NUMERICS, _precision(module), *(str(entry[-1]) for entry in digests.values())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _weights(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.safetensors"))


def _precision(module: Any) -> str:
    parameters: Any = tree_flatten(module.parameters())
    dtypes: set[mx.Dtype] = {array.dtype for _, array in parameters}
    return ",".join(sorted(map(str, dtypes)))


def _stamp(file: Path) -> list[Any]:
    status = file.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return [status.st_dev, status.st_ino, status.st_size, *times]


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read(memo: Path | None) -> Memo:
    with suppress(OSError, ValueError):
        known = json.loads(memo.read_text()) if memo is not None else {}
        if isinstance(known, dict) and all(isinstance(one, list) for one in known.values()):
            return known
    return {}


def _write(memo: Path | None, known: Memo) -> None:
    if memo is None:
        return
    with suppress(OSError):
        memo.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = memo.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.chmod(0o600)
        fresh.replace(memo)

"""A fast BLAS for mlx on a Linux CPU, chosen before mlx is imported.

mlx's Linux wheel ships a reference BLAS: 2 GFLOP/s in float32 where MKL gives 160 on two cores.
The dynamic linker takes the first definition of a symbol it sees, so a BLAS loaded globally
before mlx serves mlx. It knows nothing of mlx and never imports it.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

OFF = "off"
AUTO = "auto"

_OPENBLAS = ("libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0")


@dataclass(frozen=True, slots=True)
class _Found:
    """What `preload` came to; `threads` is what MKL uses unless told otherwise."""

    sentence: str
    mkl: ctypes.CDLL | None = None
    threads: int = 1


_found: list[_Found] = []  # at most one: a process has one BLAS for life


def preload(library: str = AUTO) -> str:
    """Load a fast BLAS for mlx to find, and say in a sentence what came of it.

    `library` is `auto`, `off`, or the path of a shared library. Call it before anything imports
    mlx; only the first call of a process acts, later ones repeat its answer.
    """
    if not _found:
        _found.append(_preload(library))
    return _found[0].sentence


class Threads:
    """How many threads the BLAS uses, in the whole process; mlx calls it on a thread of its own.

    Only MKL can be told; with another BLAS `most` is 1 and `use` does nothing.
    """

    def __init__(self) -> None:
        self._mkl = _found[0].mkl if _found else None
        self.most = _found[0].threads if _found else 1

    def use(self, count: int) -> None:
        """Let the next products use `count` threads."""
        if self._mkl is not None:
            self._mkl.MKL_Set_Num_Threads(count)


def _preload(library: str) -> _Found:
    reason = _reason_against(library)
    if reason is not None:
        return _Found(f"BLAS: mlx's own, {reason}")
    # Intel's OpenMP threads spin after each product; with a core wanted elsewhere that costs
    # 20 times the product.
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    for candidate in _candidates() if library == AUTO else (library,):
        try:
            loaded = ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        mkl = loaded if hasattr(loaded, "MKL_Set_Num_Threads") else None
        threads = 1 if mkl is None else int(mkl.MKL_Get_Max_Threads())
        return _Found(f"BLAS: {candidate}", mkl, threads)
    if library != AUTO:
        return _Found(f"BLAS: mlx's own, {library} cannot be loaded")
    return _Found("BLAS: mlx's own and slow; install mkl (pip install mkl) or OpenBLAS")


def _reason_against(library: str) -> str | None:
    if library == OFF:
        return "by setting"
    if sys.platform != "linux" or _has_cuda():
        return "this platform needs no other"
    if "mlx.core" in sys.modules:
        return "mlx was imported before another could be loaded"
    return None


def _candidates() -> Iterator[str]:
    for folder in (_mkl_wheel(), Path(sys.prefix, "lib"), Path(sys.base_prefix, "lib")):
        if folder is not None:
            yield from sorted(str(path) for path in folder.glob("libmkl_rt.so*"))
    yield from _OPENBLAS


def _mkl_wheel() -> Path | None:
    """Find where pip put MKL; with layered environments that is not under `sys.prefix`."""
    try:
        files = metadata.files("mkl") or []
    except metadata.PackageNotFoundError:
        return None
    found = [file for file in files if file.name.startswith("libmkl_rt.so")]
    return Path(str(found[0].locate())).resolve().parent if found else None


def _has_cuda() -> bool:
    return any(
        (dist.metadata["Name"] or "").lower().replace("_", "-").startswith("mlx-cuda")
        for dist in metadata.distributions()
    )

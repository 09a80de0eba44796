"""The machine's memory: what there is, what is left, what this process holds.

Each platform has its own measure of the last. On Linux it is the resident set. On macOS that misses
Metal buffers; the footprint, which the system itself limits, has them. On both mlx's own count is
a lower bound, where arrays lie in main memory at all. What is left is bounded by the control group
(version 2), as containers and systemd set it.

Decisions are plain functions of a `Memory`; reading is the only effect.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, Self

import msgspec
import psutil
import structlog

from semantic_actors.engine.device import active_bytes, in_main_memory
from semantic_actors.sessions import Surroundings

LOW: Final = 0.05
"""Share of the memory left below which the machine is about to swap, or to kill somebody."""

ENOUGH: Final = 0.08
"""Share above which it is no longer low: a warning that comes and goes is no warning."""

WATCH_INTERVAL_S: Final = 5.0

_CGROUPS: Final = Path("/sys/fs/cgroup")
_FOOTPRINT_FIELD: Final = 7
_RUSAGE_BYTES: Final = 16 + 10 * 8

log = structlog.get_logger(__name__)


class Memory(msgspec.Struct, frozen=True):
    """Bytes of main memory: in all, left without swapping, and held by this process."""

    total_bytes: int
    available_bytes: int
    own_bytes: int


class Judgement(msgspec.Struct, frozen=True):
    """Whether a KV budget can be, in words."""

    verdict: Literal["ok", "warning", "failed"]
    found: str


# Decisions


def judge_budget(budget_bytes: int, memory: Memory) -> Judgement:
    """Compare a KV budget with the memory there is; more than all of it cannot be."""
    found = (
        f"KV budget {_gib(budget_bytes)}, "
        f"available {_gib(memory.available_bytes)} of {_gib(memory.total_bytes)}"
    )
    if budget_bytes > memory.total_bytes:
        return Judgement("failed", found)
    return Judgement("warning" if budget_bytes > memory.available_bytes else "ok", found)


def is_low(memory: Memory, *, was: bool) -> bool:
    """Whether little is left; once it is, it stays so until there is clearly more."""
    return memory.available_bytes < memory.total_bytes * (ENOUGH if was else LOW)


# Reading


def read_memory() -> Memory:
    """Look at the machine. Imports mlx: `blas.preload` comes first."""
    machine = psutil.virtual_memory()
    total, available = int(machine.total), int(machine.available)
    for limit, left in cgroup_limits():
        total, available = min(total, limit), min(available, left)
    active = active_bytes() if in_main_memory() else 0
    return Memory(total, max(0, available), max(_held(), active))


def cgroup_limits(
    root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")
) -> Iterator[tuple[int, int]]:
    """Yield limit and what is left of it, of our control group and of those around it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    path = next((line[3:].strip("/") for line in lines if line.startswith("0::")), None)
    if path is None:
        return
    own = root / path
    for group in (own, *own.parents):
        if not group.is_relative_to(root):
            return
        try:
            limit = int((group / "memory.max").read_text())
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # the root has none, and "max" is no limit
            continue
        yield limit, limit - used + int(stat.get("inactive_file", 0))


def _held() -> int:
    if sys.platform == "darwin":
        return _footprint()
    return int(psutil.Process().memory_info().rss)


def _footprint() -> int:
    """Read `ri_phys_footprint` of `rusage_info_v0`: a 16-byte uuid, then 64-bit numbers."""
    buffer = ctypes.create_string_buffer(_RUSAGE_BYTES)
    if ctypes.CDLL(None).proc_pid_rusage(os.getpid(), 0, buffer) != 0:
        return int(psutil.Process().memory_info().rss)
    return read_footprint(buffer.raw)


def read_footprint(rusage: bytes) -> int:
    """Take the footprint out of a `rusage_info_v0`."""
    start = 16 + 8 * _FOOTPRINT_FIELD
    return int.from_bytes(rusage[start : start + 8], sys.byteorder)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB"


class MemoryWatch:
    """Looks every few seconds while it is entered, and tells when memory gets low."""

    def __init__(self, read: Callable[[], Memory] = read_memory) -> None:
        self._read = read
        self._low = False
        self._memory: Memory | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def surroundings(self) -> Surroundings:
        """What was seen last, for `/health` and `/metrics`."""
        if self._memory is None:
            return Surroundings()
        counters = {f"memory_{name}": n for name, n in msgspec.structs.asdict(self._memory).items()}
        return Surroundings((self._words(self._memory),) if self._low else (), counters)

    def _look(self) -> None:
        self._memory = self._read()
        low = is_low(self._memory, was=self._low)
        if low and not self._low:
            log.warning("memory_got_low", **msgspec.structs.asdict(self._memory))
        elif self._low and not low:
            log.info("memory_recovered", **msgspec.structs.asdict(self._memory))
        self._low = low
        self._timer = asyncio.get_running_loop().call_later(WATCH_INTERVAL_S, self._look)

    @staticmethod
    def _words(memory: Memory) -> str:
        return (
            f"memory is low: {_gib(memory.available_bytes)} of {_gib(memory.total_bytes)} left, "
            f"this process holds {_gib(memory.own_bytes)}"
        )

"""Laws of the memory watch."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from semantic_actors.daemon import memory as memory_module
from semantic_actors.daemon import serve
from semantic_actors.daemon.memory import (
    WATCH_INTERVAL_S,
    Memory,
    MemoryWatch,
    cgroup_limits,
    is_low,
    judge_budget,
    read_footprint,
    read_memory,
)
from semantic_actors.daemon.settings import MemorySettings, Settings
from semantic_actors.domain.errors import ConfigurationError
from semantic_actors.engine import device
from tests import sim

GIB = 2**30
MACHINE = Memory(16 * GIB, 6 * GIB, 2 * GIB)


@pytest.mark.parametrize(
    ("budget", "verdict"),
    [(4 * GIB, "ok"), (6 * GIB, "ok"), (7 * GIB, "warning"), (17 * GIB, "failed")],
)
def test_a_budget_beyond_the_machine_cannot_be(budget: int, verdict: str) -> None:
    """More than what is left may still become true; more than all there is never does."""
    judgement = judge_budget(budget, MACHINE)

    assert verdict == judgement.verdict
    assert judgement.found.endswith("available 6.0 GiB of 16.0 GiB")


@given(st.integers(1, 2**40), st.integers(0, 2**40))
def test_low_memory_stays_low_until_there_is_clearly_more(total: int, available: int) -> None:
    """What is low stays low; what is not low was not, either."""
    memory = Memory(total, available, 0)

    assert is_low(memory, was=True) or not is_low(memory, was=False)


def test_this_machine_is_read() -> None:
    """The figures are those of the system, of the right order."""
    memory = read_memory()

    assert 0 < memory.own_bytes < memory.total_bytes <= psutil.virtual_memory().total
    assert 0 <= memory.available_bytes <= memory.total_bytes


def group(folder: Path, limit: str, current: int, inactive: int) -> None:
    """Make a control group."""
    folder.mkdir(exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")


def test_the_control_groups_around_us_bound_the_memory(tmp_path: Path) -> None:
    """Each with a limit counts, the root has none; files not in use can be given back."""
    membership = tmp_path / "membership"
    membership.write_text("9:cpu:/x\n0::/slice/ours.service\n")
    group(tmp_path / "slice", "1000", 700, 50)
    group(tmp_path / "slice" / "ours.service", "max", 300, 20)

    assert list(cgroup_limits(tmp_path, membership)) == [(1000, 350)]

    group(tmp_path / "slice" / "ours.service", "400", 300, 20)
    assert list(cgroup_limits(tmp_path, membership)) == [(400, 120), (1000, 350)]


@pytest.mark.parametrize("text", ["", "4:memory:/docker/x\n"])
def test_without_control_groups_nothing_bounds_it(tmp_path: Path, text: str) -> None:
    """Version 1 is not read; neither is what is not there."""
    membership = tmp_path / "membership"
    assert list(cgroup_limits(tmp_path, membership)) == []

    membership.write_text(text)
    assert list(cgroup_limits(tmp_path, membership)) == []


def test_a_control_group_narrows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least limit and the least that is left count."""
    monkeypatch.setattr(memory_module, "cgroup_limits", lambda: [(2 * GIB, GIB), (3 * GIB, -1)])

    memory = read_memory()

    assert (memory.total_bytes, memory.available_bytes) == (2 * GIB, 0)


def test_the_footprint_of_macos_is_the_eighth_number() -> None:
    """After the uuid: user, system, two wake-ups, page-ins, wired, resident, footprint."""
    numbers = b"".join(n.to_bytes(8, "little") for n in range(1, 11))

    assert read_footprint(os.urandom(16) + numbers) == 8


def test_it_warns_while_memory_is_low() -> None:
    """One log event as it gets low and one as it recovers; health has the words meanwhile."""
    left = [10, 4, 6, 9]

    async def main() -> list[tuple[str, ...]]:
        seen = []
        with MemoryWatch(lambda: Memory(100 * GIB, left.pop(0) * GIB, 3 * GIB)) as watch:
            for _ in range(4):
                seen.append(watch.surroundings().warnings)
                await asyncio.sleep(WATCH_INTERVAL_S if left else 0)
        assert watch.surroundings().counters["memory_own_bytes"] == 3 * GIB
        return seen

    with structlog.testing.capture_logs() as logs:
        seen = sim.run(main)

    assert [bool(words) for words in seen] == [False, True, True, False]
    assert seen[1] == ("memory is low: 4.0 GiB of 100.0 GiB left, this process holds 3.0 GiB",)
    assert [entry["event"] for entry in logs] == ["memory_got_low", "memory_recovered"]


def test_nothing_is_known_before_the_first_look() -> None:
    """A watch that was not entered warns of nothing."""
    assert MemoryWatch().surroundings().warnings == ()


def budget(size: str) -> Settings:
    """Settings with a KV budget."""
    return Settings(memory=MemorySettings(ram_budget=size))


def test_the_daemon_refuses_a_budget_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the setting and both figures; one that is merely large is a warning."""
    monkeypatch.setattr(serve, "read_memory", lambda: MACHINE)
    monkeypatch.setattr(device, "in_main_memory", lambda: True)

    with pytest.raises(ConfigurationError, match=r"ram_budget = '20GiB': KV budget 20\.0 GiB"):
        serve.check_budget(budget("20GiB"))
    with structlog.testing.capture_logs() as logs:
        serve.check_budget(budget("8GiB"))
        serve.check_budget(budget("1GiB"))
    assert [entry["event"] for entry in logs] == ["ram_budget_exceeds_memory"]


def test_memory_of_a_gpu_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A KV budget there may be more than the main memory."""
    monkeypatch.setattr(serve, "read_memory", lambda: MACHINE)
    monkeypatch.setattr(device, "in_main_memory", lambda: False)

    serve.check_budget(budget("20GiB"))


def test_the_wired_limit_is_set_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off does not touch it; what mlx refuses is an error that names the setting."""
    wired = []

    def wire(size_bytes: int) -> str:
        wired.append(size_bytes)
        if size_bytes > GIB:
            message = "more than the system allows"
            raise ValueError(message)
        return "wired"

    monkeypatch.setattr(device, "wire", wire)
    serve._wire("off")
    serve._wire("1GiB")
    with pytest.raises(ConfigurationError, match="wired_limit = '2GiB': more than"):
        serve._wire("2GiB")

    assert wired == [GIB, 2 * GIB]


def test_off_metal_the_wired_limit_does_nothing_and_says_so() -> None:
    """The note is for the log."""
    mx = pytest.importorskip("mlx.core")
    if mx.metal.is_available():
        pytest.skip("this is Metal")

    assert device.wire(GIB) == "wired limit: it does nothing but on Metal"

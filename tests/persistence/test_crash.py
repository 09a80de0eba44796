"""Laws of being killed: what was said to be durable is there, and true, however it ended."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.persistence.rig import path, store_at

CRASHES = int(os.environ.get("SEMANTIC_ACTORS_CRASHES", "3"))
"""Kills in a row; thousands prove more."""


def live_and_die(directory: Path, seed: int) -> dict[int, int]:
    """Run a writer, kill it at a random instant, and return what it was promised."""
    command = [sys.executable, "-m", "tests.persistence.crash_writer", str(directory), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:  # noqa: S603
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        kill = threading.Timer(random.Random(seed).uniform(0.0, 0.4), writer.send_signal, [9])
        kill.start()
        lines = writer.stdout.read().splitlines(keepends=True)
        kill.join()
    assert writer.returncode == -signal.SIGKILL
    promised: dict[int, int] = {}
    for line in lines:
        if line.endswith("\n"):
            number, stop = map(int, line.split())
            promised[number] = stop
    return promised


@pytest.mark.slow
@pytest.mark.asyncio
async def test_what_was_promised_outlives_a_kill(tmp_path: Path) -> None:
    """Kill the writer again and again: each promised path is found whole, every file verifies."""
    promised: dict[int, int] = {}
    for seed in range(CRASHES):
        promised |= live_and_die(tmp_path, seed)
        async with store_at(tmp_path, budget_bytes=40_000_000) as client:
            for number, stop in promised.items():
                assert await client.look_up(path(4000, number)) >= stop
                assert await client.correct(path(4000, number)) >= stop
            statistics = await client.statistics()
            files = [file for file in (tmp_path / "blocks").rglob("*") if file.is_file()]
            assert statistics.pieces == len(files)
            assert statistics.quarantined_total == 0
            assert statistics.size_bytes == sum(file.stat().st_size for file in files)
    assert promised

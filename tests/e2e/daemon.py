"""The daemon as its operator has it: a process with flags, a ready line, a log and signals.

Whatever a test does, nothing is left behind: a daemon that still runs at the end is told to leave
and must exit with 0, and is killed if it does not.
"""

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]

READY_S = 60.0
"""Seconds until the ready line."""

LEAVE_S = 40.0
"""Seconds until an exit that nobody has bounded more tightly."""


class Daemon:
    """A running daemon. `took_s` is the time from its start to its ready line, in seconds."""

    def __init__(
        self, process: subprocess.Popen[str], url: str, log: Path, took_s: float, line: str
    ) -> None:
        self.process = process
        self.url = url
        self.took_s = took_s
        self.ready_line = line
        self._log = log

    def signal(self, *kinds: signal.Signals) -> None:
        """Deliver signals one right after the other."""
        for kind in kinds:
            os.kill(self.process.pid, kind)

    async def exit_code(self, within_s: float = LEAVE_S) -> int:
        """Wait for the end of the process."""
        return await asyncio.to_thread(self.process.wait, within_s)

    async def health(self) -> tuple[int, dict[str, Any]]:
        """Ask `/health` on a connection of its own."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/health") as answer:
            return answer.status, await answer.json()

    async def counters(self) -> dict[str, float]:
        """Read the counters of `/health`; empty while the scheduler restarts."""
        _, body = await self.health()
        counters: dict[str, float] = body["counters"]
        return counters

    async def idle(self) -> bool:
        """Whether nothing runs, nothing waits and no memory is held for anybody."""
        now = await self.counters()
        return [now.get(name) for name in ("running", "waiting", "pool_pinned_bytes")] == [0, 0, 0]

    def log(self) -> str:
        """Read all of stderr so far."""
        return self._log.read_text(encoding="utf-8")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Read the log's events of one name."""
        lines = [line for line in self.log().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]


@contextlib.contextmanager
def started(
    log: Path, *flags: str, step_s: float | None = None, module: str = "semantic_actors"
) -> Iterator[Daemon]:
    """Start a daemon that serves on a free port, and see to its end.

    With `step_s` it is the one of `faulty.py`, each of whose engine steps takes that many seconds
    longer: a model so slow that a test can act in the middle of an answer. Another `module` is one
    that lays something else around the daemon.
    """
    program = [module] if step_s is None else ["tests.e2e.faulty", str(step_s)]
    state = [] if "--state-dir" in flags else ["--state-dir", str(log.with_suffix(".state"))]
    command = [sys.executable, "-m", *program, "serve", "--port", "0", *state, *flags]
    began = time.monotonic()
    with (
        log.open("wb") as stderr,
        subprocess.Popen(  # noqa: S603 (our own program)
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        try:
            line = _first_line(process, log)
            url = line.removeprefix("ready ").strip()
            yield Daemon(process, url, log, time.monotonic() - began, line)
            if process.poll() is None:
                process.terminate()
                assert process.wait(LEAVE_S) == 0, log.read_text(encoding="utf-8")
        finally:
            process.kill()


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 30.0) -> None:
    """Ask again and again, since another process says no word of itself, until it holds."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 (the other process sets no event of ours)
            await asyncio.sleep(0.02)


def _first_line(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], READY_S)
    line = process.stdout.readline() if readable else ""
    assert line.startswith("ready "), f"{line!r}: {log.read_text(encoding='utf-8')}"
    return line

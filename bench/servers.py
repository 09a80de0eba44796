"""The servers that are measured, each a process of its own: our daemon, and mlx-lm's server."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.e2e.daemon import READY_S, ROOT, started

__all__ = ["ROOT", "Server", "ours", "stock"]

OFFLINE: Final = {"HF_HUB_OFFLINE": "1"}


class Server(NamedTuple):
    """A server that answers; `model` is what it wants its model to be called."""

    url: str
    model: str


@contextlib.contextmanager
def ours(folder: Path, scratch: Path, *flags: str) -> Iterator[Server]:
    """Serve a model folder by the daemon; its log stays in `scratch`."""
    with started(scratch / f"ours-{folder.name}.log", "--model", str(folder), *flags) as daemon:
        yield Server(daemon.url, "any")


@contextlib.contextmanager
def stock(folder: Path, scratch: Path) -> Iterator[Server]:
    """Serve a model folder by mlx-lm's server, with its default settings."""
    port = _free_port()
    module = [sys.executable, "-m", "bench.stock_server"]
    command = [*module, "--model", str(folder), "--port", str(port), "--log-level", "WARNING"]
    with (
        (scratch / f"stock-{folder.name}.log").open("wb") as log,
        subprocess.Popen(  # noqa: S603 (our own program)
            command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | OFFLINE
        ) as process,
    ):
        try:
            _wait(f"http://127.0.0.1:{port}/health")
            yield Server(f"http://127.0.0.1:{port}", "default_model")
        finally:
            process.kill()


def _wait(url: str) -> None:
    until = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310 (our own URL)
                answer.read()
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port

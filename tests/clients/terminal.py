"""A terminal to type into, for clients that will not do without one."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

LINES_COLUMNS: Final = (40, 120)
WAIT_S: Final = 60.0
"""Seconds until what is waited for must be on the screen."""

_ESCAPES: Final = re.compile(rb"\x1b\[[0-9;?<>=]*[a-zA-Z]|\x1b\][^\x07]*\x07")


class Terminal:
    """A process on a terminal of its own."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self._process = process
        self._shown = b""

    def type(self, text: str) -> None:
        """Type a line: the return key only once the line's end is shown."""
        seen = len(self._shown)
        os.write(self._master, text.encode())
        self.await_text(text[-8:], seen)
        os.write(self._master, b"\r")

    def await_text(self, text: str, since: int = 0) -> None:
        """Wait until `text` is shown. Raises `TimeoutError` if it is not in time."""
        deadline = time.monotonic() + WAIT_S
        while text.encode() not in _ESCAPES.sub(b"", self._shown[since:]):
            if time.monotonic() > deadline or not self._read(deadline):
                message = f"{text!r} was not shown"
                raise TimeoutError(message)

    def await_end(self) -> int:
        """Wait until the process leaves; returns its exit code."""
        deadline = time.monotonic() + WAIT_S
        while self._read(deadline):
            pass
        return self._process.wait(max(0.0, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        """Take in what is shown next; False at the end or the deadline."""
        wait_s = max(0.0, deadline - time.monotonic())
        if not select.select([self._master], [], [], wait_s)[0]:
            return False
        try:
            more = os.read(self._master, 65_536)
        except OSError:  # Linux's word for the other end being closed
            return False
        self._shown += more
        return bool(more)


@contextlib.contextmanager
def opened(command: list[str], cwd: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run a command on a terminal; it is killed if it is still there at the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *LINES_COLUMNS, 0, 0))
    process = subprocess.Popen(  # noqa: S603 (the client under test)
        command,
        cwd=cwd,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)

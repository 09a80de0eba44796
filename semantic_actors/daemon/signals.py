"""SIGTERM and SIGINT become a drain that each further signal hastens.

The first asks for a drain, the second skips to its end, the third ends the process. Signals of one
kind within a second count as one: `uv run` and terminals deliver each of them twice.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KINDS = (signal.SIGTERM, signal.SIGINT)

SAME_SIGNAL_S = 1.0
"""Seconds within which signals of one kind count as one."""


class Signals:
    """What the operator has asked for so far. `drain` and `hasten` are set, never cleared."""

    def __init__(self, leave: Callable[[int], object] = os._exit) -> None:
        self.drain = asyncio.Event()
        self.hasten = asyncio.Event()
        self._leave = leave
        self._early = False
        self._seen: dict[signal.Signals, float] = {}

    @contextmanager
    def early(self) -> Iterator[None]:
        """Before there is a loop, remember the wish to leave; afterwards, put things back."""
        before = {kind: signal.signal(kind, self._remember) for kind in KINDS}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def install(self) -> None:
        """Listen on the running loop."""
        loop = asyncio.get_running_loop()
        for kind in KINDS:
            loop.add_signal_handler(kind, self.received, kind)
        if self._early:
            self.drain.set()

    def _remember(self, kind: int, _: object) -> None:
        del kind
        self._early = True

    def received(self, kind: signal.Signals) -> None:
        """Count one signal."""
        now = asyncio.get_running_loop().time()
        if now - self._seen.get(kind, -SAME_SIGNAL_S) < SAME_SIGNAL_S:
            return
        self._seen[kind] = now
        if not self.drain.is_set():
            self.drain.set()
        elif not self.hasten.is_set():
            self.hasten.set()
        else:
            self._leave(128 + kind)

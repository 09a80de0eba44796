"""The real daemon over an engine that misbehaves when told to: `faulty.py STEP_S serve ...`.

SIGUSR1: the next step raises, and the engine thread dies. SIGUSR2: the next step never returns,
like a native call that hangs. Every step takes STEP_S seconds longer than the model needs.
The faults are laid around the loaded backend from here; the package knows nothing of them.
"""

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from semantic_actors.daemon.main import main
from semantic_actors.daemon.settings import Settings
from semantic_actors.engine import Backend, ModelInfo, Plan, blas
from semantic_actors.engine.protocol import Collect, CollectLast, nothing

Fault = Callable[[], object]


class FaultyBackend:
    """A backend that passes everything on, unless a fault is due."""

    def __init__(self, backend: Backend, step_s: float, due: deque[Fault]) -> None:
        self._backend = backend
        self._step_s = step_s
        self._due = due

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        return self._backend.info

    def launch(self, plan: Plan, collect_last: CollectLast = nothing) -> Collect:
        """Begin one step, or fail in the way that is due."""
        time.sleep(self._step_s)
        if self._due:
            self._due.popleft()()
        return self._backend.launch(plan, collect_last)

    def reset(self) -> None:
        """Drop every cache."""
        self._backend.reset()

    def leave(self) -> None:
        """Let go of the thread's resources."""
        self._backend.leave()


def _raise() -> None:
    message = "injected fault"
    raise RuntimeError(message)


def _hang() -> None:
    threading.Event().wait()


def _run(step_s: float, arguments: list[str]) -> int:
    blas.preload()
    from semantic_actors.daemon import serve  # noqa: PLC0415 (BLAS comes before mlx)

    due: deque[Fault] = deque()
    for kind, fault in ((signal.SIGUSR1, _raise), (signal.SIGUSR2, _hang)):
        signal.signal(kind, lambda *_, fault=fault: due.append(fault))
    open_model = serve.open_model

    def open_faulty(settings: Settings) -> Backend:
        return FaultyBackend(open_model(settings), step_s, due)

    serve.open_model = open_faulty
    return main(arguments)


if __name__ == "__main__":
    sys.exit(_run(float(sys.argv[1]), sys.argv[2:]))

"""A thread of one's own: what blocks happens there, in order.

An executor of our own, for the sake of its end: `ThreadPoolExecutor` joins its threads when the
interpreter exits, however long their work takes. This one is waited for, as native code that comes
back to an interpreter that is gone takes the process down; but not for long.
"""

import atexit
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakSet

EXIT_S: Final = 5.0
"""Seconds that all threads together have at the exit of the interpreter to end the job in hand."""

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple[Future[Any], Callable[[], Any]]


class OwnThread(Executor):
    """Runs what is submitted, in order, on a daemon thread. Any thread may submit.

    What is no `Exception`, as native code raises that panics, is told as a `RuntimeError`.
    """

    def __init__(self, name: str, *, stack_bytes: int = 0) -> None:
        """Start the thread, on a stack of so many bytes; 0 is what the system gives."""
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        usual = threading.stack_size(stack_bytes)
        try:
            self._thread.start()
        finally:
            threading.stack_size(usual)
        _started.add(self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call; a future cancelled before its turn is skipped."""
        if self._closed:
            message = f"the thread {self._name!r} has been shut down"
            raise RuntimeError(message)
        future: Future[T] = Future()
        self._jobs.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 (the interface)
        """End the thread after what is queued; after the job in hand if futures are cancelled."""
        self._closed = True
        while cancel_futures:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is not None:
                job[0].cancel()
        self._jobs.put(None)
        if wait:
            self.join()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end of the thread, if it has been shut down, so long at most."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(*job)
            del job  # or it would keep what it was given until the next one comes


_started: Final = WeakSet[OwnThread]()


@atexit.register
def _leave() -> None:
    """Begin no more jobs, and wait for those in hand."""
    until = time.monotonic() + EXIT_S
    threads = list(_started)
    for thread in threads:
        thread.shutdown(wait=False, cancel_futures=True)
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001 (the future tells whoever waits)
        future.set_exception(error)
    except BaseException as error:  # noqa: BLE001 (an event loop would take it for its own)
        panic = RuntimeError(f"{type(error).__name__}: {error}")
        panic.__cause__ = error
        future.set_exception(panic)

"""The text thread: tokenizing happens beside the event loop, one prompt at a time.

An executor of our own, for the sake of its end: `ThreadPoolExecutor` joins its threads when the
interpreter exits, however long their work takes. This one is left behind.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class TextThread(Executor):
    """Runs what is submitted, in order, on a daemon thread. Any thread may submit."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="text", daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call; a future cancelled before its turn is skipped."""
        if self._closed:
            message = "the text thread has been shut down"
            raise RuntimeError(message)
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 (the future tells whoever waits)
                future.set_exception(error)

        self._jobs.put(job)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 (the interface)
        """End the thread after the job in hand; what is queued behind it is not run."""
        del cancel_futures
        self._closed = True
        self._jobs.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed and (job := self._jobs.get()) is not None:
            job()

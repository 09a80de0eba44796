"""A thread of one's own does its work in order, and never holds up an exit."""

import subprocess
import sys
import threading

import pytest

from semantic_actors.actors import OwnThread


def test_work_is_done_in_order_on_one_thread() -> None:
    """Results and errors come back, and all of it happened on the same other thread."""
    with OwnThread("own") as thread:
        names = [thread.submit(lambda: threading.current_thread().name) for _ in range(3)]
        failing = thread.submit(int, "x")

        assert [name.result() for name in names] == ["own"] * 3
        with pytest.raises(ValueError, match="invalid literal"):
            failing.result()


def test_what_is_queued_is_done_before_the_end() -> None:
    """A shutdown takes no new work, and waits for the old."""
    go = threading.Event()
    thread = OwnThread("own")
    first, second = thread.submit(go.wait, 10), thread.submit(lambda: 7)
    thread.shutdown(wait=False)
    go.set()

    assert (first.result(), second.result()) == (True, 7)
    with pytest.raises(RuntimeError, match="shut down"):
        thread.submit(int)


def test_what_is_queued_can_be_called_off() -> None:
    """With its futures cancelled the thread ends after the job in hand."""
    go, began = threading.Event(), threading.Event()

    def work() -> bool:
        began.set()
        return go.wait(10)

    thread = OwnThread("own")
    first, second = thread.submit(work), thread.submit(lambda: 7)
    began.wait(10)
    thread.shutdown(wait=False, cancel_futures=True)
    go.set()

    assert first.result()
    assert second.cancelled()


class Panic(BaseException):
    """What native code raises."""


def test_a_panic_is_told_as_an_error() -> None:
    """An event loop that gets anything else leaves whoever waits without an answer."""

    def panic() -> None:
        message = "index out of bounds"
        raise Panic(message)

    with OwnThread("own") as thread:
        broken, sound = thread.submit(panic), thread.submit(lambda: 7)

        with pytest.raises(RuntimeError, match="Panic: index out of bounds"):
            broken.result()
        assert sound.result() == 7


EXIT = """
import threading, time
from semantic_actors.actors import OwnThread, own_thread
own_thread.EXIT_S = {patience}
began = threading.Event()
def work():
    began.set()
    time.sleep({work})
    print("done", flush=True)
thread = OwnThread("own")
thread.submit(work)
thread.submit(print, "begun")
began.wait()
"""


@pytest.mark.parametrize(
    ("patience", "work", "printed"), [(30, 0.2, "done\n"), (0.2, 60, "")], ids=["short", "long"]
)
def test_an_exit_waits_for_the_job_in_hand_but_not_for_long(
    patience: float, work: float, printed: str
) -> None:
    """Native code that is left behind may crash; a job that never ends holds up nobody."""
    script = EXIT.format(patience=patience, work=work)

    ended = subprocess.run(  # noqa: S603 (our own)
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )

    assert ended.stdout == printed

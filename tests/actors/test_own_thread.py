"""A thread of one's own does its work in order, and never holds up an exit."""

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

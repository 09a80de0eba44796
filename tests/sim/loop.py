"""An asyncio loop whose clock jumps to the next timer, and whose schedule is a matter of the seed.

Ideas: trio's MockClock(autojump) and its random task order; FoundationDB's simulation. Only the
order of *task steps* that are ready together is shuffled: asyncio promises none, whereas plain
callbacks keep their order, as it does promise. No sockets, no threads: whatever waits for those
looks like a deadlock here, and is reported as one.
"""

import asyncio
import functools
import random
import selectors
from collections.abc import Callable, Collection, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Deadlock(Exception):
    """Every task is blocked and there is no timer to wait for."""


class LeftBehind(Exception):
    """The main coroutine ended before the tasks and timers that it started."""


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    loop: "SimLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock(_describe(asyncio.all_tasks(self.loop)))
        if timeout > 0:
            self.loop.jump()
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """Virtual time in seconds, starting at zero."""

    _ready: Any  # deque of handles; private in asyncio, stable from 3.4 to 3.14
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, seed: int = 0) -> None:
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self
        self.iterations = 0  # turns of the loop so far: an idle program makes none
        self.complaints: list[str] = []  # what asyncio would log, e.g. exceptions never retrieved
        self._now = 0.0
        self._at_turn: dict[int, list[Callable[[], object]]] = {}
        self._rng = random.Random(seed)
        self.set_exception_handler(lambda _, context: self.complaints.append(str(context)))

    def time(self) -> float:
        """Return the virtual time."""
        return self._now

    def jump(self) -> None:
        """Move the clock to the next timer."""
        self._now = max(self._now, self._scheduled[0].when())

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers still to come."""
        return [timer for timer in self._scheduled if not timer.cancelled()]

    def call_at_turn(self, turn: int, callback: Callable[[], object]) -> None:
        """Call `callback` right before that turn of the loop: in between any two steps."""
        self._at_turn.setdefault(turn, []).append(callback)

    def _run_once(self) -> None:
        self.iterations += 1
        for callback in self._at_turn.pop(self.iterations, ()):
            callback()
        self._shuffle()
        super()._run_once()  # type: ignore[misc]  # private, see _ready

    def _shuffle(self) -> None:
        handles = list(self._ready)
        places = [i for i, handle in enumerate(handles) if _is_task_step(handle)]
        if len(places) < 2:
            return
        shuffled = [handles[i] for i in places]
        self._rng.shuffle(shuffled)
        for place, handle in zip(places, shuffled, strict=True):
            handles[place] = handle
        self._ready.clear()
        self._ready.extend(handles)


def run(main: Callable[[], Coroutine[Any, Any, T]], *, seed: int = 0) -> T:
    """Run `main()` in virtual time under the schedule of `seed`.

    Raises Deadlock; LeftBehind if a task or timer outlives `main`; RuntimeError for what asyncio
    would only log. The seed is added to any exception as a note.
    """
    loop = SimLoop(seed)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main())
        _inspect(loop)
    except BaseException as error:
        error.add_note(f"sim seed: {seed}")
        raise
    else:
        return result
    finally:
        _clean(loop)


def simulated(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test function of a coroutine function: run it under several schedules."""

    @functools.wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> None:
        for seed in range(5):
            run(lambda: test(*args, **kwargs), seed=seed)

    return run_test


def _inspect(loop: SimLoop) -> None:
    if left := [*asyncio.all_tasks(loop), *loop.timers()]:
        raise LeftBehind(_describe(left))
    if loop.complaints:
        raise RuntimeError("; ".join(loop.complaints))


def _clean(loop: SimLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    asyncio.set_event_loop(None)
    loop.close()


def _is_task_step(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


def _describe(left: Collection[object]) -> str:
    return ", ".join(sorted(repr(thing) for thing in left)) or "no task at all"

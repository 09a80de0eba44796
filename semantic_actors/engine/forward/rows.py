"""The rows of one step: one token each, those of a sequence next to each other.

While a model runs over a step, its seams (`seams`) find the step here: it is the calling thread's
own, so that two models on two threads never meet.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from semantic_actors.engine.forward.group import Group
from semantic_actors.engine.forward.past import Past
from semantic_actors.engine.forward.span import Behind, behind
from semantic_actors.engine.protocol import CollectLast, nothing


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive rows: `count` tokens of one sequence, or one of each sequence of a group."""

    source: Past | Group
    start: int
    count: int

    @property
    def rows(self) -> slice:
        """Where they are."""
        return slice(self.start, self.start + self.count)

    @property
    def is_batch(self) -> bool:
        """Whether the rows are of one sequence each, as in a batch of single tokens."""
        return self.count == 1 or isinstance(self.source, Group)

    @property
    def positions(self) -> list[int]:
        """Position of each row's token in its sequence."""
        if isinstance(self.source, Group):
            return [past.length for past in self.source.pasts]
        return list(range(self.source.length, self.source.length + self.count))


@dataclass(slots=True)
class Step:
    """What the seams must know. `picked` are the rows whose logits are wanted; None: all.

    `settle` is called before the device is waited for while the step is built, perhaps often.

    `views` finds who stored keys, by their identity. `masks` are those of the groups, by group and
    number of columns; all layers of a kind share one. `spans` are what is behind each run, by its
    source. A step is `plain` if no layer has asked for a window or for sinks.
    """

    runs: tuple[Run, ...]
    picked: mx.array | None = None
    settle: CollectLast = nothing
    views: dict[int, Any] = field(default_factory=dict)
    masks: dict[tuple[int, int], mx.array | None] = field(default_factory=dict)
    plain: bool = True
    spans: dict[int, tuple[Behind, ...]] = field(default_factory=dict)
    positions: mx.array = field(init=False)
    total: int = field(init=False)

    def __post_init__(self) -> None:
        positions = [position for run in self.runs for position in run.positions]
        self.positions = mx.array(positions)
        self.total = len(positions)

    def pick(self, states: mx.array) -> mx.array:
        """Keep the wanted rows of hidden states `(rows, 1, width)`."""
        if self.picked is None or states.shape[0] != self.total:
            return states
        return states[self.picked]

    def mask(self, group: Group, columns: int) -> mx.array | None:
        """What the rows of a group see of the last columns."""
        key = id(group), columns
        if key not in self.masks:
            self.masks[key] = group.mask(columns)
        return self.masks[key]

    def behind(self, run: Run) -> tuple[Behind, ...]:
        """Find the spans behind a run's sequences."""
        source = run.source
        if id(source) not in self.spans:
            pasts = source.pasts if isinstance(source, Group) else [source]
            self.spans[id(source)] = behind([past.prefix for past in pasts])
        return self.spans[id(source)]


class _Current(threading.local):
    step: Step | None = None


_current = _Current()


def current() -> Step | None:
    """Return the step that this thread's model runs over."""
    return _current.step


@contextmanager
def running(step: Step) -> Iterator[None]:
    """Make `step` the thread's own."""
    _current.step = step
    try:
        yield
    finally:
        _current.step = None
        step.views.clear()  # they hold what caches hold, and know the step: a cycle

"""Calling a mixer once per run of a step, from arguments that hold the rows of all."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from semantic_actors.engine.forward.rows import Run, Step
from semantic_actors.engine.forward.views import PerRun, SequencesView

_HEADS_AXES = 4


def concerns(value: Any) -> bool:
    """Whether arguments hold anything that is one value per run."""
    if isinstance(value, dict):
        return any(map(concerns, value.values()))
    if isinstance(value, SequencesView | PerRun):
        return True
    return isinstance(value, tuple | list) and any(map(concerns, value))


def run(call: Callable[..., Any], step: Step, args: Any, options: Any) -> Any:
    """Call for each run, and lay the results out in rows again."""
    results = []
    for index in range(len(step.runs)):
        mine_args, mine_options = _share((args, options), step, index)
        results.append(call(*mine_args, **mine_options))
    return _join(results, step)


def _share(value: Any, step: Step, index: int) -> Any:
    """Give one run its part of the arguments, in the layout of a batch."""
    if isinstance(value, SequencesView):
        return value.of(index)
    if isinstance(value, PerRun):
        return value[index]
    if isinstance(value, tuple | list):
        return type(value)(_share(one, step, index) for one in value)
    if isinstance(value, dict):
        return {name: _share(one, step, index) for name, one in value.items()}
    return _rows_of(value, step.runs[index], step.total) if isinstance(value, mx.array) else value


def _rows_of(value: mx.array, mine: Run, total: int) -> Any:
    if value.ndim == 1 and value.shape[0] == total:  # positions, which models want as a number
        return value[mine.rows] if mine.count > 1 and mine.is_batch else _first(value, mine)
    if value.shape[:2] != (total, 1):
        return value
    rows = value[mine.rows]
    if mine.is_batch:
        return rows
    if value.ndim == _HEADS_AXES and value.shape[2] == 1:  # heads of one, then a length of one
        return rows.transpose(1, 2, 0, 3)
    return rows.swapaxes(0, 1)


def _first(positions: mx.array, mine: Run) -> int:
    return int(positions[mine.start].item())  # type: ignore[arg-type]


def _join(results: list[Any], step: Step) -> Any:
    if isinstance(results[0], tuple):
        return tuple(_join(list(column), step) for column in zip(*results, strict=True))
    if results[0] is None:
        return None
    pairs = zip(results, step.runs, strict=True)
    flat = [one for result, mine in pairs if (one := _flat(result, mine)) is not None]
    if len(flat) < len(results):
        return PerRun(results)
    return flat[0] if len(flat) == 1 else mx.concatenate(flat)


def _flat(result: Any, mine: Run) -> mx.array | None:
    """The result's rows; None if it has no rows but is a value of the run."""
    shape = (mine.count, 1) if mine.is_batch else (1, mine.count)
    if not isinstance(result, mx.array) or result.ndim <= 1 or result.shape[:2] != shape:
        return None
    return result if mine.is_batch else result.swapaxes(0, 1)

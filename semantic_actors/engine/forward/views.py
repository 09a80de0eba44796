"""What a model is given in place of a layer's cache while it runs over flat rows.

`AttentionView`: keys and values of all rows at once, each stored where its sequence's are.
`SequencesView`: one cache per run, for a mixer that `seams` splits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models import cache as mlx_lm_cache

from semantic_actors.engine import caches
from semantic_actors.engine.forward import attention
from semantic_actors.engine.forward.group import Group
from semantic_actors.engine.forward.rows import Run, Step
from semantic_actors.engine.forward.span import Behind
from semantic_actors.engine.forward.stacks import AttentionStack, StateStack
from semantic_actors.engine.forward.terms import Before, Part, Terms

_stock: Any = mlx_lm_cache
Store = Any
"""A stock cache of one sequence, or a stack of a group's."""


class PerRun(list[Any]):
    """One value for each run of the step: a mask, an offset, shared keys."""


@dataclass(frozen=True, slots=True)
class Window:
    """Stands for the mask of an attention layer: how many tokens a row sees, None for all."""

    size: int | None


def over(step: Step, layers: caches.Layers, *, split: bool) -> list[Any]:
    """View a step's caches, in the shape of `layers`; with `split` all mixers are called per run.

    Recurrent mixers always are.
    """
    columns = enumerate(zip(*map(_stores, step.runs), strict=True))
    return [_view(step, layer, columns, split=split) for layer in layers]


def _stores(run: Run) -> list[Store]:
    source = run.source
    return list(source.stacks) if isinstance(source, Group) else source.members


def _view(step: Step, layer: caches.Layer, columns: Iterator[Any], *, split: bool) -> Any:
    if isinstance(layer, _stock.CacheList):
        return [_view(step, member, columns, split=split) for member in layer.caches]
    number, column = next(columns)
    stores = list(column)
    if split or caches.is_state(layer):
        return SequencesView(step, stores)
    return AttentionView(step, stores, number)


class AttentionView:
    """One attention layer's stores, one per run; `number` is that of their member."""

    def __init__(self, step: Step, stores: list[Store], number: int) -> None:
        self._step = step
        self._stores = stores
        self._number = number
        self._window = getattr(stores[0], "max_size", None) or getattr(stores[0], "window", None)
        self._rows: tuple[mx.array, mx.array] | None = None
        self._fetched: list[tuple[mx.array, mx.array] | None] = []

    def __bool__(self) -> bool:
        """Be there: models ask whether they have a cache."""
        return True

    @property
    def offset(self) -> mx.array:
        """Tokens before each row, as the cache of a single token would say."""
        return self._step.positions + 1 if self._rows else self._step.positions

    def make_mask(self, _: int, **options: Any) -> Window:
        """Remember the window; what is masked follows from the sequences."""
        return Window(options.get("window_size"))

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Store the rows' `(rows, kv heads, 1, width)`; `attend` finds them by what is returned."""
        for run, store in zip(self._step.runs, self._stores, strict=True):
            mine = _rows(keys, run, self._step), _rows(values, run, self._step)
            fetched = None
            if isinstance(store, AttentionStack):
                assert isinstance(run.source, Group)
                store.append(*mine, run.source.longest)
            elif run.count == 1:
                fetched = store.update_and_fetch(*mine)
            else:
                fetched = store.update_and_fetch(*(one.transpose(2, 1, 0, 3) for one in mine))
            self._fetched.append(fetched)
        self._rows = keys, values  # kept, so that their identity is theirs alone
        self._step.views[id(keys)] = self
        return self._rows

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """For layers that read what another stored."""
        assert self._rows is not None, "a layer reads keys that none has stored"
        return self._rows

    def attend(
        self, queries: mx.array, scale: float, mask: Any, sinks: mx.array | None
    ) -> mx.array:
        """Attention of all rows, `(rows, heads, 1, width)`, each over its own sequence."""
        window = mask.size if isinstance(mask, Window) else None
        if window is not None and self._window not in (None, window):
            message = f"a window of {window} tokens over a cache of {self._window}"
            raise ValueError(message)
        window = window or self._window
        self._step.plain &= window is None and sinks is None
        runs = zip(self._step.runs, self._stores, self._fetched, strict=True)
        parts = [self._part(queries, *run, window=window) for run in runs]
        attended = attention.attend(parts, Terms(scale, window, sinks), self._step.settle)
        answers = [
            answer if run.is_batch else answer.transpose(2, 1, 0, 3)
            for run, answer in zip(self._step.runs, attended, strict=True)
        ]
        return answers[0] if len(answers) == 1 else mx.concatenate(answers)

    def _part(
        self,
        queries: mx.array,
        run: Run,
        store: Store,
        fetched: tuple[mx.array, mx.array] | None,
        *,
        window: int | None,
    ) -> Part:
        mine = _rows(queries, run, self._step)
        prefixes = tuple(self._before(one) for one in self._step.behind(run))
        if fetched is not None and run.count > 1:
            mine = mine.transpose(2, 1, 0, 3)
            if prefixes and fuses_chunks():
                fetched, prefixes = _laid_out(prefixes, fetched), ()
            return Part(mine, *fetched, "causal", prefixes)
        if fetched is not None:
            return Part(mine, *fetched, None, prefixes)
        assert isinstance(run.source, Group)
        columns = min(run.source.longest + 1, window or run.source.longest + 1)
        keys, values = store.seen(columns)
        return Part(mine, keys, values, self._step.mask(run.source, columns), prefixes)

    def _before(self, behind: Behind) -> Before:
        pair = behind.span.pairs[self._number]
        assert pair is not None, "a layer has keys now, and had none before"
        keys, values = (array[:, :, : behind.rows] for array in pair)
        places = None if behind.places is None else mx.array(behind.places)
        mask = None
        if behind.kept is not None:
            mask = mx.arange(behind.rows)[None] < mx.array(behind.kept)[:, None]
        return Before(keys, values, places, None if mask is None else mask[None, None])


class SequencesView:
    """One layer's stores, for a mixer that is called once per run."""

    def __init__(self, step: Step, stores: list[Store]) -> None:
        self._step = step
        self._stores = stores

    def __bool__(self) -> bool:
        """Be there: models ask whether they have a cache."""
        return True

    def of(self, index: int) -> caches.Layer:
        """Return the cache that run `index` is called with."""
        store = self._stores[index]
        return store.state if isinstance(store, StateStack) else store

    @property
    def offset(self) -> mx.array:
        """Tokens before each row."""
        return self._step.positions

    def make_mask(self, _: int, **options: Any) -> PerRun:
        """Make each run's own."""
        return PerRun(
            self.of(i).make_mask(1 if run.is_batch else run.count, **options)
            for i, run in enumerate(self._step.runs)
        )

    def keys_and_values(self) -> tuple[PerRun, PerRun]:
        """For layers that read what another stored."""
        pairs = [store.keys_and_values() for store in self._stores]
        return PerRun(keys for keys, _ in pairs), PerRun(values for _, values in pairs)


def _rows(array: mx.array, run: Run, step: Step) -> mx.array:
    return array if run.count == step.total else array[run.rows]


def fuses_chunks() -> bool:
    """Whether mlx has one kernel for a chunk's attention, which is worth a copy of what it reads.

    That kernel tells no sums, by which spans could be weighed.
    """
    return bool(mx.default_device().type == mx.DeviceType.gpu)


def _laid_out(
    prefixes: tuple[Before, ...], own: tuple[mx.array, mx.array]
) -> tuple[mx.array, mx.array]:
    """Keys and values of one sequence, its prefixes' first, in one array each."""
    keys = [prefix.keys for prefix in prefixes]
    values = [prefix.values for prefix in prefixes]
    return mx.concatenate([*keys, own[0]], axis=2), mx.concatenate([*values, own[1]], axis=2)

"""A loaded model that answers many sequences in one forward.

Three ways, tried in this order when a model is opened, until one gives the logits that the model
gives to each sequence alone:

`flat`   every layer sees `[rows, 1]`; only attention knows sequences, recurrent mixers are split;
`split`  attention is split as well, all other layers stay flat: absorbed MLA, soft caps and the
         like, whose attention does not go through the one name;
`alone`  each sequence is a forward of its own: models that compute positions from whole numbers
         at the top.

So a module that this knows nothing of is served rightly, by the fastest way that is right.
"""

import enum
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import inf
from typing import Any, Final

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from semantic_actors.engine import caches
from semantic_actors.engine.faults import describe
from semantic_actors.engine.forward import seams
from semantic_actors.engine.forward.group import Group, regroup
from semantic_actors.engine.forward.past import Past
from semantic_actors.engine.forward.rows import Run, Step, running
from semantic_actors.engine.forward.views import over
from semantic_actors.engine.protocol import CollectLast, nothing

ALONE_ROWS: Final = 32
"""A chunk of more rows has its last token fed alone in mode `alone`: the projection onto the
vocabulary of every row would cost more than one more pass over the weights."""

LONG_TOKENS: Final = 4_096
"""A sequence that is shorter is fed a token by the model as it is, where it is the only one: that
is built a little faster than a step, whose attention gains where there is much of it."""

TOLERANCE: Final = {mx.float32: 1e-3}
"""Of the logits' norm, by which a way may differ from a sequence alone."""

LOW_PRECISION_TOLERANCE: Final = 0.1
"""The same where weights are narrower, quantized or route to experts on near-ties."""

_PROBES: Final = ((6, 1), (5, 4), (3, 1))
"""Tokens held before, and fed in the step that is compared."""


class Mode(enum.Enum):
    """How sequences share a forward."""

    FLAT = "flat"
    SPLIT = "split"
    ALONE = "alone"


FIRST_MODE: Final = {"plamo3": Mode.SPLIT, "minimax_m3_vl": Mode.SPLIT}
"""Modules whose flat attention is wrong only in contexts longer than those compared at load."""


class Batched:
    """Owns the seams of one model. `notes` says which ways were refused, and why.

    No group of sequences holds more than `most_grouped_tokens`. With `can_share` sequences may have
    spans behind them: all caches are plain, and no layer has a window or sinks.
    """

    def __init__(self, model: Any, family: str) -> None:
        self._model = model
        self._can_group = False
        self.can_share = False
        self._groups: list[Group] = []
        self._plain = True
        self.most_grouped_tokens = inf
        self.notes: tuple[str, ...] = ()
        self.mode = Mode.ALONE
        reference = self._probe()
        self.vocabulary = int(reference.shape[-1])
        seams.pick_rows(model, self.vocabulary)
        seams.split_mixers(model)
        seams.rebind_attention(model)
        modes = list(Mode)
        for mode in modes[modes.index(FIRST_MODE.get(family, Mode.FLAT)) : -1]:
            reason = self._try(mode, reference)
            if reason is None:
                self._try_sharing(reference)
                return
            self.notes += (f"sequences do not run {mode.value}: {reason}",)
        self.mode = Mode.ALONE

    def fresh(self) -> Past:
        """Make the empty cache of a sequence."""
        return Past(self.fresh_layers())

    def fresh_layers(self) -> caches.Layers:
        """Make an empty cache."""
        return caches.fresh(self._model)

    def clear(self) -> None:
        """Dissolve all groups; their sequences are of no use any more."""
        for group in self._groups:
            for past in group.pasts:
                past.group = None
        self._groups = []

    def arrange(self, parts: Sequence[tuple[Past, int]]) -> list[int]:
        """Decide who runs with whom, and in which order the rows of `parts` must be given.

        Parts are a sequence and its number of tokens. What comes back are places in `parts`:
        groups first, in the order of their rows, then other single tokens, then chunks.
        """
        if self._can_group:
            singles = [past for past, count in parts if count == 1]
            self._groups = regroup(self._groups, singles, self.most_grouped_tokens)
        places = {id(past): place for place, (past, _) in enumerate(parts)}
        order = [places[id(past)] for group in self._groups for past in group.pasts]
        order += [i for i, (past, count) in enumerate(parts) if count == 1 and not past.group]
        return order + [i for i, (_, count) in enumerate(parts) if count > 1]

    def __call__(
        self,
        parts: Sequence[tuple[Past, int]],
        ids: mx.array,
        picked: Sequence[int],
        settle: CollectLast = nothing,
    ) -> mx.array:
        """Feed the parts, in the order that `arrange` gave, and return the logits after some.

        `ids` are the tokens of all rows, `(rows,)`; `picked` are places in `parts`. The logits are
        `(len(picked), vocabulary)`, lazy; with none picked they are not worth evaluating. `settle`
        as in `Step`.
        """
        runs = tuple(_runs(parts))
        past, _ = parts[0]
        alone = self.mode is Mode.ALONE or (
            ids.size == 1 and not past.group and not past.prefix and past.length < LONG_TOKENS
        )
        if alone:
            answer = self._one_by_one(parts, runs, ids, picked)
        else:
            answer = self._together(parts, Step(runs, _lasts(parts, picked), settle), ids)
        for run in runs:
            if isinstance(run.source, Group):
                run.source.advance()
                continue
            run.source.length += run.count
            if run.count > 1:
                caches.compact(run.source.layers)
        return answer

    def _together(self, parts: Sequence[tuple[Past, int]], step: Step, ids: mx.array) -> mx.array:
        views = over(step, parts[0][0].layers, split=self.mode is Mode.SPLIT)
        with running(step):
            logits: mx.array = self._model(ids[:, None], cache=views)
        self._plain &= step.plain
        if step.picked is not None and logits.shape[0] != step.picked.size:
            logits = logits[step.picked]  # a projection that no seam has found
        return logits[:, -1]

    def _one_by_one(
        self,
        parts: Sequence[tuple[Past, int]],
        runs: tuple[Run, ...],
        ids: mx.array,
        picked: Sequence[int],
    ) -> mx.array:
        logits = []
        for place, ((past, count), run) in enumerate(zip(parts, runs, strict=True)):
            mine = ids[run.rows][None]
            if place in picked and count > ALONE_ROWS:
                self._model(mine[:, :-1], cache=past.layers)
                mine = mine[:, -1:]
            logits.append(self._model(mine, cache=past.layers)[:, -1])
        wanted = [logits[place] for place in picked] or logits[:1]
        return wanted[0] if len(wanted) == 1 else mx.concatenate(wanted)

    def _try(self, mode: Mode, reference: mx.array) -> str | None:
        """Say what is wrong with a mode, if anything."""
        self.mode = mode
        self._can_group = mode is Mode.FLAT and all(map(caches.can_stack, self.fresh().members))
        try:
            answer = self._probe()
            off = _apart(answer, reference)
        except Exception as error:  # noqa: BLE001 (a module may raise anything)
            return describe(error)
        finally:
            self.clear()
        allowed = TOLERANCE.get(_narrowest(self._model), LOW_PRECISION_TOLERANCE)
        return None if off <= allowed else f"the logits are {off:.1e} off"

    def _try_sharing(self, reference: mx.array) -> None:
        """Find out whether sequences may have spans behind them."""
        plain = self._plain and all(map(caches.is_plain, self.fresh().members))
        if self.mode is Mode.FLAT and plain:
            allowed = TOLERANCE.get(_narrowest(self._model), LOW_PRECISION_TOLERANCE)
            self.can_share = _apart(self._probe(frozen=True), reference) <= allowed
            self.clear()

    def _probe(self, *, frozen: bool = False) -> mx.array:
        """Answer a step in which sequences decode, in a group and not, and one prefills.

        If `frozen`, part of what each holds is in a span.
        """
        parts, ids = [], []
        for number, (held, count) in enumerate(_PROBES, 1):
            past = self.fresh()
            before = mx.arange(held)[None] * number % 7 + 1
            mx.eval(self._model(before, cache=past.layers), caches.arrays(past.layers))
            past.length = held
            if frozen:
                past.freeze(self.fresh_layers)
            parts.append((past, count))
            ids.append([number + i for i in range(count)])
        order = self.arrange(parts)
        logits = self(
            [parts[i] for i in order],
            mx.array([token for i in order for token in ids[i]]),
            [order.index(i) for i in range(len(parts))],
        ).astype(mx.float32)
        mx.eval(logits)
        return logits


def _lasts(parts: Sequence[tuple[Past, int]], picked: Sequence[int]) -> mx.array | None:
    """Return the last rows of the picked parts; None: those are all rows there are."""
    stops = list(accumulate(count for _, count in parts))
    lasts = [stops[i] - 1 for i in picked] or [0]
    return None if lasts == list(range(stops[-1])) else mx.array(lasts)


def _runs(parts: Sequence[tuple[Past, int]]) -> Iterator[Run]:
    start = place = 0
    while place < len(parts):
        past, count = parts[place]
        if past.group is None:
            yield Run(past, start, count)
            place += 1
        else:
            count = len(past.group.pasts)
            yield Run(past.group, start, count)
            place += count
        start += count


def _apart(answer: mx.array, reference: mx.array) -> float:
    """Largest distance of a row from its reference, relative; masked vocabularies are infinite."""
    gap = mx.where(answer == reference, 0.0, answer - reference)
    scale = mx.where(mx.isinf(reference), 0.0, reference)
    off = mx.linalg.norm(gap, axis=-1) / mx.maximum(mx.linalg.norm(scale, axis=-1), 1e-6)
    worst = float(mx.max(off).item())  # type: ignore[arg-type]
    return worst if worst == worst else float("inf")  # noqa: PLR0124 (not a number)


def _narrowest(model: nn.Module) -> mx.Dtype:
    """The dtype with the fewest bits among the weights."""
    weights: Any = tree_flatten(model.parameters())
    dtypes: set[mx.Dtype] = {array.dtype for _, array in weights}
    return min(dtypes, key=lambda dtype: dtype.size)

"""Where a model of mlx-lm is opened for flat rows.

1. `rebind_attention`: the modules of mlx-lm import `scaled_dot_product_attention` by name; that
   name is bound to one that asks the step first. Without a step it is what it was.
2. `pick_rows`: the projection onto the vocabulary sees the wanted rows only.
3. `split_mixers`: the modules that take a cache or a mask run once per sequence, or once for a
   group of sequences that decode.

The first changes mlx-lm's own modules, for the whole process; the others the class of module
instances, so that another model is never touched.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.models import base

from semantic_actors.engine.forward import rows, split
from semantic_actors.engine.forward.views import AttentionView

_NAME = "scaled_dot_product_attention"
_stock: Callable[..., mx.array] = getattr(base, _NAME)


@wraps(_stock)
def _attention(  # noqa: PLR0917 (the signature is mlx-lm's)
    queries: mx.array,
    keys: Any,
    values: Any,
    cache: Any = None,
    scale: float = 1.0,
    mask: Any = None,
    sinks: mx.array | None = None,
) -> mx.array:
    step = rows.current()
    if step is not None:
        # By the keys first: layers that share keys of others pass no cache, or another one's.
        view = step.views.get(id(keys), cache)
        if isinstance(view, AttentionView):
            return view.attend(queries, scale, mask, sinks)
    return _stock(queries, keys, values, cache, scale, mask, sinks)


def rebind_attention(model: nn.Module) -> None:
    """Rebind the name in every module that the model is made of."""
    names = {cls.__module__ for module in model.modules() for cls in type(module).__mro__}
    for name in names - {base.__name__}:
        if getattr(sys.modules[name], _NAME, None) is _stock:
            setattr(sys.modules[name], _NAME, _attention)


class _PicksRows:
    def __call__(self, states: mx.array, *args: Any) -> mx.array:
        return super().__call__(_picked(states), *args)  # type: ignore[misc,no-any-return]


class _PicksRowsTied:
    def as_linear(self, states: mx.array) -> mx.array:
        return super().as_linear(_picked(states))  # type: ignore[misc,no-any-return]


class _Splits:
    def __call__(self, *args: Any, **options: Any) -> Any:
        step = rows.current()
        call = super().__call__  # type: ignore[misc]
        if step is None or not split.concerns((args, options)):
            return call(*args, **options)
        return split.run(call, step, args, options)


def pick_rows(model: nn.Module, vocabulary: int) -> None:
    """Let every projection onto the vocabulary, outside the layers, see the wanted rows only."""
    for path, module in model.named_modules():
        if any(part.isdigit() for part in path.split(".")):
            continue
        if isinstance(module, nn.Linear | nn.QuantizedLinear):
            if module.weight.shape[0] >= vocabulary:
                _derive(module, _PicksRows)
        elif isinstance(module, nn.Embedding | nn.QuantizedEmbedding):
            _derive(module, _PicksRowsTied)


def split_mixers(model: nn.Module) -> None:
    """Let every mixer run once per sequence when it is given a `SequencesView`."""
    for module in _mixers(model):
        _derive(module, _Splits)


def _mixers(model: Any) -> Iterator[nn.Module]:
    """Find the outermost modules that take a cache or a mask, below the layers or beside them.

    A layer that has none inside counts itself.
    """
    modules = dict(model.named_modules())
    layers = {name for name, one in modules.items() if any(one is layer for layer in model.layers)}
    above = {
        name
        for name in modules
        if any(layer == name or layer.startswith(f"{name}." if name else "") for layer in layers)
    }
    takers = {name for name in modules.keys() - above if _takes_cache(modules[name])}
    top = {name for name in takers if not any(name.startswith(f"{other}.") for other in takers)}
    bare = {layer for layer in layers if not any(name.startswith(f"{layer}.") for name in top)}
    return (modules[name] for name in top | bare)


def _takes_cache(module: nn.Module) -> bool:
    call = type(module).__call__ if callable(module) else None
    try:
        return call is not None and not {"cache", "mask"}.isdisjoint(
            inspect.signature(call).parameters
        )
    except (TypeError, ValueError):
        return False


def _picked(states: mx.array) -> mx.array:
    step = rows.current()
    return states if step is None else step.pick(states)


def _derive(module: nn.Module, mixin: type) -> None:
    cls = type(module)
    if not issubclass(cls, mixin):
        module.__class__ = type(cls.__name__, (mixin, cls), {"__module__": cls.__module__})

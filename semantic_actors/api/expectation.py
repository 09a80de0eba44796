"""What a field of a wire type may hold, in words, and what a document holds instead.

Both are read along one path: the bound out of the declared types, so that a message cannot drift
away from what is enforced, and the value out of the raw JSON, so that a hostile document is never
built just to be quoted.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import inspect

Step = str | int
"""One step of a path into a JSON document: a field's name or an index."""

FREE_FORM: Final = "numbers within range"
"""All that is asked of JSON where any JSON fits: a number must fit into 64 bits."""


def expected_and_found(
    root: type, body: bytes, path: Sequence[Step], *, inside: bool = False
) -> tuple[str, str]:
    """Say what `root` allows at `path`, and quote what `body` has there.

    `inside` says that it is an object there, and that what is wrong is in it.
    """
    kinds = _flat([inspect.type_info(root)])
    raw = msgspec.Raw(body)
    for step in path:
        inner = [kind for outer in _meant(kinds, raw) for kind in _inside(outer, step)]
        kinds = _flat(inner)
        raw = _raw_inside(raw, step)
    if inside:
        kinds = [kind for kind in kinds if _is_map(kind)] or [inspect.AnyType()]
    words = dict.fromkeys(_describe(kind) for kind in kinds)
    return " or ".join(words), bytes(raw).decode(errors="replace").strip()


def _flat(kinds: Iterable[inspect.Type]) -> list[inspect.Type]:
    """Replace unions by their members, and the tags of one union by one choice of tags."""
    flat: list[inspect.Type] = []
    for kind in kinds:
        flat += _flat(kind.types) if isinstance(kind, inspect.UnionType) else [kind]
    choices = [kind for kind in flat if isinstance(kind, inspect.LiteralType)]
    others = [kind for kind in flat if not isinstance(kind, inspect.LiteralType)]
    values = tuple(dict.fromkeys(value for choice in choices for value in choice.values))
    return [inspect.LiteralType(values), *others] if values else others


def _meant(kinds: list[inspect.Type], raw: msgspec.Raw) -> list[inspect.Type]:
    """Of alternatives with tags keep the one that the document names, if it names one."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return kinds
    named: list[inspect.Type] = [
        kind
        for kind in kinds
        if isinstance(kind, inspect.StructType)
        and kind.tag_field in fields
        and bytes(fields[kind.tag_field]) == msgspec.json.encode(kind.tag)
    ]
    return named or kinds


def _inside(kind: inspect.Type, step: Step) -> list[inspect.Type]:
    match kind:
        case inspect.ListType() if isinstance(step, int):
            return [kind.item_type]
        case inspect.StructType() if step == kind.tag_field:
            return [inspect.LiteralType((str(kind.tag),))]
        case inspect.StructType():
            return [field.type for field in kind.fields if field.encode_name == step]
        case _:
            return []


def _raw_inside(raw: msgspec.Raw, step: Step) -> msgspec.Raw:
    if isinstance(step, int):
        return msgspec.json.decode(raw, type=list[msgspec.Raw])[step]
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[step]


def _describe(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType():
            words = "an integer" + _range(kind)
        case inspect.FloatType():
            words = "a number" + _range(kind)
        case inspect.StrType():
            words = "a string" + _length(kind.min_length, kind.max_length, "characters")
        case inspect.ListType():
            words = "an array" + _length(kind.min_length, kind.max_length, "items")
        case inspect.DictType() if _is_map(kind):
            names, values = _describe(kind.key_type), _describe(kind.value_type)
            words = f"an object{_length(kind.min_length, kind.max_length, 'members')}"
            words += f", each from {names} to {values}"
        case inspect.LiteralType():
            words = "one of " + ", ".join(map(repr, kind.values))
        case inspect.BoolType():
            words = "true or false"
        case inspect.NoneType():
            words = "null"
        case inspect.AnyType():
            words = FREE_FORM
        case _:
            words = "an object"
    return words


def _is_map(kind: inspect.Type) -> bool:
    """Whether it is an object of any keys whose values are not just any JSON."""
    return isinstance(kind, inspect.DictType) and not isinstance(kind.value_type, inspect.AnyType)


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    low = f" >= {kind.ge}" if kind.ge is not None else ""
    above = f" > {kind.gt}" if kind.gt is not None else ""
    high = f" <= {kind.le}" if kind.le is not None else ""
    return " and".join(bound for bound in (low, above, high) if bound)


def _length(low: int | None, high: int | None, unit: str) -> str:
    match low, high:
        case None, None:
            return ""
        case _, None:
            return f" of at least {low} {unit}"
        case None, _:
            return f" of at most {high} {unit}"
        case _:
            return f" of {low} to {high} {unit}"

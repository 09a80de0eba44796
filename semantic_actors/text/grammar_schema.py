"""JSON schemas as a client sent them, made fit for the compiler of grammars, or refused.

The compiler is native code that trusts its input: it follows references on its stack, counts
`multipleOf` in states and cannot be interrupted. What it would choke on is recognised here, by
limits that hold wherever in the document something stands: a reference may lead anywhere.
"""

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from semantic_actors.domain import limits

JsonObject = dict[str, Any]

ANY_OBJECT: Final[JsonObject] = {"type": "object"}

FORMATS: Final = frozenset(
    ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")
)
"""Formats that are kept to. The others are annotations, as JSON schema has it."""

BLANKS: Final = r" |\n {0,16}"
"""White space between two parts of a JSON text: what models write, and no room for a loop."""

_OPTIONS: Final = "x-guidance"
_DIALECTS: Final = ("http://json-schema.org/", "https://json-schema.org/")
_LEAST_MINIMUM: Final = 2**10 - 2**63
"""The compiler reads bounds as floats, and trips over the next one below this."""
_PROSE: Final = frozenset(("$comment", "description", "title"))
_DATA: Final = frozenset(("const", "default", "enum", "examples"))
_NAMED: Final = frozenset(("$defs", "definitions", "patternProperties", "properties"))
"""Keywords whose keys are a client's names, and no keywords."""

_VOID: Final[JsonObject] = {
    "dependentRequired": ({},),
    "propertyNames": (True, {}, {"type": "string"}),
    "unevaluatedItems": (True,),
    "unevaluatedProperties": (True,),
    "uniqueItems": (False,),
}
"""Keywords the compiler does not know, with values that ask for nothing: generators write them."""

_BRANCHES: Final = frozenset(("allOf", "anyOf", "items", "oneOf", "prefixItems"))


class Unservable(Exception):
    """No answer can be held to this schema; the reason is fit for the client."""


def parsed(text: str) -> JsonObject:
    """Read the text of a schema. Raises `Unservable`."""
    _bound("bytes", len(text.encode()), limits.MAX_SCHEMA_BYTES)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        msg = "it is not the JSON text of an object"
        raise Unservable(msg)
    return schema


def admitted(schema: JsonObject, *, lenient: bool = False) -> JsonObject:
    """Return the schema as it is compiled. Raises `Unservable`.

    A lenient one ignores keywords that cannot be kept to, and takes `oneOf` for `anyOf`.
    """
    _survey(schema)
    options = {
        "whitespace_pattern": BLANKS,
        "json_allow_general_unicode_escapes": True,  # whole characters only
        "lenient": lenient,
        "coerce_one_of": lenient,
    }
    return {**_rewritten(schema), _OPTIONS: options}


def of_arguments(schema: JsonObject) -> JsonObject:
    """Return the schema of a tool's arguments, which are an object whatever it says."""
    return schema if schema.get("type") == "object" else {**schema, **ANY_OBJECT}


class _Survey:
    """What a schema has in sum."""

    def __init__(self) -> None:
        self.multiples: list[int] = []
        self.references: set[str] = set()
        self.patterns = 0

    def look(self, value: Any) -> None:
        """Bound what stands in one value, and take down what has to be bounded in sum."""
        if isinstance(value, str):
            _bound("characters in one word", len(value), limits.MAX_SCHEMA_LITERAL_CHARS)
        if isinstance(value, dict):
            _bound("properties", len(value), limits.MAX_SCHEMA_PROPERTIES)
            for key, inner in value.items():
                _bound("characters in one name", len(key), limits.MAX_SCHEMA_LITERAL_CHARS)
                self._keyword(key, inner)

    def _keyword(self, key: str, value: Any) -> None:
        match key, value:
            case "multipleOf", int() | float():
                self.multiples.append(_digits(value))
            case (("$ref" | "$dynamicRef" | "$recursiveRef"), str()):
                self.references.add(value)
            case "patternProperties", dict():
                self.patterns += len(value)
            case "required", list():
                _bound("properties in `required`", len(value), limits.MAX_SCHEMA_PROPERTIES)
            case _, list() if key in _BRANCHES:
                _bound(f"schemas in `{key}`", len(value), limits.MAX_SCHEMA_ALTERNATIVES)


def _survey(schema: JsonObject) -> None:
    """Refuse a schema that is too much for the compiler."""
    survey, values, depth = _Survey(), 0, 0
    level: list[Any] = [schema]
    while level:
        depth += 1
        _bound("levels of nesting", depth, limits.MAX_SCHEMA_DEPTH)
        values += len(level)
        _bound("values", values, limits.MAX_SCHEMA_VALUES)
        for value in level:
            survey.look(value)
        level = [inner for value in level for inner in _children(value)]
    _bound("`patternProperties`", survey.patterns, limits.MAX_SCHEMA_PATTERNS)
    _bound("`multipleOf` in all", sum(survey.multiples), limits.MAX_MULTIPLE_OF)
    _bound("`multipleOf` in common", math.lcm(*survey.multiples), limits.MAX_MULTIPLE_OF)
    reach = depth + sum(_height(_target(schema, one)) for one in survey.references)
    _bound("levels of nesting, references followed", reach, limits.MAX_SCHEMA_REACH)


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not (key in _PROSE and isinstance(inner, str)):
                yield inner
    elif isinstance(value, list):
        yield from value


def _digits(number: float) -> int:
    """Return a number's digits without its point, at least 1; what is no number is too much."""
    decimal = Decimal(str(number))
    if not decimal.is_finite():
        return limits.MAX_MULTIPLE_OF + 1
    digits = decimal.normalize().as_tuple()
    assert isinstance(digits.exponent, int), "it is finite"
    if digits.exponent > 0:
        return max(1, abs(int(min(abs(decimal), Decimal(limits.MAX_MULTIPLE_OF + 1)))))
    return max(1, int("".join(map(str, digits.digits))))


def _target(schema: JsonObject, reference: str) -> Any:
    """Return what a reference leads to; the whole schema where that is not plain to see."""
    value: Any = schema
    path = reference.removeprefix("#/")
    if path == reference:
        return schema
    for step in path.split("/"):
        if not isinstance(value, Mapping) or step not in value:
            return schema
        value = value[step]
    return value


def _height(value: Any) -> int:
    height, level = 0, [value]
    while level:
        height += 1
        level = [inner for one in level for inner in _children(one)]
    return height


def _rewritten(value: Any) -> Any:
    """Return a schema without what asks for nothing, and without options of ours."""
    if isinstance(value, list):
        return [_rewritten(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: _kept(key, inner) for key, inner in value.items() if not _asks_nothing(key, inner)}


def _kept(key: str, value: Any) -> Any:
    if key in _DATA:
        return value
    if key in _NAMED and isinstance(value, dict):
        return {name: _rewritten(inner) for name, inner in value.items()}
    if key == "minimum" and isinstance(value, int | float):
        return max(value, _LEAST_MINIMUM)
    return _rewritten(value)


def _asks_nothing(key: str, value: Any) -> bool:
    match key:
        case "format":
            return isinstance(value, str) and value not in FORMATS
        case "$schema":
            return not (isinstance(value, str) and value.startswith(_DIALECTS))
        case _:
            return key == _OPTIONS or any(
                value is one or value == one for one in _VOID.get(key, ())
            )


def _bound(what: str, found: int, most: int) -> None:
    if found > most:
        msg = f"it has {found} {what}, at most {most} can be served"
        raise Unservable(msg)

"""JSON schemas by seed, and whether a value is one of theirs: no more of JSON schema than that."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_KINDS: dict[str, Any] = {
    "null": type(None),
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "object": dict,
}

NAMES = ("a", "city", "naïve", "größe", "住所", "два слова", 'quo"ted', "🦊", "x-1")
WORDS = ("yes", "no", "Zürich", "東京", 'a "b"', "back\\slash", "two\nlines", "")
PATTERNS = ("^[a-z]{2,6}$", "^\\d{3}-\\d{2}$", "^(red|green|blue)$", "^[A-Z][a-z]*( [A-Z])?$")


def schema(seed: int) -> Schema:
    """Return an object's schema, of all that is generated here some."""
    chance = random.Random(seed)
    made = _object(chance, 3)
    if chance.random() < 0.3:
        made["properties"]["next"] = {"$ref": "#/$defs/leaf"}
        made["$defs"] = {"leaf": _any(chance, 1)}
    return made


def text(seed: int) -> str:
    """Return the same as JSON."""
    return json.dumps(schema(seed), ensure_ascii=False)


def holds(value: Any, of: Schema, root: Schema | None = None) -> bool:
    """Whether a schema of this module accepts a value."""
    root = root or of
    if "$ref" in of:
        return holds(value, root["$defs"][of["$ref"].rpartition("/")[2]], root)
    if "anyOf" in of:
        return any(holds(value, one, root) for one in of["anyOf"])
    if "enum" in of or "const" in of:
        return any(_same(value, one) for one in of.get("enum", [of.get("const")]))
    kinds = of["type"] if isinstance(of["type"], list) else [of["type"]]
    return any(_holds(kind, value, of, root) for kind in kinds)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _holds(kind: str, value: Any, of: Schema, root: Schema) -> bool:
    right = isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))
    if not right:
        return False
    match kind:
        case "integer" | "number":
            return bool(of["minimum"] <= value <= of["maximum"])
        case "string":
            fits = len(value) <= of.get("maxLength", len(value))
            return fits and bool(re.search(of.get("pattern", ""), value))
        case "array":
            fits = of["minItems"] <= len(value) <= of["maxItems"]
            return fits and all(holds(one, of["items"], root) for one in value)
        case "object":
            known = of["properties"]
            fits = set(of["required"]) <= set(value) <= set(known)
            return fits and all(holds(one, known[key], root) for key, one in value.items())
    return True


def _any(chance: random.Random, depth: int) -> Schema:
    leaves = (_number, _integer, _string, _chosen, _plain)
    branches = (_object, _array, _one_of) if depth else ()
    make: Callable[[random.Random, int], Schema]
    make = chance.choice((*leaves, *branches, *branches))
    return make(chance, depth - 1)


def _object(chance: random.Random, depth: int) -> Schema:
    names = chance.sample(NAMES, chance.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: _any(chance, depth) for name in names},
        "required": [name for name in names if chance.random() < 0.6],
        "additionalProperties": False,
    }


def _array(chance: random.Random, depth: int) -> Schema:
    least = chance.randint(0, 2)
    items = _any(chance, depth)
    return {
        "type": "array",
        "items": items,
        "minItems": least,
        "maxItems": least + chance.randint(0, 2),
    }


def _one_of(chance: random.Random, depth: int) -> Schema:
    return {"anyOf": [_any(chance, depth) for _ in range(chance.randint(1, 3))]}


def _number(chance: random.Random, _: int) -> Schema:
    least = round(chance.uniform(-50, 50), 2)
    return {"type": "number", "minimum": least, "maximum": least + chance.randint(1, 100)}


def _integer(chance: random.Random, _: int) -> Schema:
    least = chance.randint(-1_000, 1_000)
    return {"type": "integer", "minimum": least, "maximum": least + chance.randint(0, 5_000)}


def _string(chance: random.Random, _: int) -> Schema:
    if chance.random() < 0.5:
        return {"type": "string", "pattern": chance.choice(PATTERNS)}
    return {"type": "string", "maxLength": chance.randint(0, 12)}


def _chosen(chance: random.Random, _: int) -> Schema:
    if chance.random() < 0.3:
        return {"const": chance.choice(WORDS)}
    return {"enum": [*chance.sample(WORDS, 3), chance.randint(0, 9), None]}


def _plain(chance: random.Random, _: int) -> Schema:
    return {"type": chance.choice(["null", "boolean", ["boolean", "null"]])}

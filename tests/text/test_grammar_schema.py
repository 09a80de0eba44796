"""Schemas that mean harm, or more than can be kept: refused with a reason, and soon."""

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from semantic_actors.domain import limits
from semantic_actors.domain.errors import InvalidRequest
from semantic_actors.domain.grammar import GrammarFailed
from semantic_actors.domain.request import ToolChoice, ToolSpec
from semantic_actors.engine import pocket_path
from semantic_actors.text import Codec
from semantic_actors.text.grammar_schema import Unservable, admitted, parsed
from tests.text.drawing import FIELD, drawn, generation, grammar

Schema = dict[str, Any]

WITHIN_S = 1.0


def nested(depth: int, around: Callable[[Schema], Schema]) -> Schema:
    """Wrap a string so many times."""
    schema: Schema = {"type": "string"}
    for _ in range(depth):
        schema = around(schema)
    return schema


def chain(length: int, link: Callable[[Schema], Schema]) -> Schema:
    """Refer from definition to definition."""
    defs = {f"a{i}": link({"$ref": f"#/$defs/a{i + 1}"}) for i in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**defs, f"a{length}": {"type": "object"}}}


def an_object(**properties: Schema) -> Schema:
    """Ask for all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


REFUSED: dict[str, Schema] = {
    "deep": nested(40, lambda one: an_object(a=one)),
    "deep-constant": {"const": nested(100, lambda one: {"a": one})},
    "references-in-objects": chain(2_000, lambda one: an_object(x=one)),
    "references-in-all": chain(2_000, lambda one: {"allOf": [one]}),
    "references-elsewhere": {
        "$ref": "#/x/a0",
        "x": {f"a{i}": an_object(x={"$ref": f"#/x/a{i + 1}"}) for i in range(499)},
    },
    "nothing-but-itself": {"$ref": "#"},
    "circle-with-siblings": {
        "type": "object",
        "allOf": [{"$ref": "#/$defs/a"}],
        "$defs": {"a": {"properties": {"x": {"$ref": "#"}}, "allOf": [{"$ref": "#"}]}},
    },
    "remote": {"$ref": "https://example.com/schema.json"},
    "file": {"$ref": "file:///etc/passwd"},
    "huge-enum": {"enum": [f"value {i}" for i in range(15_000)]},
    "huge-constant": {"const": "x" * 200_000},
    "huge-name": an_object(**{"k" * 100_000: {"type": "string"}}),
    "properties": {"type": "object", "properties": {f"p{i}": {} for i in range(5_000)}},
    "required": {"type": "object", "required": [f"p{i}" for i in range(5_000)]},
    "alternatives": {"anyOf": [{"type": "array"}] * 5_000},
    "product-of-alternatives": {
        "allOf": [
            {"anyOf": [an_object(**{f"{name}{i}": {"const": i}}) for name in "ab"]}
            for i in range(20)
        ]
    },
    "multiple": {"type": "integer", "multipleOf": 999_983},
    "common-multiple": {"allOf": [{"type": "integer", "multipleOf": p} for p in (101, 103, 107)]},
    "multiple-of-nothing-much": {"type": "number", "multipleOf": 0.123456789},
    "many-patterns": {
        "type": "object",
        "patternProperties": {f"^a{i}_[a-z]{{1,20}}$": {} for i in range(400)},
    },
    "pattern-without-end": {"type": "string", "pattern": "(" * 900 + "a+" + ")" * 900},
    "look-around": {"type": "string", "pattern": "^(?=a)b$"},
    "back-reference": {"type": "string", "pattern": "^(a)\\1$"},
    "negation": {"not": {"type": "string"}},
    "condition": {"if": {"type": "string"}, "then": {"minLength": 2}},
    "nothing-fits": {"type": "integer", "minimum": 5, "maximum": 4},
    "no-type": {"type": "frob"},
    "dangling": {"$ref": "#/$defs/nowhere"},
}

SERVED: dict[str, Schema] = {
    "wide-integers": {"type": "integer", "minimum": -(10**300), "maximum": 10**300},
    "tree": an_object(c={"type": "array", "items": {"$ref": "#"}}),
    "long-array": {"type": "array", "items": {"type": "number"}, "minItems": 10_000_000},
    "long-string": {"type": "string", "minLength": 10_000_000},
    "arrays-of-arrays": nested(
        8, lambda one: {"type": "array", "items": one, "minItems": 999, "maxItems": 1_000}
    ),
    "catastrophic": {"type": "string", "pattern": "^((a+)+)+$"},
    "repeated-repetition": {"type": "string", "pattern": "^((a{1,100}){1,100}){1,100}$"},
    "states": {"type": "string", "pattern": "(.*a.{200}b.*){5}"},
    "doubling": {
        "$ref": "#/$defs/a0",
        "$defs": {
            **{f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)},
            "a40": {"type": "string"},
        },
    },
    "at-the-limit": chain(400, lambda one: an_object(x=one)),
    "optional": {
        "type": "object",
        "properties": {
            f"p{i}": {"type": "string"} for i in range(limits.MAX_SCHEMA_PROPERTIES - 1)
        },
    },
    "multiple": {"type": "integer", "multipleOf": limits.MAX_MULTIPLE_OF - 3},
}


@pytest.fixture(scope="module")
def pocket() -> Codec:
    """Return the codec of the bundled model, its compiler started."""
    codec = Codec.load(pocket_path())
    grammar(codec, generation('{"type": "null"}'))
    return codec


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_schema_is_refused_soon(pocket: Codec, name: str) -> None:
    """The refusal names the field, says why in a line, and takes less than a second."""
    began = time.perf_counter()
    with pytest.raises(InvalidRequest) as refused:
        grammar(pocket, generation(json.dumps(REFUSED[name])))
    took_s = time.perf_counter() - began

    assert took_s < WITHIN_S
    assert refused.value.field == FIELD
    message = str(refused.value)
    assert message.startswith(f"{FIELD}: ")
    assert len(message) < 400
    assert "\n" not in message
    assert "%json" not in message


@pytest.mark.parametrize("name", SERVED)
def test_what_looks_hostile_but_is_not_is_served(pocket: Codec, name: str) -> None:
    """No step of it is dear; if one becomes so, the guide ends instead of the patience."""
    began = time.perf_counter()
    way = grammar(pocket, generation(json.dumps(SERVED[name])))
    took_s = time.perf_counter() - began
    assert way is not None
    assert took_s < WITHIN_S

    began = time.perf_counter()
    with suppress(GrammarFailed):
        drawn(way, 1, pocket.eos_ids, limit=100)
    assert time.perf_counter() - began < WITHIN_S


def test_a_step_that_is_too_dear_ends_the_guide(pocket: Codec) -> None:
    """It does not hold up the thread that asked: the limit is reached in milliseconds."""
    way = grammar(pocket, generation(json.dumps(SERVED["states"])))
    assert way is not None

    with pytest.raises(GrammarFailed, match="too many expressions"):
        drawn(way, 1, pocket.eos_ids)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "true", '"{}"', "[" * 100_000])
def test_a_schema_is_the_text_of_an_object(text: str) -> None:
    """Nothing else is."""
    with pytest.raises(Unservable, match="not the JSON text of an object"):
        parsed(text)


def test_a_long_schema_is_refused_before_it_is_read(pocket: Codec) -> None:
    """By the one who asks, without the compiler's thread."""
    text = json.dumps({"enum": ["x" * 100] * 4_000})

    with pytest.raises(InvalidRequest, match=str(limits.MAX_SCHEMA_BYTES)):
        pocket.grammar(generation(text))


def test_descriptions_may_be_as_long_as_they_like() -> None:
    """They are for the model to read and cost the compiler nothing."""
    schema = an_object(description={"type": "string", "description": "word " * 10_000})

    assert admitted(schema)["properties"] == schema["properties"]


def test_formats_that_are_not_known_are_annotations() -> None:
    """As JSON schema has it; those that are known are kept to, and data is not touched."""
    schema = {
        "properties": {
            "a": {"type": "integer", "format": "int64"},
            "b": {"type": "string", "format": "date"},
            "format": {"type": "string"},
            "c": {"const": {"format": "int64"}},
        }
    }

    kept = admitted(schema)["properties"]

    assert kept == {**schema["properties"], "a": {"type": "integer"}}


@pytest.mark.parametrize("name", ["const", "default", "enum", "format", "x-guidance"])
def test_properties_may_be_called_like_keywords(pocket: Codec, name: str) -> None:
    """What stands there is a schema like any other, and is asked for."""
    inner = {"type": "integer", "format": "int64", "uniqueItems": False, "enum": [7]}
    schema = an_object(**{name: inner})

    way = grammar(pocket, generation(json.dumps({**schema, "additionalProperties": False})))

    assert way is not None
    assert json.loads(pocket.decode(drawn(way, 1, pocket.eos_ids)[:-1])) == {name: 7}


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "array", "items": {"type": "boolean"}, "maxItems": 3, "uniqueItems": False},
        {"type": "object", "propertyNames": {"type": "string"}, "maxProperties": 0},
        {"type": "object", "unevaluatedProperties": True, "maxProperties": 0},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "null", "$schema": "https://spec.openapis.org/oas/3.1/dialect/base"},
    ],
    ids=json.dumps,
)
def test_what_generators_write_and_asks_for_nothing_is_served(
    pocket: Codec, kind: dict[str, Any]
) -> None:
    """Schemas of types, in Python, JavaScript and Rust, say much that goes without saying."""
    schema = an_object(a=kind)

    way = grammar(pocket, generation(json.dumps({**schema, "additionalProperties": False})))

    assert way is not None
    assert json.loads(pocket.decode(drawn(way, 1, pocket.eos_ids)[:-1])).keys() == {"a"}


def test_a_refusal_recommends_no_option_of_the_compiler(pocket: Codec) -> None:
    """The client has none; calls that may come take any of the alternatives."""
    schema = an_object(a={"oneOf": [{"type": "number"}, {"type": "integer"}]})

    with pytest.raises(InvalidRequest, match="oneOf constraints are not supported") as refused:
        grammar(pocket, generation(json.dumps(schema)))

    assert "coerce" not in str(refused.value)
    must = ToolChoice("required", parallel=False)
    way = grammar(pocket, generation(None, (ToolSpec("t", None, schema),), must))
    assert way is not None
    call = pocket.decode(drawn(way, 1, pocket.eos_ids)[:-1])
    assert re.search(r'"arguments": \{\s*"a"\s*:\s*-?\d', call)


def test_a_client_has_no_options_of_the_compiler(pocket: Codec) -> None:
    """What it says under their name is not heard."""
    options = {"whitespace_flexible": True, "lenient": True}
    schema = {"x-guidance": options, "not": {}, "properties": {"a": {"x-guidance": options}}}

    kept = admitted(schema)

    assert "x-guidance" not in kept["properties"]["a"]
    with pytest.raises(InvalidRequest, match="not"):
        grammar(pocket, generation(json.dumps(schema)))

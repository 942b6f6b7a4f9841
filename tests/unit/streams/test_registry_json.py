"""JSON Schemas held against each other. The judge is a validator: what is called compatible must accept every value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bitvelocity.errors import RegistryError
from bitvelocity.streams.registry.jsonschema import json_objections, read_json_schema

NAMES = st.sampled_from(["a", "b", "c"])
LEAVES = st.sampled_from([None, True, False, 0, 1, 2, 5, -1, 1.5, "", "x", "xyz", "a"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6)


def numbers(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={key: st.integers(0, 3) for key in keys})


SIMPLE = st.one_of(
    st.just(True),
    st.just({}),
    st.sampled_from(["null", "boolean", "string", "integer", "number", "object", "array"]).map(lambda kind: {"type": kind}),
    st.lists(st.sampled_from(["null", "string", "integer", "number"]), min_size=1, unique=True).map(lambda kinds: {"type": kinds}),
    numbers("minimum", "maximum", "exclusiveMinimum").map(lambda more: {"type": "number", **more}),
    numbers("minLength", "maxLength").map(lambda more: {"type": "string", **more}),
    st.lists(LEAVES, min_size=1, max_size=3).map(lambda values: {"enum": values}),
    LEAVES.map(lambda value: {"const": value}),
    st.sampled_from([1, 2, 0.5]).map(lambda step: {"multipleOf": step}),
)


def bigger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    array = st.fixed_dictionaries({"type": st.just("array")}, optional={
        "items": inner, "prefixItems": st.lists(inner, max_size=2), "minItems": st.integers(0, 2), "maxItems": st.integers(0, 3),
        "uniqueItems": st.booleans()})  # fmt: skip
    thing = st.fixed_dictionaries({}, optional={
        "type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=2), "required": st.lists(NAMES, unique=True, max_size=2),
        "additionalProperties": st.booleans() | inner, "minProperties": st.integers(0, 2), "maxProperties": st.integers(1, 3)})  # fmt: skip
    several = st.lists(inner, min_size=1, max_size=2)
    return array | thing | several.map(lambda one: {"anyOf": one}) | st.tuples(thing, several).map(lambda two: {**two[0], "allOf": two[1]})


SCHEMAS = st.recursive(SIMPLE, bigger, max_leaves=5)


def objections(reader: Any, writer: Any, *, lenient: bool = False) -> list[tuple[str, str]]:
    read, written = (read_json_schema(json.dumps(one)) for one in (reader, writer))
    return [(one.kind, one.path) for one in json_objections(read, written, lenient=lenient)]


@settings(max_examples=250, deadline=None)
@given(SCHEMAS, SCHEMAS, st.lists(VALUES, min_size=5, max_size=15))
def test_what_is_called_compatible_accepts_every_value(reader: Any, writer: Any, values: list[Any]) -> None:
    assume(not objections(reader, writer))
    for value in values:
        if Draft202012Validator(writer).is_valid(value):
            assert Draft202012Validator(reader).is_valid(value), (reader, writer, value)


@settings(max_examples=60, deadline=None)
@given(SCHEMAS)
def test_a_schema_accepts_its_own_values_and_anything_is_accepted_by_true(schema: Any) -> None:
    assert not objections(schema, json.loads(json.dumps(schema)))
    assert not objections(True, schema)
    schema = read_json_schema(json.dumps(schema, indent=1))
    assert read_json_schema(schema.text).text == schema.text


def thing(properties: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


A, AB = {"a": {"type": "string"}}, {"a": {"type": "string"}, "b": {"type": "integer"}}
CLOSED = {"additionalProperties": False}


@pytest.mark.parametrize(
    ("reader", "writer", "found"),
    [
        (thing(AB, **CLOSED), thing(A, **CLOSED), []),
        (thing(A, **CLOSED), thing(AB, **CLOSED), [("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", "#/properties/b")]),
        (thing(AB), thing(A), [("PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", "#/properties/b")]),
        (thing(A), thing(AB), []),
        (thing(AB, required=["b"], **CLOSED), thing(AB, **CLOSED), [("REQUIRED_ATTRIBUTE_ADDED", "#/properties/b")]),
        (thing({**A, "b": {"default": 0}}, required=["b"], **CLOSED), thing(A, **CLOSED), []),
        ({"type": "number"}, {"type": "integer"}, []),
        ({"type": "integer"}, {"type": "number"}, [("TYPE_NARROWED", "#")]),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, {"type": "string"}, []),
        ({"type": ["null", "string"]}, {"oneOf": [{"type": "null"}, {"type": "string"}]}, []),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, {"type": ["null", "string"]}, []),
        ({"enum": ["x", "y"]}, {"enum": ["x"]}, []),
        ({"enum": ["x"]}, {"enum": ["x", "y"]}, [("ENUM_ARRAY_NARROWED", "#")]),
        ({"type": "string", "pattern": "a"}, {"type": "string"}, [("PATTERN_CHANGED", "#")]),
        ({"not": {"type": "null"}}, {}, [("KEYWORD_CHANGED", "#")]),
        ({"$ref": "#/$defs/t", "$defs": {"t": thing({"next": {"$ref": "#/$defs/t"}, **A}, **CLOSED)}},
         {"$ref": "#/definitions/u", "definitions": {"u": thing({"next": {"$ref": "#/definitions/u"}}, **CLOSED)}}, []),
    ],
)  # fmt: skip
def test_the_rules(reader: Any, writer: Any, found: list[tuple[str, str]]) -> None:
    assert objections(reader, writer) == found


def test_lenient() -> None:
    assert objections(thing(AB), thing(A), lenient=True) == []
    assert objections(thing({"a": {"type": "integer"}}), thing(A), lenient=True) == [("TYPE_NARROWED", "#/properties/a")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"), ('"string"', "an object, true or false"), ('{"type": "text"}', "at #: there is no type 'text'"),
        ('{"properties": {"a": {"$ref": "#/nowhere"}}}', "at #/properties/a: '#/nowhere' leads nowhere"),
        ('{"properties": {"a": 1}}', "at #/properties/a"), ('{"required": "a"}', "required is no list"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(RegistryError, match=says) as refused:
        read_json_schema(text)
    assert refused.value.code == "42201"

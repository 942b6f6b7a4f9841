"""Avro schemas held against each other: Avro's own rules where it has some, ours where it has none."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

import avro.schema
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from hypothesis import given, settings
from hypothesis import strategies as st

from bitvelocity.errors import RegistryError
from bitvelocity.streams.registry.avro import avro_objections, read_avro

PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
DEFAULTS: dict[str, Any] = {"null": None, "boolean": False, "int": 0, "long": 0, "float": 0.5, "double": 0.5, "bytes": "", "string": ""}


def objections(reader: Any, writer: Any) -> list[tuple[str, str]]:
    found = avro_objections(read_avro(json.dumps(reader)).root, read_avro(json.dumps(writer)).root)
    return [(one.kind, one.path) for one in found]


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    """Any schema without logical types; names are drawn from few, so that they meet."""
    seen: set[str] = set()
    return draw_schema(draw, seen, depth=3)


def draw_schema(draw: st.DrawFn, seen: set[str], depth: int) -> Any:
    kinds = ["primitive", "primitive", "enum", "fixed"] + (["record", "array", "map", "union"] if depth else [])
    kind = draw(st.sampled_from(kinds))
    if kind in ("enum", "fixed", "record"):
        name = draw(st.sampled_from(["A", "B", "C"]))
        if name in seen:
            return name
        seen.add(name)
        return draw_named(draw, kind, name, seen, depth=depth)
    if kind in ("array", "map"):
        return {"type": kind, "items" if kind == "array" else "values": draw_schema(draw, seen, depth - 1)}
    if kind == "union":
        chosen = draw(st.lists(st.sampled_from(PRIMITIVES), min_size=1, max_size=3, unique=True))
        more = draw_schema(draw, seen, 0)
        return [*chosen, *([more] if more not in PRIMITIVES else [])]
    return draw(st.sampled_from(PRIMITIVES))


def draw_named(draw: st.DrawFn, kind: str, name: str, seen: set[str], *, depth: int) -> dict[str, Any]:
    if kind == "fixed":
        return {"type": kind, "name": name, "size": draw(st.integers(1, 3))}
    if kind == "enum":
        symbols = draw(st.lists(st.sampled_from("XYZ"), min_size=1, unique=True))
        default = {"default": symbols[0]} if draw(st.booleans()) else {}
        return {"type": kind, "name": name, "symbols": symbols, **default}
    fields = []
    for field in draw(st.lists(st.sampled_from("abc"), unique=True)):
        of = draw_schema(draw, seen, depth - 1)
        one = {"name": field, "type": of}
        if isinstance(of, str) and of in DEFAULTS and draw(st.booleans()):
            one["default"] = DEFAULTS[of]
        fields.append(one)
    return {"type": kind, "name": name, "fields": fields}


def is_left_out(schema: Any) -> bool:
    """Where Avro for Python is at odds with Avro: an enum's own default serves there for a missing field's."""
    return '"enum"' in json.dumps(schema) and '"default"' in json.dumps(schema) and '"record"' in json.dumps(schema)


@settings(max_examples=300, deadline=None)
@given(schemas(), schemas())
def test_we_judge_as_avro_does(reader: Any, writer: Any) -> None:
    """Both ways, and each with itself: compatible exactly where Apache's own checker says so."""
    if is_left_out(reader) or is_left_out(writer):
        return
    parsed = {id(one): avro.schema.parse(json.dumps(one)) for one in (reader, writer)}
    for one, other in ((reader, writer), (writer, reader), (reader, reader)):
        checker: Any = ReaderWriterCompatibilityChecker
        judged = checker().get_compatibility(parsed[id(one)], parsed[id(other)])
        fits = judged.compatibility is SchemaCompatibilityType.compatible
        assert (not objections(one, other)) == fits, (one, other, judged.messages)


@settings(max_examples=200, deadline=None)
@given(schemas())
def test_the_printed_form_is_the_same_schema_and_prints_as_itself(schema: Any) -> None:
    once = read_avro(json.dumps(schema, indent=2))
    assert read_avro(once.text).text == once.text
    assert read_avro(once.normal).normal == once.normal
    assert not avro_objections(once.root, read_avro(once.normal).root)
    avro.schema.parse(once.text)


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "Order", "fields": list(fields)}


def decimal(precision: int, scale: int, **more: Any) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale, **more}


def timed(meaning: str, of: str = "long") -> dict[str, Any]:
    return {"type": of, "logicalType": meaning}


@pytest.mark.parametrize(
    ("reader", "writer", "fits"),
    [
        (decimal(12, 2), decimal(12, 2), True),
        (decimal(12, 4), decimal(12, 2), False),  # money times a hundred
        (decimal(14, 2), decimal(12, 2), True),
        (decimal(10, 2), decimal(12, 2), False),
        ("bytes", decimal(12, 2), False),
        (decimal(12, 2), "bytes", False),
        (decimal(12, 0), {"type": "bytes", "logicalType": "decimal", "precision": 12}, True),
        (timed("timestamp-micros"), timed("timestamp-millis"), False),
        (timed("timestamp-micros"), timed("local-timestamp-micros"), False),
        (timed("timestamp-micros"), "long", False),
        ("long", timed("timestamp-micros"), False),
        (timed("timestamp-millis"), timed("date", "int"), False),
        (timed("time-micros"), timed("time-micros"), True),
        ({"type": "string", "logicalType": "uuid"}, "string", True),
        ({"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"},
         {"type": "long", "connect.name": "io.debezium.time.Timestamp"}, False),
        ({"type": "string", "connect.name": "io.debezium.data.Json"}, "string", True),
        (["null", decimal(12, 4)], ["null", decimal(12, 2)], False),
        (["null", "long"], "long", True),
    ],
)  # fmt: skip
def test_what_values_mean(reader: Any, writer: Any, fits: bool) -> None:
    assert (not objections(reader, writer)) == fits
    inside = objections(record({"name": "total", "type": reader}), record({"name": "total", "type": writer}))
    assert inside == ([] if fits else [("LOGICAL_TYPE_MISMATCH", "/total")])
    deep = [{"type": "array", "items": {"type": "map", "values": one}} for one in (reader, writer)]
    assert objections(*deep) == ([] if fits else [("LOGICAL_TYPE_MISMATCH", "[]{}")])


def test_every_objection_has_its_path() -> None:
    old = record({"name": "id", "type": "string"}, {"name": "lines", "type": {"type": "array", "items": {
        "type": "record", "name": "Line", "fields": [{"name": "price", "type": decimal(9, 2)}]}}})  # fmt: skip
    new = record({"name": "id", "type": "long"}, {"name": "lines", "type": {"type": "array", "items": {
        "type": "record", "name": "Line", "fields": [{"name": "price", "type": decimal(9, 3)}, {"name": "sku", "type": "int"}]}}})  # fmt: skip
    assert objections(new, old) == [
        ("TYPE_MISMATCH", "/id"), ("LOGICAL_TYPE_MISMATCH", "/lines[]/price"),
        ("READER_FIELD_MISSING_DEFAULT_VALUE", "/lines[]/sku"),
    ]  # fmt: skip


def test_a_schema_of_two_hundred_fields_is_quick_to_judge() -> None:
    wide = record(*({"name": f"f{n}", "type": ["null", decimal(12, 2)], "default": None} for n in range(200)))
    root = read_avro(json.dumps(wide)).root
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    found = avro_objections(root, root)
    sys.setprofile(None)
    assert not found
    assert calls < 200 * 400  # a count, not a clock: about 130 events a field


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("{", "no JSON"),
        ('"nothing"', "the type 'nothing' is not known"),
        ('{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}', 'at a: the default "x" is no int'),
        ('{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}', "two fields of one name"),
        ('{"type":"record","name":"R"}', "needs fields"),
        ('{"type":"record","name":"2R","fields":[]}', "'2R' is no name"),
        ('{"type":"enum","name":"E","symbols":["A","A"]}', "twice"),
        ('{"type":"enum","name":"E","symbols":["A"],"default":"B"}', "none of the symbols"),
        ('{"type":"fixed","name":"F","size":"x"}', "size must be a whole number"),
        ('["int",["null"]]', "directly in a union"),
        ('["int","int"]', "int twice"),
        ('{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}', "2 digits cannot have 3"),
        ('{"type":"bytes","logicalType":"decimal"}', "precision"),
        ('{"type":"array"}', "at []"),
        ("[" * 5000, "nested too deeply|no JSON"),
    ],
)
def test_what_is_wrong_is_said(schema: str, says: str) -> None:
    with pytest.raises(RegistryError, match=says.replace("[]", r"\[\]")) as refused:
        read_avro(schema)
    assert refused.value.code == "42201"


def test_names_and_namespaces() -> None:
    text = ('{"type":"record","name":"shop.Order","fields":[{"name":"a","type":{"type":"enum","name":"Color","symbols":["R"]}},'
            '{"name":"b","type":"Color"},{"name":"c","type":"shop.Color"},{"name":"next","type":["null","Order"]}]}')  # fmt: skip
    schema = read_avro(text)
    printed = json.loads(schema.text)
    assert (printed["name"], printed["namespace"]) == ("Order", "shop")
    assert [field["type"] for field in printed["fields"][1:]] == ["Color", "Color", ["null", "Order"]]
    assert schema.root.fields[0].node is schema.root.fields[2].node
    assert schema.root.fields[3].node.branches[1] is cast("Any", schema.root)

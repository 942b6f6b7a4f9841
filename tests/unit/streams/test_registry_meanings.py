"""Amounts and times that another schema would read as others are refused in all three kinds of schema, as Connect writes them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bitvelocity.changes.formats.avro.schema import avro_schema
from bitvelocity.changes.formats.jsonschema import json_schema
from bitvelocity.changes.formats.protobuf import proto_schema
from bitvelocity.streams.registry.forms import FORMS, Parsed
from bitvelocity.streams.registry.protobuf import read_proto, serialized
from bitvelocity.streams.registry.schema import SchemaType

TIME = "io.debezium.time."
WRITERS: dict[SchemaType, Any] = {"AVRO": avro_schema, "JSON": json_schema, "PROTOBUF": proto_schema}


def decimal(precision: int, scale: int) -> dict[str, Any]:
    told = {"scale": str(scale), "connect.decimal.precision": str(precision)}
    return {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "version": 1, "parameters": told}


def micros(name: str = "MicroTimestamp") -> dict[str, Any]:
    return {"type": "int64", "name": f"{TIME}{name}", "version": 1}


CASES = [
    (decimal(9, 2), decimal(9, 2), ""),
    (decimal(9, 3), decimal(9, 2), r"decimal\(9,2\) would be read as decimal\(9,3\)"),
    (decimal(8, 2), decimal(9, 2), r"decimal\(9,2\) has values that decimal\(8,2\) cannot hold"),
    (decimal(12, 2), decimal(9, 2), ""),
    ({"type": "bytes"}, decimal(9, 2), "another meaning"),
    (micros(), {"type": "int64"}, "another meaning"),
    (micros("Timestamp"), micros(), "MicroTimestamp would be read as io.debezium.time.Timestamp"),
    ({"type": "string", "name": "io.debezium.data.Json"}, {"type": "string"}, ""),
]


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize(("reader", "writer", "says"), CASES)
def test_a_change_of_meaning(kind: SchemaType, optional: bool, reader: Any, writer: Any, says: str) -> None:
    read, written = (
        FORMS[kind].read(WRITERS[kind]({"type": "struct", "name": "shop.Order", "fields": [{**one, "field": "a", "optional": optional}]}), [])
        for one in (reader, writer)
    )
    found = FORMS[kind].objections(read, written, "STRICT")
    assert [one.kind for one in found] == (["LOGICAL_TYPE_MISMATCH"] if says else [])
    assert all(re.search(says, one.what) for one in found), found


def test_in_a_descriptor() -> None:
    """The stock serializer registers what a compiler made of the file, as bytes."""
    texts = [proto_schema({"type": "struct", "name": "shop.Order", "fields": [{**decimal(9, n), "field": "a"}]}) for n in (2, 3)]
    writer, reader = (read_proto(serialized(read_proto(text).file)) for text in texts)
    parsed = [Parsed(one.text, one.normal, one.file) for one in (reader, writer)]
    assert [one.kind for one in FORMS["PROTOBUF"].objections(parsed[0], parsed[1], "STRICT")] == ["LOGICAL_TYPE_MISMATCH"]

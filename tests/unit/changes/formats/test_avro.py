"""Avro: schemas as Kafka Connect's converter registers them, values that fastavro reads, and the way back to batches."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest

from bitvelocity.changes import Batch, Shape
from bitvelocity.changes.formats import (
    ColumnFacts,
    Decoded,
    Decoder,
    Described,
    Encoder,
    Options,
    SchemaText,
    TableFacts,
    in_order,
)
from bitvelocity.changes.formats.avro import AvroNotation, avro_schema
from bitvelocity.changes.formats.avro.reading import AvroReader
from bitvelocity.changes.formats.notation import Registered, SchemaUse

from .test_encoder import DELETE, INT, MOVE, ORDERS, batch, change, ended, message, row

TIMESTAMP = 1114
ROWS = [
    change("c", (100, 0), after=row(1, price=None)), DELETE, MOVE,
    change("u", (100, 3), after=row(4, name=None), _absent='["name"]'),
    change("u", (100, 4), after=row(4, price="NaN"), before=row(4), _old="O", _operation_user="ann", _correlation_id="é"),
]  # fmt: skip


class Ids:
    def __init__(self) -> None:
        self.uses: list[SchemaUse] = []

    def register(self, use: SchemaUse) -> Registered:
        texts = [one.text for one in self.uses]
        number = texts.index(use.text) if use.text in texts else len(texts)
        if number == len(texts):
            self.uses.append(use)
        return Registered(frame=b"\0" + number.to_bytes(4, "big"))

    def look_up(self, name: bytes) -> SchemaText:
        return SchemaText("AVRO", self.uses[int.from_bytes(name, "big")].text)

    def read(self, value: bytes | None) -> Any:
        assert value is not None
        stream = io.BytesIO(value[5:])
        schema = fastavro.parse_schema(json.loads(self.look_up(value[1:5]).text))
        found = fastavro.schemaless_reader(stream, schema, None)
        assert stream.read() == b""
        return found


def encoded(form: Any, *batches: Batch, **options: str) -> tuple[Ids, pa.Table]:
    ids = Ids()
    told = Options.of({name.replace("__", "."): value for name, value in options.items()})
    return ids, in_order(Encoder(form, ORDERS, told, notation=AvroNotation(ids.register)).encode(batches))


def decoded(form: str, ids: Ids, table: pa.Table) -> Decoded:
    return Decoder(form, ids.look_up, detail=True).decode(table, "public.orders")


def frame(made: Batch) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(made.data))


@pytest.mark.parametrize("form", ["debezium", "bitvelocity"])
def test_batches_come_back_as_they_were(form: str) -> None:
    """NULL where a default would be, NaN, a type without a form, what was not sent, a changed key: all of it."""
    source = batch(ROWS)
    ids, table = encoded(form, source, ended(100), keep_exact="true")
    back = decoded(form, ids, table)
    assert back.refused == ()
    (made,) = back.batches
    assert (made.relation, made.columns) == (source.relation, source.columns)
    assert frame(made).equals(frame(source))


@pytest.mark.parametrize("precision", ["adaptive", "nanoseconds", "connect"])
def test_moments_that_a_long_cannot_count_travel_beside(precision: str) -> None:
    told = ("294276-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC", "2262-04-12 00:00:00", "1677-09-21 00:00:00",
            "2261-12-31 23:59:59.999999", "infinity", "2024-02-29 12:00:00.5")  # fmt: skip
    facts = {"id": ColumnFacts(INT, not_null=True), "at": ColumnFacts(TIMESTAMP)}
    described = Described("shop", {"public.moments": TableFacts("public.moments", facts, ("id",))})
    rows = [change("c", (100, n), after={"id": str(n), "at": at}) for n, at in enumerate(told)]
    source = batch(rows, "public.moments", tuple(facts), Shape(1, (INT, TIMESTAMP), (-1, -1), (True, False), "d"))
    ids = Ids()
    options = Options(keep_exact=True, time_precision_mode=precision)
    table = in_order(Encoder("debezium", described, options, notation=AvroNotation(ids.register)).encode([source]))
    back = Decoder("debezium", ids.look_up, detail=True).decode(table, "public.moments")
    assert back.refused == ()
    assert frame(back.batches[0])["after_at"].to_list() == list(told)


def test_the_schema_is_the_converters() -> None:
    """The form of names, unions, defaults and properties that Confluent's AvroConverter gives Debezium's schemas."""
    ids, _ = encoded("debezium", batch(ROWS[:1]))
    key, value = (json.loads(use.text) for use in ids.uses)
    assert ids.uses[0].text == (
        '{"type":"record","name":"Key","namespace":"bv.public.orders","fields":[{"name":"id","type":{"type":"int",'
        '"connect.default":0},"default":0}],"connect.name":"bv.public.orders.Key"}'
    )
    assert key["name"] == "Key"
    before, after, source = value["fields"][:3]
    assert (value["name"], value["connect.version"], value["connect.name"]) == ("Envelope", 2, "bv.public.orders.Envelope")
    assert after == {"name": "after", "type": ["null", "Value"], "default": None}
    assert before["type"][1]["fields"][2] == {
        "name": "price",
        "type": [
            {
                "type": "bytes", "scale": 2, "precision": 10, "connect.version": 1,
                "connect.parameters": {"scale": "2", "connect.decimal.precision": "10"}, "connect.default": "\x00\x96",
                "connect.name": "org.apache.kafka.connect.data.Decimal", "logicalType": "decimal",
            },
            "null",
        ],
        "default": "\x00\x96",
    }  # fmt: skip
    assert source["type"]["namespace"] == "io.debezium.connector.postgresql"
    assert source["type"]["fields"][4] == {
        "name": "snapshot",
        "type": [
            {
                "type": "string", "connect.version": 1,
                "connect.parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},
                "connect.default": "false", "connect.name": "io.debezium.data.Enum",
            },
            "null",
        ],
        "default": "false",
    }  # fmt: skip


def test_small_numbers_and_records_that_stand_twice() -> None:
    point = {"type": "struct", "name": "a.P", "doc": "A point", "fields": [{"type": "int16", "optional": False, "field": "x"}]}
    whole = {"type": "struct", "fields": [{**point, "optional": True, "field": "one"}, {**point, "optional": False, "field": "two"}]}
    made = json.loads(avro_schema(whole))
    assert (made["namespace"], made["name"]) == ("io.confluent.connect.avro", "ConnectDefault")
    assert made["fields"][0]["type"][1]["fields"] == [{"name": "x", "type": {"type": "int", "connect.type": "int16"}}]
    assert made["fields"][0]["type"][1]["connect.doc"] == "A point"
    assert made["fields"][1] == {"name": "two", "type": "a.P"}


def test_another_reader_understands_each_record() -> None:
    rows = [*ROWS, change("t", (100, 5))]
    options = {"provide__transaction__metadata": "true", "skipped__operations": "none"}
    ids, table = encoded("debezium", batch(rows), message((100, 9), "p", b"\0x"), ended(100), **options)
    values = [ids.read(value) for value in table["value"].to_pylist() if value is not None]
    assert [one["op"] for one in values if "op" in one] == ["c", "d", "d", "c", "u", "u", "t", "m"]
    assert values[1]["transaction"] == {"id": "101:100", "total_order": 1, "data_collection_order": 1}
    keys = [ids.read(key) for key in table["key"].to_pylist() if key is not None]
    assert keys[1:3] == [{"id": 1}, {"id": 1}]
    (moved,) = [h for h in table["headers"].to_pylist() if h and h[0][0] == "__debezium.oldkey"]
    (header, *_) = moved
    assert ids.read(header[1] or b"") == {"id": 2}


def test_added_fields_stand_behind_the_row() -> None:
    ids, table = encoded("debezium-unwrapped", batch(ROWS), add__fields="op,lsn,table", delete__tombstone__handling__mode="rewrite")
    values = [ids.read(value) for value in table["value"].to_pylist()]
    assert [(one["__op"], one["__deleted"], one["__lsn"], one["__table"]) for one in values[:2]] == [
        ("c", "false", 50, "orders"), ("d", "true", 51, "orders"),
    ]  # fmt: skip
    ids, table = encoded("debezium-unwrapped", batch(ROWS[:2]), add__fields="op")
    one, gone = (frame(made) for made in decoded("debezium-unwrapped", ids, table).batches)
    assert (one["_op"][0], one["after_id"][0], gone["_op"][0], gone["before_id"][0]) == ("c", "1", "d", "1")


def test_what_cannot_be_read_does_not_stop_the_rest() -> None:
    ids, table = encoded("debezium", batch([change("c", (100, n), after=row(n)) for n in range(6)]), keep_exact="true")
    values: list[Any] = table["value"].to_pylist()
    values[1] = values[1] + b"\x02"  # a byte too many would be read into the next record
    values[3] = b"\0\0\0\x03\xe7abc"
    values[4] = values[4][:-3]
    table = table.set_column(2, "value", pa.array(values, pa.binary()))
    back = decoded("debezium", ids, table)
    assert [(one.row, one.code) for one in back.refused] == [(1, "UnreadableValue"), (3, "UnknownSchema"), (4, "UnreadableValue")]
    assert frame(back.batches[0])["after_id"].to_list() == ["0", "2", "5"]


def test_text_is_text_at_any_depth_or_refused() -> None:
    """A column of it is read as bytes at first."""
    inner = {"type": "record", "name": "I", "fields": [{"name": "string", "type": "string"}, {"name": "raw", "type": "bytes"}]}
    fields = [
        {"name": "one", "type": ["null", inner]}, {"name": "many", "type": {"type": "array", "items": ["string", "null"]}},
        {"name": "map", "type": {"type": "map", "values": "string"}}, {"name": "kind", "type": {"type": "enum", "name": "E", "symbols": ["string", "B"]}},
    ]  # fmt: skip
    schema = {"type": "record", "name": "R", "fields": fields}
    rows: list[Any] = [
        {"one": {"string": "é", "raw": b"\xff"}, "many": ["ü", None, ""], "map": {"ä": "ö"}, "kind": "string"},
        {"one": None, "many": [], "map": {}, "kind": "B"},
    ]
    raw, parsed = list[bytes](), fastavro.parse_schema(schema)
    for one in rows:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, parsed, one)
        raw.append(stream.getvalue())
    reader = AvroReader.of(json.dumps(schema))
    found = reader.read(pa.array(raw, pa.binary()))
    assert found.to_dicts() == [{**one, "map": [{"key": key, "value": value} for key, value in one["map"].items()]} for one in rows]
    assert reader.read(pa.array([], pa.binary())).schema == found.schema
    broken = raw[0].replace("é".encode(), b"\xc3\x28")
    with pytest.raises(pl.exceptions.ComputeError, match="utf"):
        reader.read(pa.array([raw[1], broken], pa.binary()))


def test_records_of_another_producer_of_debeziums() -> None:
    """Without our headers: positions from the source block, both halves of a changed key, what was not sent."""
    ids, table = encoded("debezium", batch(ROWS))
    (made,) = decoded("debezium", ids, table).batches
    assert [(one["_op"], one["_lsn"], one["_ordinal"], one["_xid"]) for one in made.data.to_pylist()] == [
        ("c", 50, 0, 101), ("d", 51, 0, 101), ("u", 52, 0, 101), ("u", 53, 0, 101), ("u", 54, 0, 101),
    ]  # fmt: skip
    moved, unsent = made.data.to_pylist()[2:4]
    assert (moved["before_id"], moved["after_id"]) == ("2", "3")
    assert (unsent["_absent"], unsent["after_name"]) == ('["name"]', None)


def test_apicurios_converter_names_schemas_in_headers() -> None:
    """Ids of contents are what registries are asked by; one that is Apicurio's own is refused in words."""
    ids, table = encoded("debezium", batch([change("c", (100, n), after=row(n)) for n in range(2)]))
    rows: list[dict[str, Any]] = table.to_pylist()
    for one, kind in zip(rows, ("contentId", "globalId"), strict=True):
        for part in ("key", "value"):
            one["headers"] = [*(one["headers"] or ()), (f"apicurio.{part}.{kind}", b"\0\0\0\0" + one[part][1:5])]
            one[part] = one[part][5:]
    back = decoded("debezium", ids, pa.Table.from_pylist(rows, schema=table.schema))
    assert frame(back.batches[0])["after_id"].to_list() == ["0"]
    assert [(one.row, one.code) for one in back.refused] == [(1, "UnknownSchema")]
    assert "use-id=contentId" in back.refused[0].reason


def test_unions_of_several_types_go_through_another_library() -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": ["null", "int", "string"]}, {"name": "b", "type": "int"}]}
    raw = []
    for value in (None, 7, "x"):
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), {"a": value, "b": 1})
        raw.append(stream.getvalue())
    reader = AvroReader.of(json.dumps(schema))
    assert reader.fields is None
    assert reader.read(pa.array(raw, pa.binary()))["b"].to_list() == [1, 1, 1]

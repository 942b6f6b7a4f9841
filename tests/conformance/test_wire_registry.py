"""Records through our registry: the stock Confluent deserializer reads ours, and we read what its serializer writes."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.confluent import meta_pb2
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from bitvelocity.changes import SYSTEM_FIELDS, Batch
from bitvelocity.changes.formats import (
    ColumnFacts,
    Decoder,
    Described,
    Encoder,
    Options,
    TableFacts,
    in_order,
)
from bitvelocity.errors import MissingExtraError, RegistryError
from bitvelocity.streams.registry import HttpCaller, export_registry, import_registry
from bitvelocity.streams.registry.protobuf import read_proto, serialized
from bitvelocity.streams.wire import Naming, Registrar, notation

from .registry_server import Served, running

TOPIC = "bv.public.orders"
PRICE = ((10 << 16) | 2) + 4
FACTS = {
    "id": ColumnFacts(23, not_null=True), "price": ColumnFacts(1700, PRICE), "note": ColumnFacts(25), "at": ColumnFacts(1184),
}  # fmt: skip
ORDERS = Described("shop", {"public.orders": TableFacts("public.orders", FACTS, ("id",))})
ROW = {"id": "7", "price": "12.30", "note": "é", "at": "2026-11-28 09:30:00.5+00"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with running(tmp_path / "registry.db") as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": served.url}) as one:
        yield one


def batch() -> Batch:
    facts: dict[str, Any] = {"_op": ["c"], "_lsn": [100], "_ordinal": [0], "_xid": [9], "_committed_at": [1_000_000]}
    data = {name: pa.array(facts.get(name, [None]), kind) for name, kind in SYSTEM_FIELDS}
    data |= {f"after_{name}": pa.array([value]) for name, value in ROW.items()}
    data |= {f"before_{name}": pa.nulls(1, pa.string()) for name in ROW}
    return Batch("public.orders", tuple(ROW), pa.table(data))


def written(registrar: Registrar, way: str, form: Any = "debezium") -> pa.Table:
    encoder = Encoder(form, ORDERS, Options(cloudevents=True), notation=notation(way, registrar.register))
    return in_order(encoder.encode([batch()]))


def context(record: dict[str, Any], field: MessageField) -> SerializationContext:
    return SerializationContext(TOPIC, field, record["headers"])


@pytest.mark.parametrize("guids", [False, True])
def test_the_stock_deserializer_reads_ours(served: Served, client: SchemaRegistryClient, guids: bool) -> None:
    registrar = Registrar(HttpCaller(served.url), register=True, guids=guids, url=served.url)
    table = written(registrar, "avro")
    (record,) = table.to_pylist()
    value = AvroDeserializer(client)(record["value"], context(record, MessageField.VALUE))
    if not guids:  # the client refuses values of less than six bytes, also those that have no frame
        assert AvroDeserializer(client)(record["key"], context(record, MessageField.KEY)) == {"id": 7}
    assert isinstance(value, dict)
    assert value["after"] == {"id": 7, "price": Decimal("12.30"), "note": "é", "at": "2026-11-28T09:30:00.500000Z"}
    assert dict(record["headers"])["ce_dataschema"].decode().startswith(f"{served.url}/schemas/ids/")
    assert client.get_subjects() == [f"{TOPIC}-key", f"{TOPIC}-value"]
    (back,) = Decoder("debezium", Registrar(HttpCaller(served.url)).look_up).decode(table).batches
    assert {name: back.data[f"after_{name}"][0].as_py() for name in ROW} == ROW


@pytest.mark.parametrize("guids", [False, True])
def test_the_stock_deserializer_reads_our_protobuf(served: Served, client: SchemaRegistryClient, guids: bool) -> None:
    """By the class that protobuf makes of the schema as the registry gives it; what is NULL is not there."""
    registrar = Registrar(HttpCaller(served.url), register=True, guids=guids)
    table = written(registrar, "protobuf")
    (record,) = table.to_pylist()
    held = client.get_latest_version(f"{TOPIC}-value", fmt="serialized").schema
    assert held.schema_type == "PROTOBUF"
    assert held.schema_str is not None
    assert "optional string note" in HttpCaller(served.url).ask("GET", f"subjects/{TOPIC}-value/versions/1")["schema"]
    file = FileDescriptorProto.FromString(base64.b64decode(held.schema_str))
    file.name = "orders.proto"
    pool = DescriptorPool()
    for one in (descriptor_pb2, meta_pb2):
        pool.AddSerializedFile(one.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    kind: Any = GetMessageClass(pool.FindMessageTypeByName(f"{TOPIC}.Envelope"))
    value: Any = ProtobufDeserializer(kind, {"use.deprecated.format": False}, client)(record["value"], context(record, MessageField.VALUE))
    assert (value.op, value.source.table, value.after.id, value.after.note) == ("c", "orders", 7, "é")
    assert int.from_bytes(value.after.price, "big", signed=True) == 1230
    assert not value.HasField("before")
    decoded = Decoder("debezium", Registrar(HttpCaller(served.url)).look_up).decode(table)
    assert decoded.refused == ()
    (back,) = decoded.batches
    assert {name: back.data[f"after_{name}"][0].as_py() for name in ROW} == ROW


def test_rows_alone_in_protobuf(served: Served) -> None:
    """Deletes come back too, and a value that is cut short is refused, and no other."""
    registrar = Registrar(HttpCaller(served.url), register=True)
    table = written(registrar, "protobuf", "debezium-unwrapped")
    whole = table["value"][0].as_py()
    broken = table.set_column(table.schema.get_field_index("value"), "value", pa.array([whole[:-1]], pa.binary()))
    decoded = Decoder("debezium-unwrapped", registrar.look_up).decode(pa.concat_tables([table, broken]))
    (back,) = decoded.batches
    assert {name: back.data[f"after_{name}"][0].as_py() for name in ROW} == ROW
    assert [(one.row, one.code) for one in decoded.refused] == [(1, "UnreadableValue")]


def test_without_the_library_of_protobuf(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the records, so none is refused."""
    table = written(Registrar(HttpCaller(served.url), register=True), "protobuf")
    monkeypatch.setitem(sys.modules, "google.protobuf.descriptor_pb2", None)
    with pytest.raises(MissingExtraError) as error:
        Decoder("debezium", Registrar(HttpCaller(served.url)).look_up).decode(table)
    assert "pip install 'bitvelocity[registry]'" in str(error.value)


def test_we_read_the_protobuf_of_others(served: Served, client: SchemaRegistryClient) -> None:
    """With what ours has not: enums, maps, repeated and packed fields, numbers of other widths, a message of Google's."""
    file = FileDescriptorProto.FromString(base64.b64decode(serialized(read_proto(FOREIGN).file)))
    file.name = "foreign.proto"
    pool = DescriptorPool()
    for one in (timestamp_pb2.DESCRIPTOR.serialized_pb, file.SerializeToString()):
        pool.AddSerializedFile(one)
    kind: Any = GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
    row = kind(id=-3, state=1, amounts=[1, 300, -2], tags=["a", ""], places={"x": 7}, small=-5, wide=2**40)
    row.placed.seconds = 12
    value = ProtobufSerializer(kind, client, {"use.deprecated.format": False})(row, SerializationContext("orders", MessageField.VALUE))
    records = pa.table({"key": pa.nulls(1, pa.binary()), "value": [value], "headers": pa.nulls(1, pa.map_(pa.string(), pa.binary()))})
    look_up = Registrar(HttpCaller(served.url)).look_up
    decoded = Decoder("debezium-unwrapped", look_up, relation=lambda _: "shop.orders").decode(records, "orders")
    assert decoded.refused == ()
    found = decoded.batches[0].data.to_pylist()[0]
    assert {name: found[f"after_{name}"] for name in ("id", "state", "amounts", "tags", "places", "small", "wide", "note", "empty")} == {
        "id": "-3", "state": "PAID", "amounts": "{1,300,-2}", "tags": '{a,""}', "places": '"x"=>"7"', "small": "-5",
        "wide": str(2**40), "note": None, "empty": "",
    }  # fmt: skip
    assert found["after_placed"] == '{"seconds": 12, "nanos": 0}'


FOREIGN = """syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Order {
  int64 id = 1;
  State state = 3;
  repeated int32 amounts = 4;
  repeated string tags = 5;
  map<string, int32> places = 6;
  sint32 small = 7;
  fixed64 wide = 8;
  optional string note = 9;
  string empty = 10;
  google.protobuf.Timestamp placed = 200;
}
enum State { NEW = 0; PAID = 1; }
"""


def test_we_read_what_the_stock_serializer_writes(served: Served, client: SchemaRegistryClient) -> None:
    """A producer of rows that knows nothing of us, with a type that stands in a schema of its own."""
    money = {"type": "record", "name": "Money", "namespace": "shop", "fields": [
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}}]}  # fmt: skip
    client.register_schema("money", Schema(json.dumps(money), "AVRO"))
    order = {"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "id", "type": "long"}, {"name": "total", "type": "Money"}, {"name": "placed", "type": {"type": "int", "logicalType": "date"}},
        {"name": "rest", "type": ["null", "shop.Money"], "default": None}]}  # fmt: skip
    schema = Schema(json.dumps(order), "AVRO", [SchemaReference("shop.Money", "money", 1)])
    row = {"id": 1, "total": {"amount": Decimal("1.50")}, "placed": 20_000, "rest": None}
    value = AvroSerializer(client, schema)(row, SerializationContext("orders", MessageField.VALUE))
    records = pa.table({"key": pa.nulls(1, pa.binary()), "value": [value], "headers": pa.nulls(1, pa.map_(pa.string(), pa.binary()))})
    decoder = Decoder("debezium-unwrapped", Registrar(HttpCaller(served.url)).look_up, relation=lambda _: "shop.orders")
    decoded = decoder.decode(records, "orders")
    assert decoded.refused == ()
    (made,) = decoded.batches
    found = made.data.to_pylist()[0]
    assert (made.relation, found["after_id"], found["after_placed"], found["after_rest"]) == ("shop.orders", "1", "2024-10-04", None)
    assert found["after_total"] == '{"amount": "0096"}'


def test_json_by_its_schema(served: Served, client: SchemaRegistryClient) -> None:
    registrar = Registrar(HttpCaller(served.url), register=True)
    table = written(registrar, "json")
    (record,) = table.to_pylist()
    schema = client.get_latest_version(f"{TOPIC}-value").schema
    assert schema.schema_type == "JSON"
    told = JSONDeserializer(schema, schema_registry_client=client)(record["value"], context(record, MessageField.VALUE))
    assert told is not None
    assert told["after"]["note"] == "é"
    (back,) = Decoder("debezium", registrar.look_up).decode(table).batches
    assert back.data["after_price"][0].as_py() == "12.30"


@pytest.mark.parametrize(
    ("naming", "subjects"),
    [("topic", [f"{TOPIC}-key", f"{TOPIC}-value"]), ("record", [f"{TOPIC}.Envelope", f"{TOPIC}.Key"]),
     ("topic-record", [f"{TOPIC}-{TOPIC}.Envelope", f"{TOPIC}-{TOPIC}.Key"])],
)  # fmt: skip
def test_subjects(served: Served, client: SchemaRegistryClient, naming: Naming, subjects: list[str]) -> None:
    written(Registrar(HttpCaller(served.url), naming=naming, register=True), "avro")
    assert client.get_subjects() == subjects


def test_contexts_have_their_own_ids(served: Served, client: SchemaRegistryClient) -> None:
    client.register_schema("other", Schema('"string"', "AVRO"))
    table = written(Registrar(HttpCaller(served.url), context="blue", register=True), "avro")
    assert client.get_subjects(subject_prefix=":.blue:") == [f":.blue:{TOPIC}-key", f":.blue:{TOPIC}-value"]
    there = Registrar(HttpCaller(served.url), context="blue")
    assert Decoder("debezium", there.look_up).decode(table).refused == ()
    refused = Decoder("debezium", Registrar(HttpCaller(served.url)).look_up).decode(table).refused
    assert [one.row for one in refused] == [0]


def test_a_writer_that_may_not_register_uses_what_is_there(served: Served) -> None:
    with pytest.raises(RegistryError, match="no such schema") as error:
        written(Registrar(HttpCaller(served.url)), "avro")
    assert "bitvelocity schema register" in str(error.value)
    written(Registrar(HttpCaller(served.url), register=True), "avro")
    assert written(Registrar(HttpCaller(served.url)), "avro").num_rows == 1


def test_a_registry_moves_over_http_and_records_stay_readable(served: Served, tmp_path: Path) -> None:
    """Ids are the same in the other registry: topics need not be written anew."""
    HttpCaller(served.url).ask("POST", "subjects/before/versions", {"schema": '"int"'})
    table = written(Registrar(HttpCaller(served.url), register=True), "avro")
    with running(tmp_path / "other.db") as other:
        import_registry(HttpCaller(other.url), export_registry(HttpCaller(served.url)))
        there = Registrar(HttpCaller(other.url))
        (made,) = Decoder("debezium", there.look_up).decode(table).batches
        assert made.data["after_note"][0].as_py() == "é"
        assert written(there, "avro")["key"].to_pylist() == table["key"].to_pylist()

"""Records through our registry: the stock Confluent deserializer reads ours, and we read what its serializer writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

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
from bitvelocity.errors import RegistryError
from bitvelocity.streams.registry import HttpCaller, export_registry, import_registry
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

"""Confluent's own client against our registry, over a socket: every call that it has, and its serializers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    Metadata,
    MetadataProperties,
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    ServerConfig,
    header_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.common.schema_registry_client import ConfigCompatibilityLevel
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from .registry_server import Served, running

ORDER = """{"type": "record", "name": "Order", "namespace": "shop", "fields": [
  {"name": "id", "type": "long"},
  {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
  {"name": "placed", "type": {"type": "long", "logicalType": "timestamp-micros"}},
  {"name": "note", "type": ["null", "string"], "default": null}]}"""
WIDER = ORDER.replace('"fields": [', '"fields": [{"name": "shop", "type": "string", "default": "main"},')
JSON_ORDER = """{"$schema": "http://json-schema.org/draft-07/schema#", "title": "Order", "type": "object",
  "properties": {"id": {"type": "integer"}, "total": {"type": "string"}}, "required": ["id"],
  "additionalProperties": false}"""
ROW = {"id": 7, "total": Decimal("12.30"), "placed": datetime(2026, 11, 28, 9, 30, tzinfo=UTC), "note": None}
VALUE = SerializationContext("orders", MessageField.VALUE)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with running(tmp_path / "registry.db") as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": served.url}) as one:
        yield one


def refused(code: int, call: Any, *words: Any, **more: Any) -> None:
    with pytest.raises(SchemaRegistryError) as error:
        call(*words, **more)
    assert error.value.error_code == code, error.value


def test_avro_there_and_back(client: SchemaRegistryClient) -> None:
    written = AvroSerializer(client, ORDER)(ROW, VALUE)
    assert written
    assert written[:5] == b"\x00\x00\x00\x00\x01"
    assert AvroDeserializer(client)(written, VALUE) == ROW
    wider = AvroDeserializer(client, WIDER)(written, VALUE)
    assert wider == {"shop": "main", **ROW}
    assert client.get_subjects() == ["orders-value"]


def test_avro_with_the_latest_version(client: SchemaRegistryClient) -> None:
    client.register_schema("orders-value", Schema(ORDER, "AVRO"))
    settings = {"auto.register.schemas": False, "use.latest.version": True}
    written = AvroSerializer(client, ORDER, conf=settings)(ROW, VALUE)
    assert AvroDeserializer(client)(written, VALUE) == ROW


def test_the_schema_id_in_a_header(client: SchemaRegistryClient) -> None:
    """0x01 and the GUID's 16 bytes in a header; the value has no frame."""
    settings = {"schema.id.serializer": header_schema_id_serializer}
    headers: list[Any] = []
    context = SerializationContext("orders", MessageField.VALUE, headers=headers)
    written = AvroSerializer(client, ORDER, conf=settings)(ROW, context)
    ((name, header),) = headers
    guid = client.get_latest_version("orders-value").guid
    assert (name, header[:1], header[1:].hex()) == ("__value_schema_id", b"\x01", str(guid).replace("-", ""))
    assert AvroDeserializer(client)(written, context) == ROW


def test_avro_with_references(client: SchemaRegistryClient) -> None:
    money = '{"type": "record", "name": "Money", "namespace": "shop", "fields": [{"name": "cents", "type": "long"}]}'
    client.register_schema("money", Schema(money, "AVRO"))
    line = '{"type": "record", "name": "Line", "namespace": "shop", "fields": [{"name": "price", "type": "Money"}]}'
    schema = Schema(line, "AVRO", [SchemaReference("shop.Money", "money", 1)])
    written = AvroSerializer(client, schema)({"price": {"cents": 5}}, VALUE)
    assert AvroDeserializer(client)(written, VALUE) == {"price": {"cents": 5}}
    assert client.lookup_schema("orders-value", schema).version == 1
    assert client.get_referenced_by("money", 1) == [2]
    refused(42206, client.delete_version, "money", 1)
    refused(42206, client.delete_subject, "money")


def test_json_there_and_back(client: SchemaRegistryClient) -> None:
    written = JSONSerializer(JSON_ORDER, client)({"id": 1, "total": "12.30"}, VALUE)
    assert written
    assert JSONDeserializer(JSON_ORDER, schema_registry_client=client)(written, VALUE) == {"id": 1, "total": "12.30"}
    assert client.get_latest_version("orders-value").schema.schema_type == "JSON"


def test_json_with_references(client: SchemaRegistryClient) -> None:
    address = '{"$id": "http://shop/address.json", "type": "object", "properties": {"town": {"type": "string"}}}'
    client.register_schema("address", Schema(address, "JSON"))
    person = '{"title": "Person", "type": "object", "properties": {"home": {"$ref": "http://shop/address.json"}}}'
    schema = Schema(person, "JSON", [SchemaReference("http://shop/address.json", "address", 1)])
    written = JSONSerializer(schema, client)({"home": {"town": "Oslo"}}, VALUE)
    back = JSONDeserializer(schema, schema_registry_client=client)(written, VALUE)
    assert back == {"home": {"town": "Oslo"}}


def test_registering_and_looking_up(client: SchemaRegistryClient) -> None:
    schema = Schema(ORDER, "AVRO")
    assert client.register_schema("orders-value", schema) == 1
    whole = client.register_schema_full_response("other", schema)
    assert (whole.schema_id, whole.version) == (1, 1)
    assert client.register_schema("orders-value", Schema(WIDER, "AVRO"), normalize_schemas=True) == 2
    found = client.lookup_schema("orders-value", Schema(WIDER, "AVRO"))
    assert (found.version, found.schema_id, found.subject) == (2, 2, "orders-value")
    assert client.get_schema(1).schema_str == client.get_version("orders-value", 1).schema.schema_str
    assert client.get_schema_by_guid(str(found.guid)).schema_str == found.schema.schema_str
    assert client.get_subjects_by_schema_id(1) == ["orders-value", "other"]
    assert [(one.subject, one.version) for one in client.get_schema_versions(2)] == [("orders-value", 2)]
    assert client.get_versions("orders-value") == [1, 2]
    assert client.get_versions("orders-value", offset=1, limit=1) == [2]
    assert client.get_latest_version("orders-value").version == 2
    refused(40401, client.lookup_schema, "nowhere", schema)
    refused(40403, client.lookup_schema, "other", Schema('"int"', "AVRO"))
    refused(40402, client.get_version, "other", 9)
    refused(40403, client.get_schema, 99)
    refused(42201, client.register_schema, "other", Schema('{"type": "nonsense"}', "AVRO"))


def test_lists(client: SchemaRegistryClient) -> None:
    for subject in ("a-key", "a-value", "b-value", ":.test:c-value"):
        client.register_schema(subject, Schema('"string"', "AVRO"))
    client.delete_subject("b-value")
    assert client.get_subjects() == ["a-key", "a-value", ":.test:c-value"]
    assert client.get_subjects(subject_prefix="a-") == ["a-key", "a-value"]
    assert client.get_subjects(deleted=True, subject_prefix="b") == ["b-value"]
    assert client.get_subjects(deleted_only=True) == ["b-value"]
    assert client.get_subjects(offset=1, limit=1) == ["a-value"]
    assert client.get_contexts() == [".", ".test"]
    assert set(client.get_schema_types()) >= {"AVRO", "JSON"}


def test_metadata(client: SchemaRegistryClient) -> None:
    for major, text in (("1", '"int"'), ("2", '"long"')):
        metadata = Metadata(tags=None, properties=MetadataProperties(properties={"major": major}), sensitive=None)
        client.register_schema("s", Schema(text, "AVRO", metadata=metadata))
    assert client.get_latest_with_metadata("s", {"major": "1"}).schema.schema_str == '"int"'
    latest: Any = client.get_latest_version("s").schema.metadata
    assert latest.properties.properties == {"major": "2"}


def test_deleting(client: SchemaRegistryClient) -> None:
    for text in ('"int"', '"long"', '"float"'):
        client.register_schema("s", Schema(text, "AVRO"))
    assert client.delete_version("s", 2) == 2
    assert client.get_versions("s") == [1, 3]
    assert client.get_versions("s", deleted=True) == [1, 2, 3]
    refused(40406, client.delete_version, "s", 2)
    assert client.delete_version("s", 2, permanent=True) == 2
    refused(40407, client.delete_version, "s", 3, permanent=True)
    assert client.delete_subject("s") == [1, 3]
    refused(40404, client.delete_subject, "s")
    refused(40401, client.get_latest_version, "s")
    assert client.register_schema("s", Schema('"double"', "AVRO")) == 4
    assert client.get_latest_version("s").version == 4
    assert client.delete_subject("s") == [4]
    assert client.delete_subject("s", permanent=True) == [1, 3, 4]
    refused(40401, client.delete_subject, "s")


def test_levels_and_settings(client: SchemaRegistryClient) -> None:
    assert client.get_compatibility() == "BACKWARD_TRANSITIVE"
    client.register_schema("s", Schema('"int"', "AVRO"))
    refused(40408, client.get_compatibility, "s")
    assert client.test_compatibility("s", Schema('"long"', "AVRO"))
    assert not client.test_compatibility("s", Schema('"string"', "AVRO"))
    assert client.test_compatibility_all_versions("s", Schema('"long"', "AVRO"))
    refused(40901, client.register_schema, "s", Schema('"string"', "AVRO"))
    client.set_compatibility("s", "NONE")
    assert client.get_compatibility("s") == "NONE"
    client.register_schema("s", Schema('"string"', "AVRO"))
    config = ServerConfig(compatibility=ConfigCompatibilityLevel.FULL, compatibility_group="major")
    set_config: Any = client.set_config("s", config)  # the client says ServerConfig, and gives a dict
    assert set_config == {"compatibility": "FULL", "compatibilityGroup": "major"}
    assert client.get_config("s").compatibility_group == "major"
    assert client.delete_config("s").compatibility_level == ConfigCompatibilityLevel.FULL
    refused(40408, client.get_config, "s")
    refused(42203, client.set_compatibility, "s", "SIDEWAYS")


def test_modes(client: SchemaRegistryClient) -> None:
    schema = Schema('"int"', "AVRO")
    assert client.get_global_mode() == "READWRITE"
    refused(40409, client.get_mode, "s")
    assert client.update_mode("s", "READONLY") == "READONLY"
    refused(42205, client.register_schema, "s", schema)
    assert client.delete_mode("s") == "READONLY"
    client.register_schema("s", schema)
    refused(42205, client.update_mode, "s", "IMPORT")
    assert client.update_mode("s", "IMPORT", force=True) == "IMPORT"
    refused(42204, client.update_mode, "s", "SIDEWAYS")
    assert client.update_global_mode("READONLY_OVERRIDE") == "READONLY_OVERRIDE"
    refused(42205, client.register_schema, "s", Schema('"long"', "AVRO"))


def test_every_call_of_the_client_was_made() -> None:
    """A new call of a new client must get its test here."""
    not_asked = {"clear_caches", "clear_latest_caches", "close", "config", "new_client"}
    associations = {"create_association", "delete_associations", "get_associations_by_resource_name"}
    calls = {name for name in dir(SchemaRegistryClient) if not name.startswith("_")} - not_asked - associations
    told = Path(__file__).read_text(encoding="utf-8")
    assert not (silent := [name for name in calls if f".{name}" not in told]), silent

"""Confluent's Protobuf serializer against our registry; message classes are made from descriptors, without a compiler."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP

from bitvelocity.streams.registry.protobuf.parse import parse_file

from .registry_server import Served, running

VALUE = SerializationContext("orders", MessageField.VALUE)
LINE = 'syntax = "proto3"; package shop; message Line { string sku = 1; }'
ORDER = """syntax = "proto3"; package shop;
import "google/protobuf/timestamp.proto";
import "shop/line.proto";
message Other { int32 x = 1; }
message Order { int64 id = 1; google.protobuf.Timestamp placed = 2; repeated Line lines = 3; map<string, int64> tags = 4; }
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with running(tmp_path / "registry.db") as one:
        yield one


def order_class(order: str = ORDER) -> Any:
    pool = DescriptorPool()
    pool.AddSerializedFile(TIMESTAMP.serialized_pb)
    for text, name in ((LINE, "shop/line.proto"), (order, "shop/order.proto")):
        pool.AddSerializedFile(parse_file(text, name).SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("shop.Order"))


def test_protobuf_there_and_back(served: Served) -> None:
    """The import is registered as a subject of its own, a well-known type is not; the frame names the second message."""
    of = order_class()
    order = of(id=7, lines=[{"sku": "milk"}], tags={"a": 1})
    order.placed.FromSeconds(1_800_000_000)
    with SchemaRegistryClient({"url": served.url}) as client:
        written = ProtobufSerializer(of, client)(order, VALUE)
        assert written
        assert written[:7] == b"\x00\x00\x00\x00\x02\x02\x02"
        assert ProtobufDeserializer(of, schema_registry_client=client)(written, VALUE) == order
        assert client.get_subjects() == ["orders-value", "shop/line.proto"]
        assert ProtobufSerializer(of, client)(order, VALUE) == written
    held = served.given("GET", "subjects/orders-value/versions/1")
    assert held["references"] == [{"name": "shop/line.proto", "subject": "shop/line.proto", "version": 1}]
    assert held["schema"].startswith('syntax = "proto3";\npackage shop;\n')


def test_text_and_descriptor_are_the_same_schema(served: Served) -> None:
    descriptor = base64.b64encode(parse_file(LINE, "any/name.proto").SerializeToString()).decode()
    first = served.given("POST", "subjects/a/versions", {"schema": LINE, "schemaType": "PROTOBUF"})
    again = served.given("POST", "subjects/b/versions", {"schema": descriptor, "schemaType": "PROTOBUF"})
    assert first["id"] == again["id"]
    shown = served.given("GET", f"schemas/ids/{first['id']}?format=serialized")["schema"]
    file = FileDescriptorProto.FromString(base64.b64decode(shown))
    assert [message.name for message in file.message_type] == ["Line"]


def test_built_in_files_need_no_reference(served: Served) -> None:
    """redpanda#5771: `confluent/type/decimal.proto` was not known."""
    names = ("confluent/meta", "confluent/type/decimal", "confluent/types/decimal", "confluent/type/variant",
             "google/protobuf/struct", "google/type/date", "google/type/timeofday", "google/type/money")  # fmt: skip
    for number, name in enumerate(names):
        text = f'syntax = "proto3"; import "{name}.proto"; message M {{ int32 a = 1; }}'
        status, answer = served.ask("POST", f"subjects/s{number}/versions", {"schema": text, "schemaType": "PROTOBUF"})
        assert status == 200, (name, answer)
    absent = {"schema": 'syntax = "proto3"; import "none.proto";', "schemaType": "PROTOBUF"}
    assert served.refused("POST", "subjects/x/versions", absent) == (422, 42201)


def test_what_breaks_is_refused_with_its_place(served: Served) -> None:
    with SchemaRegistryClient({"url": served.url}) as client:
        client.register_schema("lines", Schema(LINE, "PROTOBUF"))
        wider = LINE.replace("sku = 1;", "sku = 1; int32 qty = 2;")
        assert client.test_compatibility("lines", Schema(wider, "PROTOBUF"))
        assert not client.test_compatibility("lines", Schema(LINE.replace("string", "int32"), "PROTOBUF"))
        assert not client.test_compatibility("lines", Schema('"int"', "AVRO"))
        assert "PROTOBUF" in client.get_schema_types()

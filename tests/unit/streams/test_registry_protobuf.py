"""Protobuf files read, printed and compared. The judge of what was read is Google's own library."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, struct_pb2, timestamp_pb2, type_pb2, wrappers_pb2

from bitvelocity.errors import RegistryError
from bitvelocity.streams.registry.protobuf import proto_objections, read_proto, serialized

EVERYTHING = r"""
// a comment
syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
import public "confluent/type/decimal.proto";
option java_package = "dev.shop"; option optimize_for = SPEED;
/* an order */
message Order {
  int64 id = 1 [deprecated = true, (confluent.field_meta) = { doc: "the key" }];
  confluent.type.Decimal total = 2;
  .google.protobuf.Timestamp placed = 0x03;
  message Before { repeated sint32 x = 1 [packed = false]; }
  map<string, Line> by_sku = 5;
  optional string note = 6 [json_name = "remark"];
  oneof pay { string card = 7; Cash cash = 8; }
  message Cash { int32 coins = 1; Order.State state = 2; }
  enum State { option allow_alias = true; NEW = 0; FRESH = 0; PAID = 1; LOST = -1; reserved 5, 7 to 9; reserved "OLD"; }
  State state = 9;
  reserved 20 to 30, 40, 1000 to max; reserved "foo", "bar";
}
message Line { string sku = 1; }
service Orders { rpc Get (Order) returns (stream Line) { option deprecated = true; } rpc Put (stream Line) returns (Line); }
"""
PROTO2 = """
message A {
  required int32 a = 1; optional string b = 2 [default = "x\\"\\n\\303\\274"]; repeated E c = 3; optional E d = 4 [default = TWO];
  optional bool f = 5 [default = true]; extensions 100 to 199;
}
enum E { ONE = 1; TWO = 2; }
extend A { optional int64 extra = 100; }
"""


@pytest.mark.parametrize("text", [EVERYTHING, PROTO2])
def test_a_file_prints_as_text_that_says_the_same(text: str) -> None:
    schema = read_proto(text)
    assert schema.text.startswith("syntax")
    again = read_proto(schema.text)
    assert again.file == schema.file
    assert again.text == schema.text
    assert read_proto(serialized(schema.file)).text == schema.text
    assert not proto_objections(schema.file, again.file)


@pytest.mark.parametrize("module", [struct_pb2, timestamp_pb2, type_pb2, wrappers_pb2, descriptor_pb2])
def test_what_a_compiler_made_is_kept_whole(module: object) -> None:
    """As text where the text says all, else as the descriptor (descriptor.proto has options that no text of ours says)."""
    made = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(made)  # type: ignore[attr-defined]
    schema = read_proto(serialized(made))
    assert read_proto(schema.text).file == schema.file
    assert {one.name for one in schema.file.message_type} == {one.name for one in made.message_type}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("message A { int32 a = 1; int32 b = 1; }", "1"),
        ("message A { Missing a = 1; }", "Missing"),
        ("message A { int32 a = 1 }", "line 1: expected ';'"),
        ('syntax = "proto4";', "'proto4' is not known"),
        ('syntax = "proto3"; message A { required int32 a = 1; }', "no required"),
        ("message A { optional group G = 1 { } }", "groups"),
        ('edition = "2023"; message A {}', "editions"),
        ("message A {", "the end"),
        ("nonsense", "nonsense"),
        ("message A { @ }", "'@' has no place"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(RegistryError, match=says) as refused:
        read_proto(text)
    assert refused.value.code == "42201"


def message(*fields: str, more: str = "") -> str:
    return f'syntax = "proto3"; package p; message M {{ {" ".join(fields)} }} {more}'


N, NO = "message N { int32 x = 1; }", "message N { int32 x = 1; } message O { int32 x = 1; }"


@pytest.mark.parametrize(
    ("reader", "writer", "kinds"),
    [
        (message("int32 a = 1;", "string b = 2;"), message("int32 a = 1;"), []),
        (message("int32 a = 1;"), message("int32 a = 1;", "string b = 2;"), []),
        (message("int32 renamed = 1;"), message("int32 a = 1;"), []),
        (message("string b = 1;"), message("string a = 1;", "string b = 2;"), ["FIELD_NUMBER_CHANGED"]),
        (message("string b = 1;", "string a = 2;"), message("string a = 1;", "string b = 2;"), ["FIELD_NUMBER_CHANGED"] * 2),
        (message("string a = 1;", "string c = 2;", "string b = 3;"), message("string a = 1;", "string b = 2;"), ["FIELD_NUMBER_CHANGED"]),
        (message("string a = 3;"), message("string a = 1;"), []),
        (message("int64 a = 1;"), message("int32 a = 1;"), []),
        (message("int32 a = 1;"), message("int64 a = 1;"), ["FIELD_SCALAR_KIND_CHANGED"]),
        (message("uint32 a = 1;"), message("int32 a = 1;"), ["FIELD_SCALAR_KIND_CHANGED"]),
        (message("sint32 a = 1;"), message("int32 a = 1;"), ["FIELD_SCALAR_KIND_CHANGED"]),
        (message("bytes a = 1;"), message("string a = 1;"), []),
        (message("string a = 1;"), message("bytes a = 1;"), ["FIELD_SCALAR_KIND_CHANGED"]),
        (message("N a = 1;", more=N), message("string a = 1;", more=N), ["FIELD_KIND_CHANGED"]),
        (message("O a = 1;", more=NO), message("N a = 1;", more=NO), ["FIELD_NAMED_TYPE_CHANGED"]),
        (message("repeated int32 a = 1;"), message("int32 a = 1;"), ["FIELD_NUMERIC_LABEL_CHANGED"]),
        (message("repeated string a = 1;"), message("string a = 1;"), []),
        (message("map<string, int64> a = 1;"), message("map<string, int32> a = 1;"), []),
        (message("map<string, string> a = 1;"), message("map<string, int32> a = 1;"), ["FIELD_SCALAR_KIND_CHANGED"]),
        (message("oneof o { int32 a = 1; }"), message("int32 a = 1;"), []),
        (message("oneof o { int32 a = 1; int32 b = 2; }"), message("int32 a = 1;", "int32 b = 2;"),
         ["MULTIPLE_FIELDS_MOVED_TO_ONEOF"]),
        (message("oneof o { int32 a = 1; int32 b = 2; }"), message("oneof o { int32 a = 1; }", "int32 b = 2;"),
         ["FIELDS_MOVED_TO_EXISTING_ONEOF"]),
        (message("oneof o { int32 a = 1; }"), message("oneof o { int32 a = 1; int32 b = 2; }"), ["ONEOF_FIELD_REMOVED"]),
        (message(more=""), message(more=N), ["MESSAGE_REMOVED"]),
        (message().replace("package p", "package q"), message(), ["PACKAGE_CHANGED"]),
        ("message M { required int32 a = 1; }", "message M { }", ["REQUIRED_FIELD_ADDED"]),
        ("message M { }", "message M { required int32 a = 1; }", ["REQUIRED_FIELD_REMOVED"]),
        (message("optional int32 a = 1;"), message("int32 a = 1;"), []),
    ],
)  # fmt: skip
def test_what_a_reader_makes_of_what_was_written(reader: str, writer: str, kinds: list[str]) -> None:
    found = proto_objections(read_proto(reader).file, read_proto(writer).file)
    assert [one.kind for one in found] == kinds


def test_normal_form() -> None:
    one = read_proto(message("int32 a = 1;", "string b = 2;"))
    other = read_proto(message("string b = 2;", "int32 a = 1;"))
    assert one.text != other.text
    assert one.normal == other.normal

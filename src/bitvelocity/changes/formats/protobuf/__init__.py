"""Changes in Protobuf: schemas as .proto text, values a column at a time, there and back."""

from .notation import ProtobufNotation
from .schema import proto_schema

__all__ = ["ProtobufNotation", "proto_schema"]

"""Protobuf: files read as text or as descriptors, printed in one form, and held against each other."""

from .diff import proto_objections
from .read import ProtoSchema, read_proto, serialized

__all__ = ["ProtoSchema", "proto_objections", "read_proto", "serialized"]

"""Protobuf: files read as text or as descriptors, printed in one form, and held against each other."""

from .diff import proto_objections
from .numbering import continued
from .read import ProtoSchema, read_proto, serialized

__all__ = ["ProtoSchema", "continued", "proto_objections", "read_proto", "serialized"]

"""Avro: its schemas read, printed in one form, and held against each other, logical types included."""

from .nodes import AvroSchema, Node
from .parse import read_avro
from .resolution import avro_objections

__all__ = ["AvroSchema", "Node", "avro_objections", "read_avro"]

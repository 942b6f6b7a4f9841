"""Changes in Avro: schemas as Kafka Connect's AvroConverter registers them, values a column at a time."""

from .notation import AvroNotation
from .schema import avro_schema

__all__ = ["AvroNotation", "avro_schema"]

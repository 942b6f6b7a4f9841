"""Specs become Arrow schemas: what a typed value of a column is in the lake."""

from __future__ import annotations

import pyarrow as pa

from .spec import Column, EntitySpec
from .types import Kind, Type

_STORED: dict[Kind, pa.DataType] = {
    "boolean": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "bytes": pa.binary(),
}
_MOST_DIGITS = 38


def silver_type(of: Type) -> pa.DataType:
    """The Arrow type of a column in silver; only types that every reader of Delta has.

    A decimal of at most 38 digits is a decimal128, an array of a type that we know is a list. What has no exact type
    there (unbounded or longer numerics, uuid, enum, JSON, times of day, intervals, types we do not know and arrays of
    them) stays the text that PostgreSQL prints: nothing is lost. A timestamp without time zone is taken as UTC.
    """
    if of.kind == "decimal" and _fits_decimal128(of):
        return pa.decimal128(of.precision or 0, of.scale or 0)
    if of.kind == "array" and of.item is not None and of.item.kind not in ("array", "other"):
        return pa.list_(silver_type(of.item))
    if of.kind == "other" and of.native == "oid":
        return pa.int64()
    return _STORED.get(of.kind, pa.string())


def column_type(spec: EntitySpec, column: Column) -> pa.DataType:
    """The Arrow type of a column of an entity. In a key an array stays text, for no engine joins on lists alike."""
    if column.type.kind == "array" and column.name in spec.key:
        return pa.string()
    return silver_type(column.type)


def silver_schema(spec: EntitySpec) -> pa.Schema:
    """The columns of a spec under their lake names, each with its logical type as metadata `pg`.

    Every field may be NULL: NOT NULL is a rule that quality keeps, for the source may drop it at any time and a
    Delta table could not follow.
    """
    return pa.schema(
        pa.field(spec.lake_names[column.name], column_type(spec, column), metadata={"pg": str(column.type)})
        for column in spec.columns
    )


def _fits_decimal128(of: Type) -> bool:
    return of.precision is not None and of.precision <= _MOST_DIGITS and 0 <= (of.scale or 0) <= of.precision

"""A column of values, as PostgreSQL prints them, to the bytes of a field in each row; and messages around fields."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import polars as pl

from .. import values as texts
from ..avro.columns import Part, binaries, join, places, strings
from ..avro.varints import BINARY, Bytes, Valid, fixed, lengths, pick, sevens
from ..plan import PlannedColumn
from .datum import datum, tag
from .schema import Schema

_INTEGERS = ("int8", "int16", "int32", "int64")


def write_column(number: int, column: PlannedColumn, values: pl.Series, absent: pl.Series | None = None) -> list[Part]:
    """`absent` tells which values were not sent; those are NULL in `values`."""
    schema, held = column.type.schema, column.type.placeholder
    void = b"" if column.void == "null" else datum(number, schema, json.loads(column.void))
    gone = void if held is None else datum(number, schema, json.loads(held))
    if values.null_count() == len(values) and absent is None:
        return [void]
    parts = _some(number, column, values)
    if not values.null_count() or (not void and absent is None):
        return parts
    which = values.is_null().to_numpy().astype(np.int64)
    if absent is not None:
        which[absent.to_numpy()] = 2
    return [pick([b"", void, gone], which), *parts]


def _some(number: int, column: PlannedColumn, values: pl.Series) -> list[Part]:
    """Fields of those that have a value."""
    kind, schema = column.type, column.type.schema
    if values.null_count() == len(values):
        return []
    if schema["type"] == "string":
        return lengthy(number, strings(kind, values))
    if schema["type"] == "bytes":
        return lengthy(number, binaries(kind, values))
    if schema["type"] in _INTEGERS:
        return integers(number, (values if kind.encode is texts.plain else kind.encode(values)).cast(pl.Int64))
    if schema["type"] in ("float", "double") and kind.encode is texts.floats:
        numbers = values.cast(pl.Float32 if schema["type"] == "float" else pl.Float64)
        valid = _valid(numbers)
        return [heads(tag(number, schema["type"]), valid), fixed(numbers.fill_null(0).to_numpy(), valid)]
    return [distinct(number, schema, kind.encode(values))]


def lengthy(number: int, values: pl.Series) -> list[Part]:
    """Texts, bytes, messages."""
    sizes = values.bin.size() if values.dtype == pl.Binary else values.str.len_bytes()
    return [lengths(tag(number, "bytes"), sizes.cast(pl.Int64).fill_null(-1).to_numpy(), zigzag=False), values.to_arrow().cast(BINARY)]


def integers(number: int, values: pl.Series) -> list[Part]:
    valid = _valid(values)
    return [heads(tag(number, "int64"), valid), sevens(values.cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64), valid)]


def distinct(number: int, schema: Schema, written: pl.Series) -> Bytes:
    """By way of JSON, each distinct one once."""
    held = written.to_arrow().dictionary_encode()
    known = [datum(number, schema, json.loads(str(text))) for text in held.dictionary.to_pylist()]
    return pick([*known, b""], places(held, len(known)))


def message(number: int, parts: Sequence[Part], count: int, valid: Valid = None) -> list[Part]:
    """Fields as a message of each row."""
    inner = pl.Series(pl.from_arrow(join(parts, count)), dtype=pl.Binary)
    if valid is not None:
        inner = pl.select(pl.when(pl.Series(valid)).then(inner).alias("v"))["v"]
    return lengthy(number, inner)


def heads(head: bytes, valid: Valid) -> Part:
    """What stands before each value; nothing where there is none."""
    return head if valid is None else pick([b"", head], valid.astype(np.int64))


def _valid(values: pl.Series) -> Valid:
    return values.is_not_null().to_numpy() if values.null_count() else None


__all__ = ["distinct", "heads", "integers", "lengthy", "message", "write_column"]

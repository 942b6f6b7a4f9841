"""A column of values, as PostgreSQL prints them, to Avro's bytes of each row.

What a value is in Connect is said once, by the encoders of JSON (`connect.ConnectType`). The types that are met most
go straight from text to bytes; all others go by way of their JSON, once for each distinct value.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from .. import values as texts
from ..connect import ConnectType
from ..plan import PlannedColumn
from .datum import Schema, body, branches
from .varints import BINARY, Bytes, Valid, fixed, glued, lengths, pick, varints

Part: TypeAlias = "Bytes | bytes"
"""What stands in every row at one place: bytes of each, or the same in all."""

_INTEGERS = ("int8", "int16", "int32", "int64")
_DECIMAL = "org.apache.kafka.connect.data.Decimal"


@dataclass(frozen=True, slots=True)
class Branches:
    """What stands before a value, instead of one that is NULL, and instead of one that was not sent."""

    some: bytes
    void: bytes
    absent: bytes

    @classmethod
    def of(cls, column: PlannedColumn) -> Branches:
        schema = column.type.schema
        told: Schema = {"optional": column.optional, "default": column.default}
        none, some = branches(told) if column.optional else (b"", b"")
        void = none if column.void == "null" else some + body(schema, json.loads(column.void))
        held = column.type.placeholder
        return cls(some, void, void if held is None else some + body(schema, json.loads(held)))


def write_column(column: PlannedColumn, values: pl.Series, absent: pl.Series | None = None) -> list[Part]:
    """`absent` tells which values were not sent; those are NULL in `values`."""
    heads = Branches.of(column)
    if values.null_count() == len(values):
        if absent is None:
            return [heads.void]
        return [pick([heads.void, heads.absent], absent.to_numpy().astype(np.int64))]
    coded = _Coded.of(column.type, values)
    return coded.with_heads(heads, None if absent is None else absent.to_numpy())


@dataclass(frozen=True, slots=True)
class _Coded:
    """Values without what stands before them. `sizes`: of those that are told with their length."""

    bytes: Bytes
    valid: Valid
    sizes: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, kind: ConnectType, values: pl.Series) -> _Coded:
        schema = kind.schema
        if schema["type"] == "string":
            return cls.measured(strings(kind, values))
        if schema["type"] == "bytes":
            return cls.measured(binaries(kind, values))
        if schema["type"] in _INTEGERS:
            numbers = (values if kind.encode is texts.plain else kind.encode(values)).cast(pl.Int64)
            valid = _valid(numbers)
            return cls(varints(numbers.fill_null(0).to_numpy(), valid), valid)
        if schema["type"] in ("float", "double") and kind.encode is texts.floats:
            numbers = values.cast(pl.Float32 if schema["type"] == "float" else pl.Float64)
            valid = _valid(numbers)
            return cls(fixed(numbers.fill_null(0).to_numpy(), valid), valid)
        return cls.distinct(schema, kind.encode(values))

    @classmethod
    def measured(cls, values: pl.Series) -> _Coded:
        """Strings and bytes, whose lengths stand before them."""
        sizes = values.bin.size() if values.dtype == pl.Binary else values.str.len_bytes()
        return cls(_arrow(values), _valid(values), sizes.cast(pl.Int64).fill_null(-1).to_numpy())

    @classmethod
    def distinct(cls, schema: Schema, written: pl.Series) -> _Coded:
        """By way of JSON, each distinct one once."""
        held = written.to_arrow().dictionary_encode()
        known = [body(schema, json.loads(str(text))) for text in held.dictionary.to_pylist()]
        return cls(pick([*known, b""], places(held, len(known))), _valid(written))

    def with_heads(self, heads: Branches, absent: npt.NDArray[np.bool_] | None) -> list[Part]:
        if self.sizes is not None:
            first: Part = lengths(heads.some, self.sizes)
        else:
            first = heads.some
        if self.valid is None:
            return [first, self.bytes]
        missing = (~self.valid).astype(np.int64)
        if absent is not None:
            missing[absent] = 2
        heads_of = [b"" if self.sizes is not None else heads.some, heads.void, heads.absent]
        chosen = pick(heads_of, missing)
        return [chosen, self.bytes] if self.sizes is None else [chosen, first, self.bytes]


def places(held: Any, nothing: int) -> npt.NDArray[np.int64]:
    """Numbers in the dictionary; that of nothing for NULL."""
    found: npt.NDArray[np.int64] = held.indices.fill_null(nothing).to_numpy(zero_copy_only=False).astype(np.int64)
    return found



def _valid(values: pl.Series) -> Valid:
    return values.is_not_null().to_numpy() if values.null_count() else None


def _arrow(values: pl.Series) -> Bytes:
    found: Bytes = values.to_arrow().cast(BINARY)
    return found


def strings(kind: ConnectType, values: pl.Series) -> pl.Series:
    if kind.encode in (texts.quoted, texts.safe_quoted):
        return values
    return unquoted(kind.encode(values))


def unquoted(written: pl.Series) -> pl.Series:
    """JSON strings as the text that they are."""
    if written.str.contains("\\", literal=True).any():
        return texts.by_value(_loaded)(written)
    return written.str.slice(1, written.str.len_chars().cast(pl.Int64) - 2)


def _loaded(text: str) -> str:
    found: str = json.loads(text)
    return found


def binaries(kind: ConnectType, values: pl.Series) -> pl.Series:
    if kind.encode is texts.hex_to_base64:
        return values.str.strip_prefix("\\x").str.decode("hex")
    if kind.encode is texts.decimals:
        return texts.unscaled_bytes(values)
    return unquoted(kind.encode(values)).str.decode("base64")


def join(parts: Sequence[Part], count: int) -> Bytes:
    """The parts of each row behind each other; what is NULL adds nothing."""
    merged: list[Any] = []
    for part in parts:
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        elif part != b"" if isinstance(part, bytes) else True:
            merged.append(part)
    if all(isinstance(part, bytes) for part in merged):
        return pick([b"".join(merged)], np.zeros(count, np.int64))
    return glued(*(pa.scalar(part, BINARY) if isinstance(part, bytes) else part for part in merged))


__all__ = ["Branches", "Part", "binaries", "join", "places", "strings", "unquoted", "write_column"]

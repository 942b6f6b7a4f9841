"""Protobuf values to columns, a field at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ..avro.varints import BINARY, binary
from .scan import Data, Found, Numbers, Places, cut, scan, unpacked, varints
from .schema import Schema
from .shape import Field, shape_of

_EIGHTS, _FOURS, _LENGTHY = (1, 6, 16), (2, 7, 15), (9, 11, 12)
_ZIGZAG = (17, 18)


@dataclass(frozen=True, slots=True)
class ProtobufReader:
    """Reads values of the first message of a schema. `connect` is what Connect calls it."""

    connect: Schema
    fields: tuple[Field, ...]

    @classmethod
    def of(cls, descriptor: str, references: Iterable[str] = ()) -> ProtobufReader:
        """`descriptor` is that of a file, in base64; `references` are those of files that it imports."""
        shape = shape_of(descriptor, references)
        return cls(shape.connect, shape.fields)

    def read(self, values: pa.Array[Any], skip: int = 0, *, only: Collection[str] = ()) -> pl.DataFrame:  # noqa: ARG002 - all is read
        """One row for each of the values, which are not NULL and have `skip` bytes of a frame before them."""
        held = values.cast(BINARY)
        buffers: Any = held.buffers()
        offsets = np.frombuffer(buffers[1], np.int64)[held.offset : held.offset + len(held) + 1] if len(held) else np.zeros(1, np.int64)
        data = np.frombuffer(buffers[2] or b"", np.uint8)
        starts, ends = offsets[:-1] + skip, offsets[1:]
        if skip and len(held):  # a frame says which message it is, too
            index, starts = varints(data, starts, ends)
            if index.any():
                raise ValueError("it is another message than the first of its schema, which is not read")
        columns = _columns(self.fields, data, starts, ends)
        table = pa.Table.from_arrays(columns, names=[one.name for one in self.fields])
        return pl.DataFrame(pl.from_arrow(table))


def _columns(fields: tuple[Field, ...], data: Data, starts: Places, ends: Places) -> list[Any]:
    found = scan(data, starts, ends)
    return [_column(one, found.of(one.number), data, len(starts)) for one in fields]


def _column(field: Field, found: Found, data: Data, count: int) -> Any:
    if field.repeated:
        return _lists(field, found, data, count)
    _check(field, found)
    valid = np.zeros(count, np.bool_)
    valid[found.rows] = True
    if field.type not in _LENGTHY:
        values = np.zeros(count, np.uint64)
        values[found.rows] = found.values
        return _numbers(field, values, valid)
    starts, sizes = np.zeros(count, np.int64), np.zeros(count, np.int64)
    starts[found.rows], sizes[found.rows] = found.starts, found.sizes
    return _lengthy(field, data, starts, sizes, valid=valid)


def _check(field: Field, found: Found) -> None:
    wire = 1 if field.type in _EIGHTS else 5 if field.type in _FOURS else 2 if field.type in _LENGTHY else 0
    if (found.wires != wire).any():
        raise ValueError(f"the field {field.name} is not written as its schema says")


def _lists(field: Field, found: Found, data: Data, count: int) -> Any:
    """All that a message has of a field."""
    if field.type not in _LENGTHY and (found.wires == 2).any():
        found = unpacked(data, found, 8 if field.type in _EIGHTS else 4 if field.type in _FOURS else None)
    else:
        _check(field, found)
    all_of = np.ones(len(found.rows), np.bool_)
    items = (
        _lengthy(field, data, found.starts, found.sizes, valid=all_of)
        if field.type in _LENGTHY
        else _numbers(field, found.values, all_of)
    )
    offsets = np.append(0, np.cumsum(np.bincount(found.rows, minlength=count)))
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), items)


def _lengthy(field: Field, data: Data, starts: Places, sizes: Places, *, valid: npt.NDArray[np.bool_]) -> Any:
    """Messages, texts, bytes."""
    if not field.fields and field.type != 11:
        made = binary(*cut(data, starts, sizes))
        kept = pc.if_else(pa.array(valid), made, pa.scalar(None, BINARY)) if field.present and not field.repeated else made
        return kept.cast(pa.large_string()) if field.type == 9 else kept
    columns = _columns(field.fields, data, starts, starts + sizes)
    if not field.holds:
        names = [one.name for one in field.fields]
        return pa.StructArray.from_arrays(columns, names=names, mask=pa.array(~valid))
    (lists,) = columns
    items = lists.values.field("value") if field.wrapped else lists.values
    return pa.LargeListArray.from_arrays(lists.offsets, items, mask=pa.array(~valid))


def _numbers(field: Field, values: Numbers, valid: npt.NDArray[np.bool_]) -> Any:
    mask = ~valid if field.present and not field.repeated else None
    if field.symbols is not None:
        known = dict(field.symbols)
        texts = [known.get(number, str(number)) for number in values.view(np.int64).tolist()]
        return pa.array(texts, pa.large_string(), mask=mask)
    return pa.array(_plain(field.type, values), mask=mask)


def _plain(kind: int, values: Numbers) -> npt.NDArray[Any]:
    if kind == 8:
        return values.astype(np.bool_)
    if kind in (1, 2):
        return values.view(np.float64) if kind == 1 else values.astype(np.uint32).view(np.float32)
    if kind in _ZIGZAG:
        whole = (values >> np.uint64(1)).view(np.int64) ^ -(values & np.uint64(1)).view(np.int64)
        return whole.astype(np.int32) if kind == 17 else whole
    if kind in (5, 15):
        return values.astype(np.uint32).view(np.int32)
    return values.view(np.int64)


__all__ = ["ProtobufReader"]

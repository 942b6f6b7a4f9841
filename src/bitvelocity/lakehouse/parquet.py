"""Rows to parquet and back, in the one form that all tables of the lake have."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitvelocity.errors import LakeError
from bitvelocity.files import sync_path

from .columns import Values, nulls
from .table import Bound, DataFile

ROW_GROUP = 131_072
"""Rows per row group: small enough that a look-up by key reads little, large enough to scan fast."""

SMALL = 1000
"""Rows up to which a file is written for speed: one write, no dictionaries, the cheap codec. A roll-up makes it up."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How files of a table are written: columns, which of them in a dictionary, which with statistics."""

    schema: pa.Schema
    dictionary: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()


def new_name(columns: int) -> str:
    """A file name that nobody else has and that tells how many columns the file holds.

    Columns are only ever added, at the end: the number says which ones a reader finds, without opening the file.
    """
    return f"part-{columns:04}-{uuid.uuid4()}.parquet"


def columns_in(path: str) -> int | None:
    """How many columns a file of ours holds; None for a file that another engine wrote."""
    parts = path.split("-", 2)
    return int(parts[1]) if parts[0] == "part" and len(parts) == 3 and len(parts[1]) == 4 and parts[1].isdigit() else None


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in the table's columns and types: absent columns are NULL, string views stay views."""
    have = dict(zip(rows.column_names, rows.columns, strict=True))
    if unknown := have.keys() - set(schema.names):
        raise LakeError(f"the table has no column {', '.join(sorted(unknown))}", remedy="widen the table first")
    columns = [_fit(have.get(column.name), column, rows.num_rows) for column in schema]
    return pa.Table.from_arrays(columns, names=schema.names)


def _fit(values: Values | None, column: pa.Field[Any], rows: int) -> Values:
    if values is None:
        return nulls(rows, column.type)
    if values.type == column.type or _is_view_of(values.type, column.type):
        return values
    try:
        return values.cast(column.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LakeError(f"column {column.name} does not hold {values.type}: {error}") from error


def _is_view_of(given: pa.DataType, wanted: pa.DataType) -> bool:
    return (given == pa.string_view() and wanted == pa.string()) or (
        given == pa.binary_view() and wanted == pa.binary()
    )


def plain(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows in exactly the types of the schema: views are copied out of the buffers that they point into."""
    return conform(rows, schema).cast(schema)


def write(folder: Path, shape: Shape, pieces: Iterable[pa.Table], *, sync: bool) -> DataFile:
    """One parquet file of all pieces, on disk when this returns (with `sync`)."""
    path = folder / new_name(len(shape.schema))
    pieces = iter(pieces)
    first = next(pieces)
    if first.num_rows <= SMALL:
        with pa.BufferOutputStream() as sink:
            rows, low, high = _write(sink, shape, chain((first,), pieces))
            _to_disk(path, sink.getvalue(), sync=sync)
    else:
        with pa.OSFile(str(path), "wb") as sink:
            rows, low, high = _write(sink, shape, chain((first,), pieces))
        if sync:
            sync_path(path)
    return DataFile(path.name, rows, path.stat().st_size, low, high)


def _write(sink: pa.NativeFile, shape: Shape, pieces: Iterator[pa.Table]) -> tuple[int, dict[str, Bound], dict[str, Bound]]:
    first = next(pieces)
    bounds: list[Bounds] = []
    rows = 0
    with pq.ParquetWriter(sink, first.schema, **_options(shape, small=first.num_rows <= SMALL)) as writer:
        for piece in chain((first,), pieces):
            writer.write_table(piece, row_group_size=ROW_GROUP)
            bounds.append(_bounds(piece, shape.statistics))
            rows += piece.num_rows
    low, high = _widest(bounds)
    return rows, low, high


def _to_disk(path: Path, content: pa.Buffer, *, sync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> pa.Table:
    """A file's rows."""
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False)


def _options(shape: Shape, *, small: bool) -> dict[str, Any]:
    statistics = [name for name in shape.statistics if name in shape.schema.names] or False
    if small:
        return {
            "compression": "snappy",
            "use_dictionary": False,
            "write_statistics": statistics,
            "store_schema": False,
        }
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [name for name in shape.dictionary if name in shape.schema.names],
        "write_statistics": statistics,
        "store_schema": False,
    }


Bounds = tuple[dict[str, Bound], dict[str, Bound]]


def _bounds(rows: pa.Table, names: Sequence[str]) -> Bounds:
    """Smallest and largest integers per column; other types keep theirs in the parquet footer only."""
    low: dict[str, Bound] = {}
    high: dict[str, Bound] = {}
    for name in names:
        if pa.types.is_integer(rows.schema.field(name).type):
            least, most = pc.min(rows[name]).as_py(), pc.max(rows[name]).as_py()
            if least is not None and most is not None:
                low[name], high[name] = least, most
    return low, high


def _widest(bounds: Sequence[Bounds]) -> Bounds:
    names = {name for low, _ in bounds for name in low}
    low = {name: min(b[0][name] for b in bounds if name in b[0]) for name in names}
    high = {name: max(b[1][name] for b in bounds if name in b[1]) for name in names}
    return low, high

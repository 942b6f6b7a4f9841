"""Rows to parquet and back, in the one form that all tables of the lake have."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bitvelocity.errors import LakeError

from .table import Bound, DataFile

ROW_GROUP = 131_072
"""Rows per row group: small enough that a look-up by key reads little, large enough to scan fast."""


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


def _fit(values: pa.ChunkedArray | None, column: pa.Field, rows: int) -> pa.ChunkedArray | pa.Array:
    if values is None:
        return pa.nulls(rows, column.type)
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
    name = new_name(len(shape.schema))
    pieces = iter(pieces)
    first = next(pieces)
    bounds = [_bounds(first, shape.statistics)]
    rows = first.num_rows
    with (folder / name).open("wb") as file:
        with pq.ParquetWriter(file, first.schema, **_options(shape)) as writer:
            writer.write_table(first, row_group_size=ROW_GROUP)
            for piece in pieces:
                writer.write_table(piece, row_group_size=ROW_GROUP)
                bounds.append(_bounds(piece, shape.statistics))
                rows += piece.num_rows
        file.flush()
        size = file.tell()
        if sync:
            os.fsync(file.fileno())
    low, high = _widest(bounds)
    return DataFile(name, rows, size, low, high)


def read(path: Path) -> pa.Table:
    """A file's rows."""
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False)


def _options(shape: Shape) -> dict[str, object]:
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [name for name in shape.dictionary if name in shape.schema.names],
        "write_statistics": list(shape.statistics) or False,
        "store_schema": False,
    }


Bounds = tuple[dict[str, Bound], dict[str, Bound]]


def _bounds(rows: pa.Table, names: Sequence[str]) -> Bounds:
    """Smallest and largest integers per column; other types keep theirs in the parquet footer only."""
    low: dict[str, Bound] = {}
    high: dict[str, Bound] = {}
    for name in names:
        if pa.types.is_integer(rows.schema.field(name).type):
            extremes = pc.min_max(rows[name]).as_py()
            if extremes["min"] is not None:
                low[name], high[name] = extremes["min"], extremes["max"]
    return low, high


def _widest(bounds: Sequence[Bounds]) -> Bounds:
    names = {name for low, _ in bounds for name in low}
    low = {name: min(b[0][name] for b in bounds if name in b[0]) for name in names}  # type: ignore[type-var]
    high = {name: max(b[1][name] for b in bounds if name in b[1]) for name in names}  # type: ignore[type-var]
    return low, high

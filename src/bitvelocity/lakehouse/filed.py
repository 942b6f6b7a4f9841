"""Rows of a table's files, found by a few columns and fetched whole, some at a time: never all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .parquet import plain

FILED: pa.Schema = pa.schema([("file", pa.int32()), ("group", pa.int32()), ("row", pa.int32())])
"""Where a row stands: in which of the files, in which of its row groups, and there."""


def filed(paths: Sequence[Path], schema: pa.Schema, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of all rows, a row group at a time, and where each row is `FILED`. Columns that a file has not are NULL."""
    wanted = pa.schema([schema.field(name) for name in columns])
    for number, path in enumerate(paths):
        with pq.ParquetFile(path) as content:
            for group in range(content.num_row_groups):
                rows = plain(content.read_row_group(group, columns=list(columns), use_threads=False), wanted)
                spots = [np.full(rows.num_rows, at, np.int32) for at in (number, group)]
                where = pa.Table.from_arrays([pa.array(at) for at in (*spots, np.arange(rows.num_rows, dtype=np.int32))], schema=FILED)
                yield pa.Table.from_arrays([*rows.columns, *where.columns], names=[*columns, *FILED.names])


def fetched(paths: Sequence[Path], schema: pa.Schema, where: pa.Table) -> pa.Table:
    """Whole rows, in the order of `where`, which has the columns of `FILED`."""
    files, groups, rows = (where[name].to_numpy() for name in FILED.names)
    order = np.lexsort((groups, files))
    begins = np.flatnonzero(np.diff(files[order], prepend=-1) | np.diff(groups[order], prepend=-1))
    found = [schema.empty_table()]
    for of in np.split(order, begins[1:]) if len(order) else ():
        with pq.ParquetFile(paths[files[of[0]]]) as content:
            found.append(plain(content.read_row_group(int(groups[of[0]]), use_threads=False), schema).take(rows[of]))
    return pa.concat_tables(found).take(np.argsort(order))


def pieces(path: Path, schema: pa.Schema, applied: Callable[[pa.Table, int], pa.Table]) -> Iterator[pa.Table]:
    """A file's rows as `applied` leaves them, a row group at a time; it is told at which row of the file each begins. Not
    those of which it leaves none."""
    with pq.ParquetFile(path) as content:
        begin = 0
        for group in range(content.num_row_groups):
            rows = plain(content.read_row_group(group, use_threads=False), schema)
            kept = applied(rows, begin)
            begin += rows.num_rows
            if kept.num_rows:
                yield kept


__all__ = ["FILED", "fetched", "filed", "pieces"]

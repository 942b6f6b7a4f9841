"""Changes of one table from several partitions, in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from bitvelocity.changes import Batch


@dataclass(frozen=True, slots=True)
class Piece:
    """Changes of one lane, and the `commit` and `lsn` of each; null where Debezium did not tell."""

    lane: str
    batch: Batch
    places: pl.DataFrame


def merged(pieces: Sequence[Piece]) -> list[Batch]:
    """The changes of each table in the order of their commits, those of a lane in the lane's order.

    A key has one partition, and then any order of partitions will do. Another converter writes other bytes for it, which
    moves it: what it was stands in one partition then, and what it is in another.
    """
    tables: dict[str, list[Piece]] = {}
    for one in pieces:
        tables.setdefault(one.batch.relation, []).append(one)
    return [batch for group in tables.values() for batch in _in_order(group)]


def _in_order(group: Sequence[Piece]) -> list[Batch]:
    if len({one.lane for one in group}) == 1:
        return [one.batch for one in group]
    shapes: list[Batch] = []
    tables: list[list[pa.Table]] = []
    places: list[pl.DataFrame] = []
    for one in group:
        alike = (at for at, known in enumerate(shapes) if known.columns == one.batch.columns and known.data.schema == one.batch.data.schema)
        shape = next(alike, len(shapes))
        if shape == len(shapes):
            shapes.append(one.batch)
            tables.append([])
        before = sum(table.num_rows for table in tables[shape])
        tables[shape].append(one.batch.data)
        places.append(one.places.select("commit", "lsn", lane=pl.lit(one.lane), shape=shape, row=before + pl.int_range(pl.len())))
    rows = _sorted(pl.concat(places))
    whole = [pa.concat_tables(each).combine_chunks() for each in tables]
    return [
        replace(shapes[shape], data=whole[shape].take(pa.array(run["row"].to_numpy())))
        for (_, shape), run in rows.group_by("run", "shape", maintain_order=True)
    ]


def _sorted(rows: pl.DataFrame) -> pl.DataFrame:
    told = pl.when(pl.col("lsn").is_not_null()).then(pl.struct(pl.col("commit").fill_null(0), "lsn"))
    ranked = rows.with_columns(rank=told.rank("dense"))
    steps = ranked.with_columns(pl.col("rank").forward_fill().cum_max().over("lane").fill_null(0))
    return steps.sort("rank", maintain_order=True).with_columns(run=pl.col("shape").rle_id())


__all__ = ["Piece", "merged"]

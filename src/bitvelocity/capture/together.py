"""Batches of a few pieces as one: decoding likes small pieces, which fit the caches; what is written likes large ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from bitvelocity.changes import Batch, is_table

TOGETHER = 3
"""Pieces that are given together: a parquet file of 40 columns costs some milliseconds beside its rows. More of them need
more memory, and whoever writes waits longer for the first."""


def go_together(batches: Iterable[Batch]) -> bool:
    """Whether all are rows of tables, and those of each table of one shape: then nothing is told by where one ends."""
    looks: dict[str, object] = {}
    return all(
        is_table(batch.relation) and looks.setdefault(batch.relation, _look(batch)) == _look(batch) for batch in batches
    )


def _look(batch: Batch) -> object:
    return batch.columns, batch.shape, batch.data.schema


def put_together(batches: Sequence[Batch]) -> list[Batch]:
    """One batch for each table, in the order of their first rows; nothing is copied."""
    tables: dict[str, list[Batch]] = {}
    for batch in batches:
        tables.setdefault(batch.relation, []).append(batch)
    return [
        replace(same[0], data=pa.concat_tables([batch.data for batch in same])) if len(same) > 1 else same[0]
        for same in tables.values()
    ]

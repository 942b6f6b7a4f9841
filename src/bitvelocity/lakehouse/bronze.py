"""Bronze: every change of an entity, as the source printed it, exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_COLUMNS, Batch, Passing, pass_by
from bitvelocity.contracts import Column, EntitySpec, Type

from .columns import SYSTEM, frame
from .delta import LocalTable
from .parquet import SMALL
from .table import Staged

REPEATING = ("_op", "_lsn", "_xid", "_committed_at", "_operation_user", "_correlation_id", "_source", "_absent")
"""System columns that repeat from row to row, and so are written as dictionaries."""
SAMPLE = 4096
FEW = 0.05
"""Distinct values per row of the sample up to which a column is worth a dictionary."""


class Bronze:
    """The bronze table of one entity. Columns that the spec does not know yet are kept too."""

    def __init__(self, root: Path, spec: EntitySpec, *, sync: bool = True, at: Passing = pass_by) -> None:
        self._spec = spec
        self._staged: list[Staged] = []
        self.table = LocalTable.open(
            root / "bronze" / spec.name, bronze_schema(spec), dictionary=REPEATING, sync=sync, at=at
        )

    def stage(self, batch: Batch) -> int:
        """Write what the table does not have yet; how many rows that was."""
        new = unseen(batch, self.table.position())
        if new.data.num_rows:
            self._staged.append(self.table.stage(self._renamed(new)))
        return new.data.num_rows

    def try_out(self, batch: Batch) -> None:
        """Write a batch, and keep nothing of it."""
        self.table.discard([self.table.stage(self._renamed(batch))])

    def encode(self, columns: Sequence[str]) -> None:
        """Write these source columns as dictionaries from now on."""
        names = widened(self._spec, tuple(columns)).lake_names
        encoded = [image + names[name] for name in columns for image in (AFTER, BEFORE)]
        self.table.widen(self.table.schema, dictionary=encoded)

    def commit(self, position: int) -> int:
        """Make staged rows visible; how many files that were."""
        staged, self._staged = self._staged, []
        if staged:
            self.table.commit(staged, position)
        return len(staged)

    def rollback(self) -> None:
        """Forget staged rows."""
        staged, self._staged = self._staged, []
        self.table.discard(staged)

    def _renamed(self, batch: Batch) -> pa.Table:
        spec = widened(self._spec, batch.columns)
        if spec is not self._spec:
            self._spec = spec
            self.table.widen(bronze_schema(spec))
        names = spec.lake_names
        lake = [image + names[name] for image in (AFTER, BEFORE) for name in batch.columns]
        have = [image + name for image in (AFTER, BEFORE) for name in batch.columns]
        return batch.data.select([*SYSTEM_COLUMNS, *have]).rename_columns([*SYSTEM_COLUMNS, *lake])


def bronze_schema(spec: EntitySpec) -> pa.Schema:
    """System columns, then all after images, then all before images: text, as the source printed it."""
    images = [image + name for image in (AFTER, BEFORE) for name in spec.lake_names.values()]
    return pa.schema([*SYSTEM, *(pa.field(name, pa.string()) for name in images)])


def widened(spec: EntitySpec, columns: Sequence[str]) -> EntitySpec:
    """The spec with the columns that it does not know added at the end; itself when it knows them all."""
    new = [Column(name=name, type=Type("text"), nullable=True) for name in columns if name not in spec.by_name]
    return replace(spec, columns=(*spec.columns, *new)) if new else spec


def unseen(batch: Batch, position: int) -> Batch:
    """The rows above a position. Rows are in order, so they are the tail of the batch, and nothing is copied."""
    rows = batch.data
    if rows.num_rows == 0 or rows["_lsn"][0].as_py() > position:
        return batch
    start = int(np.searchsorted(rows["_lsn"].to_numpy(), position, side="right"))
    return replace(batch, data=rows.slice(start))


def repeating(batch: Batch) -> tuple[str, ...] | None:
    """Source columns with few distinct values; None when the batch is too small to tell."""
    if batch.data.num_rows <= SMALL:
        return None
    sample = frame(batch.data.slice(0, SAMPLE).select([AFTER + name for name in batch.columns]))
    return tuple(name for name in batch.columns if sample[AFTER + name].n_unique() <= FEW * len(sample))

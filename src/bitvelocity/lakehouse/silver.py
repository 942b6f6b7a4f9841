"""Silver: typed changes of an entity, and the base of its latest rows that the log is folded into now and then.

`<name>_changes` is the log: append-only, typed, the history that stays. `<name>` is the base: one row per living key,
as of its position. The latest rows are the base, overlaid with what the log has above that position; a fold moves the
base up when the overlay grows beyond a tenth of it, so that reading costs the table and writing costs the change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from bitvelocity.changes import Batch, Passing, pass_by, within
from bitvelocity.contracts import EntitySpec
from bitvelocity.contracts.arrow import silver_schema

from .absent import filled
from .bronze import REPEATING, unseen
from .columns import frame, rows_of, viewed
from .delta import LocalTable
from .layers import Layers
from .names import columns_sql, identifier
from .stored import key_property
from .table import Staged
from .typed import TypedRows, log_schema, typed_rows, with_tombstones

SCRATCH = ".scratch"
"""Where engines spill; empty when none runs."""
UNKNOWN_ROWS = 5_000
KEPT_ROWS = 100_000
"""Rows of one commit that are kept in memory for gold; a larger commit is given as files."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What one commit changed in an entity: rows of its log in order. Very large: no tables, but the files."""

    entity: str
    tables: tuple[pa.Table, ...] = ()
    files: tuple[Path, ...] = ()


class Silver:
    """Log and base of one entity with a key. `engine` gives the writer's own DuckDB, for look-ups."""

    def __init__(
        self,
        root: Path,
        spec: EntitySpec,
        engine: Callable[[], duckdb.DuckDBPyConnection],
        *,
        sync: bool = True,
        at: Passing = pass_by,
    ) -> None:
        self._spec = spec
        self._target = silver_schema(spec)
        self._engine = engine
        log, base = (
            LocalTable.open(
                root / "silver" / name, log_schema(spec), dictionary=REPEATING, properties=key_property(spec), sync=sync,
                at=within(at, place),
            )
            for name, place in ((f"{spec.name}_changes", "silver"), (spec.name, "base"))
        )
        self.layers = Layers(base, log, key=spec.lake_key, scratch=root / SCRATCH, at=within(at, "base"))
        self._staged: list[Staged] = []
        self._kept: list[pa.Table] = []
        self._looking_up = threading.Lock()  # a batch may be tried out while another one is staged beside

    def stage(self, batch: Batch) -> int:
        """Type and write what the log does not have yet; how many changes that was."""
        new = unseen(batch, self.layers.log.position())
        if new.data.num_rows == 0:
            return 0
        rows = self._rows(new)
        self._staged.append(self.layers.log.stage(rows))
        self._keep(rows)
        return new.data.num_rows

    def try_out(self, batch: Batch) -> None:
        """Type and write a batch, and keep nothing of it."""
        self.layers.log.discard([self.layers.log.stage(self._rows(batch))])

    def encode(self, columns: Sequence[str]) -> None:
        """Write these source columns as dictionaries from now on."""
        names = [self._spec.lake_names[name] for name in columns if name in self._spec.lake_names]
        for table in (self.layers.log, self.layers.base):
            table.widen(table.schema, dictionary=names)

    def commit(self, position: int) -> Changed | None:
        """Make staged rows visible; what changed, or None when nothing was staged."""
        staged, kept = self._taken()
        if not staged:
            return None
        log = self.layers.log
        log.commit(staged, position)
        if kept:
            return Changed(self._spec.name, tables=kept)
        return Changed(self._spec.name, files=tuple(log.path / piece.file.path for piece in staged))

    def rollback(self) -> None:
        """Forget staged rows."""
        staged, _ = self._taken()
        self.layers.log.discard(staged)

    def latest(self, columns: Sequence[str]) -> pa.RecordBatchReader:
        """The latest row of each living key, as committed."""
        rows: pa.RecordBatchReader = self._engine().sql(self.layers.latest_sql(columns)).to_arrow_reader()
        return rows

    def unknown(self) -> tuple[tuple[str, ...], ...]:
        """Keys of rows whose `_absent` names a column, printed for PostgreSQL; a few thousand at the most."""
        key = self._spec.lake_key
        printed = [
            f"'\\x' || hex({identifier(name)})"
            if pa.types.is_binary(self._target.field(name).type)
            else f"CAST({identifier(name)} AS VARCHAR)"
            for name in key
        ]
        rows = self.layers.latest_sql([*key, "_absent"])
        query = f"SELECT {', '.join(printed)} FROM ({rows}) WHERE _absent IS NOT NULL LIMIT {UNKNOWN_ROWS}"
        return tuple(self._engine().sql(query).fetchall())

    def _rows(self, batch: Batch) -> pa.Table:
        typed = typed_rows(batch, self._spec, self._target)
        if typed.rows["_absent"].null_count < typed.rows.num_rows:
            with self._looking_up:
                known = filled(typed, self._spec.lake_key, self._spec.lake_names, self._earlier)
            typed = TypedRows(rows_of(known), typed.moved, typed.previous)
        return with_tombstones(typed)

    def _keep(self, rows: pa.Table) -> None:
        """Hold the rows for gold, all text as views, unless the commit has grown too large to hold."""
        if len(self._kept) == len(self._staged) - 1:
            self._kept.append(viewed(rows))
        if sum(table.num_rows for table in self._kept) > KEPT_ROWS:
            self._kept = []

    def _taken(self) -> tuple[list[Staged], tuple[pa.Table, ...]]:
        staged, kept = self._staged, self._kept
        self._staged, self._kept = [], []
        return staged, tuple(kept)

    def _earlier(self, keys: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """The latest values for some keys, counting what is staged already."""
        wanted = [*self._spec.lake_key, *columns]
        rows = self.layers.latest_sql(wanted, self._staged)
        asked = columns_sql(self._spec.lake_key)
        engine = self._engine()
        engine.register("asked", keys.to_arrow())
        try:
            found = engine.sql(f"SELECT * FROM ({rows}) SEMI JOIN asked USING ({asked})").to_arrow_table()
        finally:
            engine.unregister("asked")
        return frame(found)

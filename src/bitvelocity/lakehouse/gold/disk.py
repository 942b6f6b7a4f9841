"""Silver read from disk for gold: the newest committed state of each entity.

Newer than the watermark perhaps: after a crash, rows that silver has committed are not given to gold again,
so gold must take them from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from bitvelocity.contracts import EntitySpec
from bitvelocity.lakehouse.delta import has_log
from bitvelocity.lakehouse.deltalog import TableState
from bitvelocity.lakehouse.latest import latest
from bitvelocity.lakehouse.layers import above
from bitvelocity.lakehouse.names import scan

from .binding import CHANGES
from .table import APP


class SilverOnDisk:
    """`Silver` over a lake's folder. Tables that were never written are empty."""

    def __init__(
        self, root: Path, specs: Iterable[EntitySpec], connection: duckdb.DuckDBPyConnection
    ) -> None:
        self._folder = root / "silver"
        self._keys = {spec.name: spec.lake_key for spec in specs}
        self._connection = connection

    def position(self, entity: str) -> int:
        """Commit LSN of the last change of this entity, -1 when it never had any."""
        log = self._load(f"{entity}{CHANGES}")
        return log.position(APP) if log else -1

    def latest(self, entity: str, columns: Sequence[str]) -> pa.RecordBatchReader | None:
        """The latest row of each living key."""
        log, base = self._load(f"{entity}{CHANGES}"), self._load(entity)
        if log is None or base is None:
            return None
        folded = base.position(APP)
        tail = scan(log.path, above(tuple(log.files.values()), folded), log.schema)
        sql = latest(
            f"({scan(base.path, tuple(base.files.values()), base.schema)})",
            f"(SELECT * FROM ({tail}) WHERE _lsn > {folded:d})",
            key=self._keys[entity],
            columns=columns,
        )
        rows: pa.RecordBatchReader = self._connection.sql(sql).to_arrow_reader()
        return rows

    def _load(self, name: str) -> TableState | None:
        path = self._folder / name
        return TableState.load(path, APP) if has_log(path) else None

"""Rows of one lake table kept in the state: replaced by key, looked up by key, never larger than twice what lives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from bitvelocity.lakehouse.names import columns_sql, identifier

from .binding import table_name
from .engine import Engine
from .planner import Computed
from .rewrite import ROWS

PIECE = 1_000_000
SLACK = 200_000
"""Dead rows that are always allowed: below it a rebuild costs more than it gives."""


class Rows:
    """The state's copy of `silver.<entity>` or `gold.<model>`.

    Models read a view of the plain columns; the rows stand in a table beside it that also holds computed keys.
    """

    def __init__(
        self, engine: Engine, table: str, schema: pa.Schema, *, key: Sequence[str], computed: Iterable[Computed]
    ) -> None:
        self.table = table
        self.schema = schema
        self.key = tuple(key)
        self.count = 0
        self._dead = 0
        self._engine = engine
        lake, name = table.split(".")
        self.name = table_name(ROWS[lake], name)
        self._cell = f"rows for {table}"
        self._doomed = f"keys for {table}"
        keys = [f"{item.sql} AS {identifier(item.name)}" for item in computed]
        self._filled = ", ".join([columns_sql(schema.names), *keys])
        engine.cell(self._cell, schema)
        engine.execute(f"CREATE TABLE {self.name} AS {self._select} LIMIT 0")
        engine.execute(f"CREATE VIEW {table_name(lake, name)} AS SELECT {columns_sql(schema.names)} FROM {self.name}")

    @property
    def _select(self) -> str:
        return f"SELECT {self._filled} FROM {identifier(self._cell)} AS _row"

    def fill(self, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Add rows whose keys are not there yet, however many."""
        self._engine.connection.register("filling", rows)
        statement = f"INSERT INTO {self.name} SELECT {self._filled} FROM filling AS _row"
        self.count += self._engine.number(statement)
        self._engine.connection.unregister("filling")

    def fill_from(self, select: str) -> None:
        """Add the rows that a SELECT gives."""
        statement = f"INSERT INTO {self.name} SELECT {self._filled} FROM ({select}) AS _row"
        self.count += self._engine.number(statement)

    def add(self, rows: pa.Table) -> None:
        """Add rows whose keys are not there."""
        if rows.num_rows:
            self._engine.put(self._cell, rows)
            self._engine.run(f"add to {self.table}", f"INSERT INTO {self.name} {self._select}")
            self.count += rows.num_rows

    def take(self, keys: pa.Table) -> pa.Table:
        """Remove the rows of these keys and give them."""
        names = [f"_k{number}" for number in range(len(self.key))]
        keys = keys.rename_columns(names)
        self._engine.put(self._doomed, keys)
        null_safe = any(column.null_count for column in keys.columns)
        taken = self._engine.gather(
            f"take from {self.table}{' null-safe' if null_safe else ''}",
            f"DELETE FROM {self.name} WHERE {self._matches(null_safe=null_safe)} "
            f"RETURNING {columns_sql(self.schema.names)}",
        )
        self._shrink(taken.num_rows)
        return taken.cast(self.schema)

    def take_all(self) -> pa.Table:
        """Remove all rows and give them."""
        taken = self._engine.rows(f"DELETE FROM {self.name} RETURNING {columns_sql(self.schema.names)}")
        self._shrink(taken.num_rows)
        return taken.cast(self.schema)

    def all(self) -> pa.Table:
        """All rows."""
        return self._engine.rows(f"SELECT {columns_sql(self.schema.names)} FROM {self.name}").cast(self.schema)

    def pieces(self) -> Iterator[pa.Table]:
        """All rows, a file's worth at a time; one empty piece when there are none."""
        plain = f"SELECT {columns_sql(self.schema.names)} FROM {self.name}"
        if self.count <= PIECE:
            yield self.all()
            return
        for batch in self._engine.connection.sql(plain).to_arrow_reader(PIECE):
            yield pa.Table.from_batches([batch]).cast(self.schema)

    def keys(self) -> int:
        """How many different keys there are."""
        distinct = f"SELECT DISTINCT {columns_sql(self.key)} FROM {self.name}"
        return self._engine.number(f"SELECT count(*) FROM ({distinct})")

    def tidy(self) -> None:
        """Write the rows anew when most of the table is dead. Not within a transaction that must stay short."""
        if self._dead > max(self.count, SLACK):
            self._engine.execute(f"CREATE OR REPLACE TABLE {self.name} AS SELECT * FROM {self.name}")
            self._dead = 0

    def _matches(self, *, null_safe: bool) -> str:
        doomed = identifier(self._doomed)
        pairs = [(identifier(name), f"_k{number}") for number, name in enumerate(self.key)]
        if null_safe:
            same = " AND ".join(f"{name} IS NOT DISTINCT FROM {key}" for name, key in pairs)
            return f"EXISTS (SELECT 1 FROM {doomed} WHERE {same})"
        names, keys = ", ".join(name for name, _ in pairs), ", ".join(key for _, key in pairs)
        return f"({names}) IN (SELECT {'(' + keys + ')' if len(pairs) > 1 else keys} FROM {doomed})"

    def _shrink(self, rows: int) -> None:
        self.count -= rows
        self._dead += rows

"""Rows of one lake table kept in the state: taken and added by key, never much larger than what lives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from bitvelocity.lakehouse.names import columns_sql, identifier

from .binding import table_name
from .engine import Engine
from .planner import Computed
from .rewrite import ROWS

PIECE = 1_000_000
"""Rows handed out at once."""
SLACK = 200_000
"""Dead rows that are always allowed: below it a rebuild costs more than it gives."""


class Rows:
    """The state's copy of `silver.<entity>` or `gold.<model>`.

    Models read a view of the plain columns; the rows stand in a table beside it that also holds computed
    keys.
    """

    def __init__(
        self,
        engine: Engine,
        table: str,
        schema: pa.Schema,
        *,
        key: Sequence[str],
        computed: Iterable[Computed],
    ) -> None:
        self.table = table
        self.schema = schema
        self.key = tuple(key)
        self.count = 0
        self._dead = 0
        self._engine = engine
        lake, name = table.split(".")
        self.name = table_name(ROWS[lake], name)
        self._view = table_name(lake, name)
        self._added, self._taken = f"added to {table}", f"taken from {table}"
        keys = [f"{item.sql} AS {identifier(item.name)}" for item in computed]
        self._columns = columns_sql(schema.names)
        self._filled = ", ".join([self._columns, *keys])
        engine.put(self._added, schema.empty_table())
        self._add_sql = (
            f"INSERT INTO {self.name} SELECT {self._filled} FROM {identifier(self._added)} AS _row"
        )
        self._take_sql = {null_safe: self._take(null_safe=null_safe) for null_safe in (False, True)}
        shape = f"SELECT {self._filled} FROM {identifier(self._added)} AS _row"
        engine.execute(f"CREATE TABLE {self.name} AS {shape}")
        engine.execute(f"CREATE VIEW {self._view} AS SELECT {self._columns} FROM {self.name}")

    def fill(self, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Add rows whose keys are not there yet, however many."""
        self._engine.connection.register("_filling", rows)
        self.fill_from("FROM _filling")
        self._engine.connection.unregister("_filling")

    def fill_from(self, select: str) -> None:
        """Add the rows that a SELECT gives; their keys are not there yet."""
        self.count += self._engine.number(
            f"INSERT INTO {self.name} SELECT {self._filled} FROM ({select}) AS _row"
        )

    def add(self, rows: pa.Table) -> None:
        """Add rows whose keys are not there."""
        if rows.num_rows:
            self._engine.put(self._added, rows)
            self._engine.run(self._added, self._add_sql)
            self.count += rows.num_rows

    def take(self, keys: pa.Table) -> pa.Table:
        """Remove the rows of these keys, each given once, and give them."""
        keys = keys.rename_columns([f"_k{number}" for number in range(len(self.key))])
        self._engine.put(self._taken, keys)
        null_safe = any(column.null_count for column in keys.columns)
        statement = f"{self._taken}, null-safe" if null_safe else self._taken
        return self._count_out(self._engine.gather(statement, self._take_sql[null_safe]))

    def take_all(self) -> pa.Table:
        """Remove all rows and give them."""
        return self._count_out(self._engine.rows(f"DELETE FROM {self.name} RETURNING {self._columns}"))

    def all(self) -> pa.Table:
        """All rows."""
        return self._engine.rows(f"SELECT {self._columns} FROM {self.name}").cast(self.schema)

    def pieces(self) -> Iterator[pa.Table]:
        """All rows, a file's worth at a time; one empty piece when there are none."""
        if self.count <= PIECE:
            yield self.all()
            return
        plain = f"SELECT {self._columns} FROM {self.name}"
        for batch in self._engine.connection.sql(plain).to_arrow_reader(PIECE):
            yield pa.Table.from_batches([batch]).cast(self.schema)

    def keys(self) -> int:
        """How many different keys there are."""
        distinct = f"SELECT DISTINCT {columns_sql(self.key)} FROM {self.name}"
        return self._engine.number(f"SELECT count(*) FROM ({distinct})")

    def drop(self) -> None:
        """Give the memory back."""
        self._engine.execute(f"DROP VIEW {self._view}")
        self._engine.execute(f"DROP TABLE {self.name}")

    def tidy(self) -> None:
        """Write the rows anew when most of the table is dead. Not within a transaction."""
        if self._dead > max(self.count, SLACK):
            self._engine.execute(f"CREATE OR REPLACE TABLE {self.name} AS SELECT * FROM {self.name}")
            self._dead = 0

    def _take(self, *, null_safe: bool) -> str:
        """A join finds rows by their zone maps; `(a, b) IN (...)` would compare structs row by row."""
        same = "IS NOT DISTINCT FROM" if null_safe else "="
        pairs = " AND ".join(
            f"_row.{identifier(name)} {same} _k{number}" for number, name in enumerate(self.key)
        )
        returned = ", ".join(f"_row.{identifier(name)}" for name in self.schema.names)
        return f"DELETE FROM {self.name} AS _row USING {identifier(self._taken)} WHERE {pairs} RETURNING {returned}"

    def _count_out(self, taken: pa.Table) -> pa.Table:
        self.count -= taken.num_rows
        self._dead += taken.num_rows
        return taken.cast(self.schema)

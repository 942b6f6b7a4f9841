"""DuckDB as gold uses it: one connection, prepared statements, Arrow tables handed over without a copy."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa

from bitvelocity.lakehouse.duck import open_duckdb

THREADS = min(4, os.cpu_count() or 1)
ROW_GROUP = 8_192
"""Rows under one zone map. Small ones let a look-up of a few keys skip nearly all; DuckDB's default is
122,880.
"""


class Cell:
    """A place from which statements read Arrow rows: what it holds changes, its name and schema do not.

    A statement over a cell stays prepared, where one over a newly registered table would be planned again.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = schema.empty_table()

    def put(self, rows: pa.Table) -> None:
        """From now on the cell holds these rows."""
        self.rows = (
            rows if rows.schema.equals(self.schema) else rows.select(self.schema.names).cast(self.schema)
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self.rows.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]


class Engine:
    """A DuckDB that spills to `spill` beyond `memory_limit`. UTC, insertion order kept.

    `gather` is for statements that give rows, `run` for those that change them; `name` stands for the
    statement, and its text is read only the first time.
    """

    def __init__(self, *, memory_limit: str, spill: Path | None = None) -> None:
        config: dict[str, str | bool | int | float | list[str]] = {"memory_limit": memory_limit}
        if spill is not None:
            config["temp_directory"] = str(spill)
        self.connection = open_duckdb(config)
        self.execute(f"ATTACH ':memory:' AS state (ROW_GROUP_SIZE {ROW_GROUP})")
        self.execute("USE state")
        self._cells: dict[str, Cell] = {}
        self._prepared: set[str] = set()
        self.use_threads(many=True)

    def use_threads(self, *, many: bool) -> None:
        """Small statements are quicker in one thread, large ones in several."""
        self.execute(f"SET threads = {THREADS if many else 1}")

    def close(self) -> None:
        """Give the memory back."""
        self.connection.close()
        self._cells.clear()

    def cell(self, name: str, schema: pa.Schema) -> Cell:
        """The cell of that name, made at the first call."""
        if name not in self._cells:
            cell = Cell(schema)
            self.connection.register(name, cell)
            self._cells[name] = cell
        return self._cells[name]

    def put(self, name: str, rows: pa.Table) -> None:
        """Hold rows in the cell of that name, which takes its schema from the first rows it gets."""
        self.cell(name, rows.schema).put(rows)

    def gather(self, name: str, sql: str) -> pa.Table:
        """Rows of a statement, prepared under `name`.

        DuckDB warns that this way copies the rows once more; the way it advises plans the statement twice,
        which for few rows costs far more.
        """
        statement = self._execute(name, sql)
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            rows: pa.Table | None = self.connection.execute(statement).to_arrow_table()
        assert rows is not None
        return rows

    def run(self, name: str, sql: str) -> None:
        """Carry out a statement, prepared under `name`."""
        self.connection.execute(self._execute(name, sql)).fetchall()

    def rows(self, sql: str) -> pa.Table:
        """Rows of a statement that is not worth preparing."""
        rows: pa.Table = self.connection.sql(sql).to_arrow_table()
        return rows

    def execute(self, sql: str) -> None:
        """Carry out a statement that is not worth preparing."""
        self.connection.execute(sql).fetchall()

    def number(self, sql: str) -> int:
        """The one number that a statement gives: a count, or how many rows it changed."""
        return int(self.connection.execute(sql).fetchall()[0][0])

    def _execute(self, name: str, sql: str) -> str:
        if name not in self._prepared:
            self.connection.execute(f"PREPARE {_statement(name)} AS {sql}")
            self._prepared.add(name)
        return f"EXECUTE {_statement(name)}"


def _statement(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

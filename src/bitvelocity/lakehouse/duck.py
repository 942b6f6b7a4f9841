"""How every DuckDB of the lakehouse begins."""

from __future__ import annotations

from typing import Any

import duckdb


def open_duckdb(config: dict[str, Any] | None = None) -> duckdb.DuckDBPyConnection:
    """A connection in memory, in UTC for itself and all its cursors."""
    connection = duckdb.connect(config=config or {})
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection

"""Names quoted for DuckDB, in one place."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp


def quoted(name: str) -> str:
    """A name as a quoted identifier: `quoted("order")` is `"order"`."""
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def table_name(schema: str, name: str) -> str:
    """A table with its schema: `"silver"."orders"`."""
    return f"{quoted(schema)}.{quoted(name)}"


def column_list(names: Iterable[str], alias: str | None = None) -> str:
    """Quoted names by comma, each after `alias.` when one is given."""
    prefix = f"{quoted(alias)}." if alias else ""
    return ", ".join(prefix + quoted(name) for name in names)

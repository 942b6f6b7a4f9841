"""Names and values as DuckDB wants them written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
from sqlglot import exp

from bitvelocity.errors import LakeError

from .parquet import columns_in
from .table import DataFile


@lru_cache(maxsize=65_536)
def identifier(name: str) -> str:
    """A quoted identifier."""
    return exp.to_identifier(name, quoted=True).sql("duckdb")


@lru_cache(maxsize=65_536)
def literal(text: str) -> str:
    """A quoted string."""
    return exp.Literal.string(text).sql("duckdb")


def columns_sql(names: Iterable[str]) -> str:
    """Quoted identifiers with commas."""
    return ", ".join(map(identifier, names))


def sql_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type that a lake table can have."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{identifier(field.name)} {sql_type(field.type)}' for field in kind)})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE"
    try:
        return _TYPES[str(kind)]
    except KeyError:
        raise LakeError(f"no SQL type for {kind}") from None


_TYPES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "large_string": "VARCHAR",
    "string_view": "VARCHAR",
    "binary": "BLOB",
    "large_binary": "BLOB",
    "date32[day]": "DATE",
}


def scan(folder: Path, files: Iterable[DataFile], schema: pa.Schema, *, stored: int | None = None) -> str:
    """A SELECT over files of a table, whatever their age: columns that came later are NULL in older ones.

    No footer is read to say so: the name of a file tells how many columns it has. A file of another engine has all
    that are `stored` in the table (default: all of `schema`). No files give no rows.
    """
    ages: dict[int, list[str]] = {}
    for file in files:
        columns = columns_in(file.path) or stored or len(schema)
        ages.setdefault(columns, []).append(str(folder / file.path))
    parts = [_scan(paths, columns, schema) for columns, paths in sorted(ages.items(), reverse=True)]
    return " UNION ALL ".join(parts or [f"{_scan([], 0, schema)} WHERE false"])


def _scan(paths: Sequence[str], columns: int, schema: pa.Schema) -> str:
    terms = [
        identifier(field.name) if i < columns else f"CAST(NULL AS {sql_type(field.type)}) AS {identifier(field.name)}"
        for i, field in enumerate(schema)
    ]
    source = f" FROM read_parquet([{', '.join(map(literal, paths))}])" if paths else ""
    return f"SELECT {', '.join(terms)}{source}"

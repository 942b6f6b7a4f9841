"""How much lies in each table of the lake, and above a position of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlglot.expressions as exp

from .query import Reader, ask
from .trace import OPERATIONS


@dataclass(frozen=True, slots=True)
class TableSize:
    """One table of the lake and its rows, at the newest watermark."""

    layer: str
    name: str
    rows: int


def table_sizes(reader: Reader, tables: Iterable[tuple[str, str]]) -> list[TableSize]:
    """Rows of each `(layer, name)`."""
    sizes = []
    for layer, name in tables:
        query = exp.select("count(*) as n").from_(exp.table_(name, db=layer, quoted=True))
        sizes.append(TableSize(layer, name, ask(reader, query.sql("duckdb")).as_dicts()[0]["n"]))
    return sizes


def told_above(
    reader: Reader, entity: str, position: int, operations: Sequence[str] = "cudt"
) -> tuple[int, datetime | None]:
    """How many changes (by default reads are none) bronze has above a position, and when the first of them was committed."""
    query = (
        exp.select("count(*) as n", "min(_committed_at) as since")
        .from_(exp.table_(entity, db="bronze", quoted=True))
        .where(exp.column("_lsn") > position, exp.column("operation_type").isin(*(OPERATIONS[one] for one in operations)))
    )
    row = ask(reader, query.sql("duckdb")).as_dicts()[0]
    return row["n"], row["since"]

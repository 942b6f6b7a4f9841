"""How much lies in each table of the lake."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlglot.expressions as exp

from .query import Reader, ask


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

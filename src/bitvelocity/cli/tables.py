"""Arrow tables on a screen: aligned columns, numbers to the right, NULL dimmed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDEST = 60
LEAST_WIDTH = 80


def print_table(rows: pa.Table) -> None:
    """Print the rows as an aligned table; lines are as long as they must be where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(LEAST_WIDTH, (WIDEST + 2) * rows.num_columns))
    console.print(rich_table(rows))


def rich_table(rows: pa.Table) -> Table:
    """The rows as a table that rich can lay out."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for field in rows.schema:
        table.add_column(field.name, justify="right" if _is_number(field.type) else "left", no_wrap=True)
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        table.add_row(*map(_cell, row))
    return table


def _cell(value: Any) -> Text:
    if value is None:
        return Text("NULL", style="dim")
    text = str(value)
    return Text(text if len(text) <= WIDEST else text[: WIDEST - 1] + "…")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

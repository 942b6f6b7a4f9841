"""Arrow tables on a screen: aligned columns, numbers to the right, NULL dimmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDEST = 60


def print_table(rows: pa.Table, *, title: str | None = None, console: Console | None = None) -> None:
    """Print the rows as an aligned table."""
    (console or Console()).print(rich_table(rows, title=title))


def rich_table(rows: pa.Table, *, title: str | None = None) -> Table:
    """The rows as a table that rich can lay out."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for field in rows.schema:
        table.add_column(field.name, justify="right" if _is_number(field.type) else "left", no_wrap=True)
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        table.add_row(*cells(row))
    return table


def cells(values: Sequence[Any]) -> list[Text]:
    """Values as short text."""
    return [_cell(value) for value in values]


def _cell(value: Any) -> Text:
    if value is None:
        return Text("NULL", style="dim")
    text = str(value)
    return Text(text if len(text) <= WIDEST else text[: WIDEST - 1] + "…")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

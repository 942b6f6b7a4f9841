"""A trace on a screen: one line per change, then where the row stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..serving import Trace, TracedChange
from .tables import rich_table

STAMPS = {"updated_at", "updated_by", "version", "created_by"}
"""Audit columns that say what the line says already."""
MOST_SHOWN = 4


def show_trace(console: Console, trace: Trace) -> None:
    """Print the life of the row, then its gold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("position", "committed", "operation", "user", "correlation id", "what changed"):
        table.add_column(name, overflow="fold" if name == "what changed" else "ellipsis", no_wrap=name != "what changed")
    for change in trace.changes:
        table.add_row(*_line(change))
    console.print(table)
    where = "in silver" if trace.current else "gone from silver (the row is deleted)"
    console.print(f"[dim]now[/]  silver.{trace.entity}: {where}", highlight=False)
    for stand in trace.gold:
        if stand.rows:
            console.print(f"[dim]now[/]  {stand.model} [dim](through {stand.through})[/]", highlight=False)
            console.print(rich_table(pa.Table.from_pylist([dict(row) for row in stand.rows[:3]])))


def _line(change: TracedChange) -> tuple[Text, ...]:
    when = f"{change.committed_at:%Y-%m-%d %H:%M:%S}" if change.committed_at else ""
    return (
        Text(change.position),
        Text(when),
        Text(change.operation),
        Text(change.user or "(not said)", style="" if change.user else "dim"),
        Text((change.correlation_id or "")[:8]),
        Text(_what(change)),
    )


def _what(change: TracedChange) -> str:
    if change.operation in ("INSERT", "SNAPSHOT"):
        return f"{len(change.changed)} columns"
    if change.operation == "DELETE":
        return ""
    shown: Mapping[str, Any] = {k: v for k, v in change.changed.items() if k not in STAMPS}
    words = [f"{name}: {old} → {new}" for name, (old, new) in list(shown.items())[:MOST_SHOWN]]
    more = len(shown) - MOST_SHOWN
    return "; ".join(words) + (f"; and {more} more" if more > 0 else "")

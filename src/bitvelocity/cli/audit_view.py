"""An audit trail on a screen: one line per change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..oltp import Told
from .output import say

STAMPS = {"updated_at", "updated_by", "version", "created_at", "created_by"}
"""Audit columns that say what the line says already."""
MOST_SHOWN = 6
WIDE = 160


def show_trail(console: Console, rows: Sequence[Told], limit: int) -> None:
    """Print the changes; where the output is no terminal, lines are as long as they must be."""
    if not rows:
        say("No such change.")
        return
    if not console.is_terminal:
        console = Console(width=WIDE)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when (UTC)", *rows[0].key, "by", "correlation"):
        table.add_column(name, no_wrap=True)
    table.add_column("what", overflow="fold")
    for row in rows:
        table.add_row(*_line(row))
    console.print(table)
    if limit and len(rows) == limit:
        say(f"(the last {limit}; --limit 0 shows all)", dim=True)


def _line(row: Told) -> tuple[Text, ...]:
    given = row.user is not None and not (row.source or "").startswith("fallback:")
    by = row.user or "(not said)"
    return (
        Text(f"{row.at:%Y-%m-%d %H:%M:%S}"),
        *(Text("" if value is None else str(value)) for value in row.key.values()),
        Text(by if given or row.user is None else f"{by} (session)", style="" if given else "dim"),
        Text((row.correlation_id or "")[:8]),
        Text(_what(row)),
    )


def _what(row: Told) -> str:
    if row.operation != "UPDATE" or row.old is None:
        return row.operation
    shown: dict[str, tuple[Any, Any]] = {name: pair for name, pair in row.changed.items() if name not in STAMPS}
    words = [f"{name} {old} → {new}" for name, (old, new) in list(shown.items())[:MOST_SHOWN]]
    more = len(shown) - MOST_SHOWN
    return ("; ".join(words) or "UPDATE") + (f"; and {more} more" if more > 0 else "")

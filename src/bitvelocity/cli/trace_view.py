"""A trace on a screen: one line per change, then where the row stands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..serving import Trace, TracedChange

STAMPS = {"updated_at", "updated_by", "version", "created_by"}
"""Audit columns that say what the line says already."""
MOST_SHOWN = 4
MOST_GOLD = 3


def show_trace(console: Console, trace: Trace) -> None:
    """Print the life of the row, then where it stands in silver and gold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when (UTC)", "position", "by", "correlation"):
        table.add_column(name, no_wrap=True)
    table.add_column("what changed", overflow="fold")
    for change in trace.changes:
        table.add_row(*_line(change))
    console.print(table)
    if trace.more:
        console.print(f"  ... and more: these are the first {len(trace.changes):,}. All of them: {_all(trace)}", highlight=False)
    where = "its latest row" if trace.current else "gone: the row is deleted"
    _stand(console, f"silver.{trace.entity}", where)
    for stand in trace.gold:
        for row in stand.rows[:MOST_GOLD]:
            _stand(console, stand.model, _facts(row))
        if len(stand.rows) > MOST_GOLD:
            _stand(console, stand.model, f"... and {len(stand.rows) - MOST_GOLD} more rows")


def _all(trace: Trace) -> str:
    return f'bitvelocity query "select * from silver.{trace.entity}_history where ... order by _lsn, _ordinal"'


def _stand(console: Console, table: str, text: str) -> None:
    line = Text.assemble((f"  {table}  ", "cyan"), text)
    console.print(line, highlight=False, overflow="ellipsis", no_wrap=True)


def _facts(row: Mapping[str, Any]) -> str:
    """Numbers and words first, long ids last: what fits on a line should say something."""
    ordered = sorted(row.items(), key=lambda item: isinstance(item[1], str) and len(item[1]) > 20)
    return "  ".join(f"{name}={_short(value)}" for name, value in ordered if value is not None)


def _short(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value)


def _line(change: TracedChange) -> tuple[Text, ...]:
    when = f"{change.committed_at:%m-%d %H:%M:%S}" if change.committed_at else ""
    return (
        Text(when),
        Text(change.position),
        Text(change.user or "(not said)", style="" if change.user else "dim"),
        Text((change.correlation_id or "")[:8]),
        Text(_what(change)),
    )


def _what(change: TracedChange) -> str:
    if change.operation != "UPDATE":
        return change.operation
    shown: Mapping[str, Any] = {k: v for k, v in change.changed.items() if k not in STAMPS}
    words = [f"{name} {_short(old)} → {_short(new)}" for name, (old, new) in list(shown.items())[:MOST_SHOWN]]
    more = len(shown) - MOST_SHOWN
    return "; ".join(words) + (f"; and {more} more" if more > 0 else "")

"""Which ALTER may have written values into rows without sending them. Pure.

A RELATION message tells of columns and types; a marker of the source's event trigger also tells whether PostgreSQL
rewrote the table, and why. Where only the columns are known, what cannot have written anything is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_VALUES, COLUMN_VALUES = 2, 4
"""Reasons of a rewrite, as `pg_event_trigger_table_rewrite_reason()` gives them."""
_TEXTS, _NUMERIC, _HEADER = (25, 1043), 1700, 4

Look = Mapping[str, tuple[int, int]]
"""The columns of a table with the OIDs and modifiers of their types."""


@dataclass(frozen=True, slots=True)
class Filling:
    """Columns in question; `whole`, `sure`: as `Unsent` has them."""

    columns: Look
    whole: bool
    sure: bool

    @property
    def words(self) -> str:
        """What is known of it."""
        names = ", ".join(self.columns)
        if not names:
            return "its rows were rewritten"
        kind = "has another type" if self.whole else "is new"
        return f"column {names} {kind}" if len(self.columns) == 1 else f"columns {names} are new or have other types"


def filled_by_shape(before: Look, now: Look) -> Filling | None:
    """By the columns alone. A column that is new while one of its type is gone may be that one, renamed."""
    new = _new(before, now)
    changed = {name: kind for name, kind in now.items() if name in before and _may_rewrite(before[name], kind)}
    if changed:
        return Filling({**new, **changed}, whole=True, sure=True)
    return Filling(new, whole=False, sure=_renamed(before, now)) if new else None


def filled_by_marker(before: Look, now: Look, said: Mapping[str, Any]) -> Filling | None:
    """By a marker: `rewrite` are the reasons for which the table was rewritten."""
    reasons = said.get("rewrite")
    if reasons is None:  # an older trigger
        return filled_by_shape(before, now)
    new = _new(before, now)
    changed = {name: kind for name, kind in now.items() if name in before and before[name] != kind}
    computed = any(name not in new for name in _generated(said))
    if reasons & COLUMN_VALUES or (reasons & DEFAULT_VALUES and (computed or not new)):
        return Filling({**new, **changed}, whole=True, sure=True)
    if reasons & DEFAULT_VALUES:
        return Filling(new, whole=False, sure=True)
    stored = {name: kind for name, kind in new.items() if name not in set(_generated(said))}
    return Filling(stored, whole=False, sure=_renamed(before, now)) if stored else None


def look_of(columns: Iterable[Mapping[str, Any]], kind: str) -> Look | None:
    """From the JSON of a row of `_shapes`, where `kind` is the key of the type's OID; None of an older marker."""
    rows = list(columns)
    if any(kind not in row or "modifier" not in row for row in rows):
        return None
    return {row["name"]: (int(row[kind]), int(row["modifier"])) for row in rows}


def _new(before: Look, now: Look) -> Look:
    return {name: kind for name, kind in now.items() if name not in before}


def _renamed(before: Look, now: Look) -> bool:
    gone = {kind for name, kind in before.items() if name not in now}
    return any(kind in gone for kind in _new(before, now).values())


def _generated(said: Mapping[str, Any]) -> list[str]:
    return [column["name"] for column in said.get("columns") or () if column.get("generated")]


def _may_rewrite(before: tuple[int, int], now: tuple[int, int]) -> bool:
    """Whether PostgreSQL may have written other values: not for longer texts, nor for numbers of more digits."""
    (old, size), (new, wanted) = before, now
    if before == now:
        return False
    if old in _TEXTS and new in _TEXTS:
        return not (wanted == -1 or (size != -1 and wanted >= size))
    if old == new == _NUMERIC:
        return not (wanted == -1 or (size != -1 and _scale(size) == _scale(wanted) and wanted >= size))
    return True


def _scale(modifier: int) -> int:
    return (modifier - _HEADER) & 0x7FF

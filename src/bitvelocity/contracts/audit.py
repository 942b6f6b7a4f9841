"""The standard audit columns: who made, changed and deleted a row, when, and how often it changed."""

from __future__ import annotations

from .spec import Column
from .types import Type

_MOMENT = Type("timestamptz")
_PERSON = Type("text", length=255)

AUDIT_COLUMNS: tuple[Column, ...] = (
    Column(name="created_at", type=_MOMENT, default="now()", audit=True, doc="When the row was made."),
    Column(name="created_by", type=_PERSON, audit=True, doc="Who made the row."),
    Column(name="updated_at", type=_MOMENT, default="now()", audit=True, doc="When the row last changed."),
    Column(name="updated_by", type=_PERSON, audit=True, doc="Who last changed the row."),
    Column(
        name="version", type=Type("int32"), default="1", audit=True, doc="How often the row was written; for optimistic locks."
    ),
    Column(name="deleted_at", type=_MOMENT, nullable=True, audit=True, doc="When the row was deleted; NULL while it lives."),
    Column(name="deleted_by", type=_PERSON, nullable=True, audit=True, doc="Who deleted the row."),
)  # fmt: skip
"""Stamped by the trigger that `apply` installs, never by the application."""

STANDARD: dict[str, Column] = {column.name: column for column in AUDIT_COLUMNS}

"""The audit trail of an entity: the table `<table>_audit`, with a row for each change of a row."""

from __future__ import annotations

from collections.abc import Iterable

from .names import constraint_name
from .spec import Column, EntitySpec, Index, Partition
from .types import Type

SUFFIX = "_audit"
OPERATIONS = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
_TEXT, _JSON = Type("text"), Type("jsonb")

_AFTER_KEY: tuple[Column, ...] = (
    Column(name="operation_type", type=Type("text", length=10), choices=OPERATIONS, doc="What was done to the row."),
    Column(
        name="operation_timestamp", type=Type("timestamptz"), default="now()",
        doc="When: of the commit, or of the transaction's start where the trail is kept by a trigger.",
    ),
    Column(name="operation_user", type=_TEXT, nullable=True, doc="Who did it; NULL when nobody said."),
    Column(name="old_values", type=_JSON, nullable=True, doc="The row before, as far as it is known."),
    Column(name="new_values", type=_JSON, nullable=True, doc="The row after."),
    Column(name="correlation_id", type=_TEXT, nullable=True, doc="In the course of what."),
    Column(name="source", type=_TEXT, nullable=True, doc='The program; "fallback:..." when the transaction did not say who acts.'),
)  # fmt: skip
TAKEN = frozenset({"audit_id", *(column.name for column in _AFTER_KEY)})
"""Columns of every trail: no key column may have such a name."""


def trail_of(spec: EntitySpec) -> EntitySpec:
    """The declared form of an entity's trail. It is made and evolved like any table, and never captured."""
    table = f"{spec.table}{SUFFIX}"
    key = tuple(
        Column(name=name, type=spec.by_name[name].type, nullable=True, doc="Of the key; NULL for a TRUNCATE.")
        for name in spec.key
    )
    number = Column(name="audit_id", type=Type("int64"), identity=True, doc="In the order of the changes.")
    return EntitySpec(
        name=f"{spec.name}{SUFFIX}",
        table=table,
        schema=spec.schema,
        columns=(number, *key, *_AFTER_KEY),
        key=("audit_id", "operation_timestamp"),
        indexes=(
            Index(name=constraint_name("idx", table, "key"), columns=(*map(_quoted, spec.key), "audit_id")),
            Index(name=constraint_name("idx", table, "correlation"), columns=("correlation_id",)),
        ),
        partition=Partition(column="operation_timestamp", ahead=3, behind=1),
        audit=False,
        replica_identity="default",
        retention=spec.retention,
        owner=spec.owner,
        doc=f"Every change of {spec.table}: who made it, when, in the course of what, and the values before and after.",
    )


def trails_of(specs: Iterable[EntitySpec]) -> tuple[EntitySpec, ...]:
    """The trails of all entities that ask for one."""
    return tuple(trail_of(spec) for spec in specs if spec.audit_trail is not None)


def recorded(spec: EntitySpec) -> tuple[str, ...]:
    """The columns whose values stand in the trail: all but the generated ones, which follow from them."""
    return tuple(column.name for column in spec.columns if column.generated is None)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'

"""Entities held against their tables as the stream showed them last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitvelocity.contracts import EntitySpec, Type
from bitvelocity.contracts.types import Kind

from .shapes import last_shapes

_KINDS: dict[int, Kind] = {
    16: "boolean", 17: "bytes", 20: "int64", 21: "int16", 23: "int32", 25: "text", 114: "json", 700: "float32",
    701: "float64", 1042: "char", 1043: "text", 1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz",
    1186: "interval", 1266: "timetz", 1700: "decimal", 2950: "uuid", 3802: "jsonb",
}  # fmt: skip
"""Types with an OID that every PostgreSQL has; of others the stream alone does not tell what they are."""
_HEADER = 4
_HELD: dict[Kind, set[Kind]] = {"int64": {"int16", "int32"}, "int32": {"int16"}, "float64": {"float32"}}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What an entity says, and its table does not, since a position. `remedy` mends it."""

    entity: str
    what: str
    lsn: int
    remedy: str


def mismatches(root: Path, specs: Sequence[EntitySpec]) -> list[Mismatch]:
    """Where tables were altered, and the entities were not."""
    shapes = last_shapes(root)
    return [
        Mismatch(spec.name, what, shapes[spec.name]["_lsn"], remedy)
        for spec in specs
        if spec.name in shapes
        for what, remedy in _differences(spec, shapes[spec.name])
    ]


def _differences(spec: EntitySpec, shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    relation = shown["relation"]
    if relation != spec.qualified:
        schema, _, table = relation.partition(".")
        yield (
            f"{spec.qualified} is {relation} now; its changes still go to {spec.name}",
            f"Declare table={table!r}, schema={schema!r}, name={spec.name!r}.",
        )
    known_by = [column["name"] for column in shown["columns"] if column["key"]]
    if shown["identity"] in ("default", "index") and spec.key and not set(spec.key) <= set(known_by):
        yield (
            f"{relation} tells its rows apart by {', '.join(known_by) or 'nothing'}, the entity by {', '.join(spec.key)}: "
            f"silver does not see deletes, nor changes of the key",
            f"Declare key={tuple(known_by)!r}; or: alter table {relation} replica identity full;",
        )
    there = {column["name"]: column for column in shown["columns"]}
    again = f"Change the entity; then bitvelocity snapshot start {spec.name} reads rows that were not written since."
    for column in spec.columns:
        if column.name not in there:
            if column.generated is None:
                yield f"{relation} has no column {column.name}: it is NULL in rows written since", again
        elif (now := _type(there[column.name]["type"], there[column.name]["modifier"])) is not None and not _same(now, column.type):
            yield f"{relation}.{column.name} is {now}, in the entity {column.type}", "Change the entity; up makes silver anew."
    for name in there:
        if name not in spec.by_name:
            yield f"{relation} has a column {name} that the entity does not know: only bronze keeps it", again


def fits(spec: EntitySpec, name: str, kind: int, modifier: int) -> bool:
    """Whether the entity knows the column, as what it is or as something that holds its values too."""
    column = spec.by_name.get(name)
    if column is None:
        return False
    now = _type(kind, modifier)
    return now is None or _same(now, column.type) or now.kind in _HELD.get(column.type.kind, ())


def _type(oid: int, modifier: int) -> Type | None:
    kind = _KINDS.get(oid)
    if kind is None:
        return None
    size = modifier - _HEADER
    if size < 0 or kind not in ("decimal", "text", "char"):
        return Type(kind)
    if kind != "decimal":
        return Type(kind, length=size)
    return Type(kind, precision=size >> 16, scale=(size & 0x7FF) - 2048 * bool(size & 0x400))


def _same(now: Type, declared: Type) -> bool:
    """A name of PostgreSQL, and the length of a text, say nothing about silver."""
    if declared.kind in ("other", "enum", "array") or {now.kind, declared.kind} <= {"text", "char"}:
        return True
    return now == declared

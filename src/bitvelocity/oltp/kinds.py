"""PostgreSQL's types become logical types here: arrays, enums, domains and their length and precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..contracts.types import Kind, Type

BUILT_IN: dict[str, Kind] = {
    "bool": "boolean", "int2": "int16", "int4": "int32", "int8": "int64", "float4": "float32", "float8": "float64",
    "numeric": "decimal", "text": "text", "varchar": "text", "bpchar": "char", "uuid": "uuid", "json": "json",
    "jsonb": "jsonb", "bytea": "bytes", "date": "date", "time": "time", "timetz": "timetz",
    "timestamp": "timestamp", "timestamptz": "timestamptz", "interval": "interval",
}  # fmt: skip
VECTORS = {"int2vector", "oidvector"}
"""Arrays to the catalog, but printed without braces."""
MODIFIER_HEADER = 4
"""A length or precision is kept with this much added; -1 is none."""


@dataclass(frozen=True, slots=True)
class Types:
    """The types that some tables use, by oid."""

    rows: dict[int, dict[str, Any]]

    def of(self, oid: int, modifier: int) -> Type:
        """The logical type of a column. A domain is what it stands for; a composite, range or other is `other`."""
        row = self.rows[oid]
        if row["typtype"] == "d":
            return self.of(row["typbasetype"], row["typtypmod"])
        if row["typtype"] == "e":
            return Type("enum", native=row["native"], choices=tuple(row["labels"]))
        if row["typcategory"] == "A" and row["typelem"] and row["typname"] not in VECTORS:
            return Type("array", item=self.of(row["typelem"], modifier))
        kind = BUILT_IN.get(row["typname"]) if row["nspname"] == "pg_catalog" else None
        return _sized(kind, modifier) if kind else Type("other", native=row["native"])


def read_types(rows: Iterable[dict[str, Any]]) -> Types:
    """From the rows of the catalog's `types` query."""
    return Types({row["oid"]: row for row in rows})


def _sized(kind: Kind, modifier: int) -> Type:
    if modifier < MODIFIER_HEADER or kind not in ("decimal", "text", "char"):
        return Type(kind)
    size = modifier - MODIFIER_HEADER
    if kind != "decimal":
        return Type(kind, length=size)
    scale = (size & 0x7FF) - 2048 * bool(size & 0x400)  # 11 bits, signed since PostgreSQL 15
    return Type("decimal", precision=size >> 16, scale=scale)

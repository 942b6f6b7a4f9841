"""What the stream does not say of tables, as the source's catalog has it. Data only: capture reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column as the catalog has it. `default` is the expression as PostgreSQL prints it."""

    type: int
    modifier: int = -1
    not_null: bool = False
    default: str | None = None


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as the catalog has it. `key`: its primary key, else its first unique index; may be empty."""

    relation: str
    columns: Mapping[str, ColumnFacts]
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """A type that PostgreSQL does not have from the start, or an array.

    `target` is an array's element or a domain's base type, with `modifier`; `labels` are those of an enum.
    """

    name: str
    kind: Literal["base", "array", "domain", "enum", "composite", "range", "pseudo", "multirange"]
    target: int = 0
    modifier: int = -1
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Described:
    """The source as its catalog describes it at one moment."""

    database: str
    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    """By qualified name, in the order of schema and name."""
    types: Mapping[int, TypeFacts] = field(default_factory=dict)

    def resolve(self, oid: int, modifier: int) -> tuple[int, int]:
        """The type that values of a domain are of; any other type is itself."""
        while (facts := self.types.get(oid)) is not None and facts.kind == "domain":
            oid, modifier = facts.target, facts.modifier
        return oid, modifier

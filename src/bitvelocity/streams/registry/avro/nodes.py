"""An Avro schema as linked nodes: a name stands for its definition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..meanings import Meaning

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED = frozenset({"record", "enum", "fixed"})
NO_DEFAULT: Any = object()


@dataclass(slots=True, eq=False)
class Field:
    """A field of a record."""

    name: str
    node: Node
    default: Any = NO_DEFAULT
    aliases: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Node:
    """A type. `meaning` is what its values stand for, None when they stand as is."""

    type: str
    name: str = ""
    """Full name of a named type."""
    aliases: tuple[str, ...] = ()
    fields: list[Field] = field(default_factory=list)
    item: Node | None = None
    branches: tuple[Node, ...] = ()
    symbols: tuple[str, ...] = ()
    default: str | None = None
    """The symbol that stands for those an enum does not know."""
    size: int = 0
    meaning: Meaning | None = None

    @property
    def short_name(self) -> str:
        return self.name.rpartition(".")[2]

    def __str__(self) -> str:
        return str(self.meaning or (f"{self.type} {self.name}" if self.name else self.type))


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema that was read: its root, its text in one form, and the form in which order of attributes is no matter."""

    root: Node
    text: str
    normal: str

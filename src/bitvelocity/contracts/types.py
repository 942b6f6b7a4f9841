"""The logical type of a column: one small vocabulary between Python, PostgreSQL, Arrow and Delta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "boolean", "int16", "int32", "int64", "float32", "float64", "decimal",
    "text", "char", "uuid", "enum", "json", "jsonb", "bytes",
    "date", "time", "timetz", "timestamp", "timestamptz", "interval",
    "array", "other",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Type:
    """What a value of a column is, independent of any engine.

    - `precision`, `scale`: for `decimal`; both None is PostgreSQL's unconstrained numeric.
    - `length`: for `text` (varchar) and `char`, in characters.
    - `item`: for `array`, the type of one element.
    - `native`: for `enum` and `other`, PostgreSQL's own name of the type (schema-qualified where needed).
    - `choices`: for `enum`, the labels in their order.
    """

    kind: Kind
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    item: Type | None = None
    native: str | None = None
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        match self.kind:
            case "decimal":
                return f"decimal({self.precision},{self.scale})" if self.precision else "decimal"
            case "text" | "char" if self.length:
                return f"{self.kind}({self.length})"
            case "array":
                return f"{self.item}[]"
            case "enum" | "other":
                return f"{self.kind}:{self.native}"
            case _:
                return self.kind

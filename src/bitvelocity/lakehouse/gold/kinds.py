"""The types a model may declare: one short list that Delta, DuckDB and Spark all keep exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

_PLAIN: dict[str, tuple[str, pa.DataType]] = {
    "boolean": ("BOOLEAN", pa.bool_()),
    "smallint": ("SMALLINT", pa.int16()),
    "integer": ("INTEGER", pa.int32()),
    "bigint": ("BIGINT", pa.int64()),
    "double": ("DOUBLE", pa.float64()),
    "text": ("VARCHAR", pa.string()),
    "date": ("DATE", pa.date32()),
    "timestamptz": ("TIMESTAMP WITH TIME ZONE", pa.timestamp("us", "UTC")),
}
_ALIASES = {
    "bool": "boolean", "int": "integer", "int2": "smallint", "int4": "integer", "int8": "bigint",
    "float8": "double", "varchar": "text", "string": "text",
    "float": "double", "real": "double", "timestamp": "timestamptz", "hugeint": "decimal(38,0)",
    "uuid": "text", "json": "text", "time": "text",
}  # fmt: skip
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")

_INTEGERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
    "UHUGEINT", "BIGNUM",
}  # fmt: skip
_TEXTS = {"VARCHAR", "UUID", "JSON"}


class UnknownTypeError(ValueError):
    """The text names no type of a model; `remedy` says which one may be meant."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(f"{text!r} is no type of a model")
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class ModelType:
    """A declared type: `text` as the header writes it, and what the engines call it."""

    text: str
    duckdb: str
    arrow: pa.DataType
    scale: int | None = None
    """Decimals only."""

    def accepts(self, found: str) -> bool:
        """Whether a value of DuckDB's type `found` may be cast to this one without being changed silently.

        Overflow raises; losing decimals, a time of day or a time zone would not, so those need a visible
        CAST.
        """
        if found in (self.duckdb, '"NULL"', "NULL"):
            return True
        if self.duckdb in _INTEGERS:
            return found in _INTEGERS
        if self.scale is not None:
            return found in _INTEGERS or _scale_of(found) <= self.scale
        if self.duckdb == "VARCHAR":
            return found in _TEXTS or found.startswith("ENUM(")
        if self.duckdb == "DOUBLE":
            return found == "FLOAT"
        return False


def parse_type(text: str) -> ModelType:
    """The type that a header names: `parse_type("decimal(12, 2)").duckdb == "DECIMAL(12,2)"`."""
    name = " ".join(text.lower().split())
    if name in _PLAIN:
        return ModelType(name, *_PLAIN[name])
    if match := _DECIMAL.fullmatch(name):
        return _decimal(text, int(match[1]), int(match[2]))
    remedy = f"types are {', '.join([*_PLAIN, 'decimal(precision,scale)'])}"
    family = name.split("(", maxsplit=1)[0]
    if meant := _ALIASES.get(family) or (
        "decimal(18,2), with its digits" if family in ("decimal", "numeric") else None
    ):
        remedy = f"write {meant}; {remedy}"
    raise UnknownTypeError(text, remedy)


def _decimal(text: str, precision: int, scale: int) -> ModelType:
    if not (1 <= precision <= 38 and scale <= precision):
        raise UnknownTypeError(text, "precision is 1 to 38, and scale at most the precision")
    name = f"decimal({precision},{scale})"
    return ModelType(name, name.upper(), pa.decimal128(precision, scale), scale)


def _scale_of(found: str) -> int:
    match = _DECIMAL.fullmatch(found.lower())
    return int(match[2]) if match else 1_000_000

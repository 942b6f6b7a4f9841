"""Values in a declaration (defaults, bounds) as PostgreSQL prints and reads them."""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from .problems import Wrong
from .types import Kind, Type

_INTEGER_BITS: dict[Kind, int] = {"int16": 16, "int32": 32, "int64": 64}
_ACCEPTED: dict[Kind, tuple[type, ...]] = {
    "boolean": (bool,),
    "int16": (int,),
    "int32": (int,),
    "int64": (int,),
    "float32": (int, float),
    "float64": (int, float),
    "decimal": (int, Decimal),
    "text": (str,),
    "char": (str,),
    "enum": (str,),
    "uuid": (UUID,),
    "bytes": (bytes,),
    "date": (date,),
    "time": (time,),
    "timetz": (time,),
    "timestamp": (datetime,),
    "timestamptz": (datetime,),
    "interval": (timedelta,),
    "json": (dict, list, str, int, float, bool),
    "jsonb": (dict, list, str, int, float, bool),
    "array": (list,),
}
_READERS: dict[Kind, Callable[[str], Any]] = {
    "int16": int,
    "int32": int,
    "int64": int,
    "float32": float,
    "float64": float,
    "decimal": Decimal,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamptz": datetime.fromisoformat,
}
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def printed(value: Any, of: Type) -> str:
    """The value as PostgreSQL would print it; raises `Wrong` when it is no value of that type."""
    if isinstance(value, enum.Enum):
        value = value.value
    _check_type(value, of)
    if of.kind in ("json", "jsonb"):
        return json.dumps(value, ensure_ascii=False)
    if of.kind == "array":
        return "{}"
    return _printed_scalar(value)


def _printed_scalar(value: Any) -> str:
    match value:
        case bool():
            text = "true" if value else "false"
        case Decimal():
            text = format(value, "f")
        case datetime():
            text = value.isoformat(" ")
        case date() | time():
            text = value.isoformat()
        case timedelta():
            text = f"{value.days} days {Decimal(value.seconds) + Decimal(value.microseconds) / 1_000_000} seconds"
        case bytes():
            text = "\\x" + value.hex()
        case _:
            text = str(value)
    return text


def sql_literal(value: Any, of: Type) -> str:
    """The value as an SQL literal: numbers and booleans bare, everything else quoted."""
    text = printed(value, of)
    if of.kind == "boolean" or of.kind in _INTEGER_BITS or of.kind == "decimal":
        return text
    if "\0" in text:
        raise Wrong("the value holds a NUL character, which PostgreSQL cannot keep", "use bytes")
    return "'" + text.replace("'", "''") + "'"


def literal_text(sql: str) -> str | None:
    """The text of a default that is one plain literal, None for any other expression.

    >>> literal_text("'it''s'"), literal_text("1.50"), literal_text("now()")
    ("it's", '1.50', None)
    """
    quoted = _QUOTED.fullmatch(sql)
    if quoted:
        return quoted[1].replace("''", "'")
    return sql if _NUMBER.fullmatch(sql) else None


def has_order(of: Type) -> bool:
    """Bounds can be declared for it."""
    return of.kind in _READERS


def comparable(text: str, of: Type) -> Any:
    """The printed value read back, to be compared; raises `Wrong` when it is no value of that type."""
    try:
        value = _READERS[of.kind](text)
    except (ValueError, InvalidOperation) as error:
        raise Wrong(f"{text!r} is no {of}", f"give a value of type {of}") from error
    _check_clock(value, of)
    _check_number(value, of)
    return value


def _check_type(value: Any, of: Type) -> None:
    accepted = _ACCEPTED.get(of.kind, ())
    alike = isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool))
    if of.kind == "date" and isinstance(value, datetime):
        alike = False
    if of.kind == "decimal" and isinstance(value, float):
        raise Wrong(f"{value!r} is a float, which is never exact", f'write Decimal("{value}")')
    if not alike:
        words = " or ".join(sorted(cls.__name__ for cls in accepted)) or "an SQL expression"
        raise Wrong(f"{value!r} is no {of}", f'give {words}, or SQL: Default("...")')
    if of.kind == "array" and value:
        raise Wrong("a default list must be empty", "write Default(\"ARRAY['a', 'b']\")")
    _check_clock(value, of)
    _check_number(value, of)


def _check_clock(value: Any, of: Type) -> None:
    if of.kind not in ("timestamp", "timestamptz", "time", "timetz"):
        return
    zoned = value.tzinfo is not None
    if zoned and of.kind in ("timestamp", "time"):
        raise Wrong(f"{value.isoformat()} has a time zone, the column has none", "leave the zone out")
    if not zoned and of.kind in ("timestamptz", "timetz"):
        raise Wrong(f"{value.isoformat()} has no time zone", "add one, as in tzinfo=UTC or +00:00")


def _check_number(value: Any, of: Type) -> None:
    bits = _INTEGER_BITS.get(of.kind)
    if bits and not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise Wrong(f"{value} does not fit {of}", "choose a wider type or a nearer value")
    if isinstance(value, (float, Decimal)) and not math.isfinite(value):
        raise Wrong(f"{value} is not a finite number", "leave the bound or default out")
    if of.kind == "decimal" and of.precision is not None and not _fits(Decimal(value), of):
        raise Wrong(f"{value} does not fit {of}", "give it fewer digits, or the column more")


def _fits(value: Decimal, of: Type) -> bool:
    scale, precision = of.scale or 0, of.precision or 0
    exponent = value.normalize().as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) else 0
    return decimals <= max(scale, 0) and abs(value) < Decimal(10) ** (precision - scale)

"""Which changes of a column's type keep every value as it is."""

from __future__ import annotations

from ..contracts.types import Type

DIGITS = {"int16": 5, "int32": 10, "int64": 19}
WIDER = {
    "int16": {"int32", "int64"},
    "int32": {"int64"},
    "float32": {"float64"},
    "char": {"text"},
    "enum": {"text"},
    "uuid": {"text"},
}


def widens(old: Type, new: Type) -> bool:
    """Every value of `old` is a value of `new`, unchanged."""
    if old.kind == "array" and new.kind == "array" and old.item and new.item:
        return widens(old.item, new.item)
    if new.kind == "decimal":
        return _into_decimal(old, new)
    if old.kind == new.kind and old.kind in ("text", "char"):
        return _fits(old.length, new.length)
    if old.kind == "enum" and new.kind == "enum":
        return set(old.choices) <= set(new.choices) and old.native == new.native
    if new.kind == "text" and new.length and old.kind == "char":
        return _fits(old.length, new.length)
    return new.kind in WIDER.get(old.kind, ()) and not new.length


def _into_decimal(old: Type, new: Type) -> bool:
    if old.kind in DIGITS:
        whole, scale = DIGITS[old.kind], 0
    elif old.kind == "decimal" and old.precision is not None:
        whole, scale = old.precision - (old.scale or 0), old.scale or 0
    else:
        return old.kind == "decimal" and new.precision is None
    if new.precision is None:
        return True
    return new.precision - (new.scale or 0) >= whole and (new.scale or 0) >= scale


def _fits(old: int | None, new: int | None) -> bool:
    return new is None or (old is not None and old <= new)

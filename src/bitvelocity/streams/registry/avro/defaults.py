"""Whether a JSON value can be the default of a type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .nodes import NO_DEFAULT, Node


def fits(node: Node, value: Any) -> bool:
    """A value of the type, as Avro writes defaults in JSON: bytes as text of small code points, a union by any branch."""
    fit = _FITS.get(node.type, _fits_container)
    return fit(node, value)


def _fits_container(node: Node, value: Any) -> bool:
    if node.type == "array":
        return isinstance(value, list) and node.item is not None and all(fits(node.item, one) for one in value)
    if not isinstance(value, dict):
        return False
    if node.type == "map":
        return node.item is not None and all(fits(node.item, one) for one in value.values())
    return all(
        fits(field.node, value[field.name]) if field.name in value else field.default is not NO_DEFAULT
        for field in node.fields
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """Avro's libraries write what is no number as a word."""
    if isinstance(value, str):
        return value in ("NaN", "Infinity", "-Infinity")
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, str) and all(ord(letter) < 256 for letter in value)


_FITS: dict[str, Callable[[Node, Any], bool]] = {
    "null": lambda _, value: value is None,
    "boolean": lambda _, value: isinstance(value, bool),
    "int": lambda _, value: _is_whole(value) and -(2**31) <= value < 2**31,
    "long": lambda _, value: _is_whole(value) and -(2**63) <= value < 2**63,
    "float": lambda _, value: _is_number(value),
    "double": lambda _, value: _is_number(value),
    "string": lambda _, value: isinstance(value, str),
    "bytes": lambda _, value: _is_bytes(value),
    "fixed": lambda node, value: _is_bytes(value) and len(value) == node.size,
    "enum": lambda node, value: value in node.symbols,
    "union": lambda node, value: any(fits(branch, value) for branch in node.branches),
}

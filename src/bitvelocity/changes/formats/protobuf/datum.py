"""One value of Connect's, as its JSON converter has it, to Protobuf's bytes: for what is seldom, and for what is constant."""

from __future__ import annotations

import base64
import struct
from typing import Any

from ..avro.varints import unsigned
from .schema import Schema, entry_fields, numbers_of

_VARINT, _LENGTHY = 0, 2
_WIRES = {"float": 5, "double": 1, **dict.fromkeys(("int8", "int16", "int32", "int64", "boolean"), _VARINT)}
_WHOLE = (1 << 64) - 1


def tag(number: int, kind: str) -> bytes:
    """What stands before a value of one of Connect's types."""
    return unsigned(number << 3 | _WIRES.get(kind, _LENGTHY))


def datum(number: int, schema: Schema, value: Any) -> bytes:
    """A field; NULL is nothing."""
    if value is None:
        return b""
    raw, kind = body(schema, value), schema["type"]
    return tag(number, kind) + (raw if kind in _WIRES else unsigned(len(raw)) + raw)


def body(schema: Schema, value: Any) -> bytes:
    """A value without its tag and length."""
    kind = schema["type"]
    if kind in ("float", "double"):
        return struct.pack("<f" if kind == "float" else "<d", float(value))
    if kind in _WIRES:
        return unsigned(int(value) & _WHOLE)
    if kind == "string":
        return str(value).encode()
    return base64.b64decode(value) if kind == "bytes" else _several(schema, value)


def _several(schema: Schema, value: Any) -> bytes:
    if schema["type"] == "struct":
        return b"".join(datum(n, one, value[one["field"]]) for n, one in numbers_of(schema["fields"]))
    entry = {"type": "struct", "fields": list(entry_fields(schema))}
    if schema["type"] == "map":
        return b"".join(datum(1, entry, {"key": key, "value": one}) for key, one in value.items())
    if schema["items"].get("optional"):
        return b"".join(datum(1, entry, {"value": one}) for one in value)
    return b"".join(datum(1, schema["items"], one) for one in value)


__all__ = ["body", "datum", "tag"]

"""One value of Connect's, as its JSON converter has it, to Avro's bytes: for what is seldom, and for what is constant."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

from .varints import varint

Schema = Mapping[str, Any]
_INTEGERS = ("int8", "int16", "int32", "int64")


def datum(schema: Schema, value: Any) -> bytes:
    """With the branch of its union, if it is optional."""
    if not schema.get("optional"):
        return body(schema, value)
    none, some = branches(schema)
    return none if value is None else some + body(schema, value)


def branches(schema: Schema) -> tuple[bytes, bytes]:
    """The branch of NULL, and that of a value: Connect's converter puts the type first if there is a default."""
    return (b"\x02", b"\x00") if schema.get("default") is not None else (b"\x00", b"\x02")


def body(schema: Schema, value: Any) -> bytes:
    """Without a branch."""
    kind = schema["type"]
    if kind in _INTEGERS:
        return varint(int(value))
    if kind == "string":
        return _lengthy(str(value).encode())
    if kind == "bytes":
        return _lengthy(base64.b64decode(value))
    if kind == "boolean":
        return b"\x01" if value else b"\x00"
    if kind in ("float", "double"):
        return struct.pack("<f" if kind == "float" else "<d", float(value))
    return _several(schema, value)


def _several(schema: Schema, value: Any) -> bytes:
    if schema["type"] == "struct":
        return b"".join(datum(field, value[field["field"]]) for field in schema["fields"])
    if schema["type"] == "array":
        parts = [datum(schema["items"], one) for one in value]
    else:
        parts = [_lengthy(str(key).encode()) + datum(schema["values"], one) for key, one in value.items()]
    return (varint(len(parts)) + b"".join(parts) if parts else b"") + b"\x00"


def _lengthy(raw: bytes) -> bytes:
    return varint(len(raw)) + raw


__all__ = ["Schema", "body", "branches", "datum"]

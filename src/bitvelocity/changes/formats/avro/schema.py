"""Avro schemas of Connect's, by the rules of Confluent's AvroConverter: names, unions, defaults, properties and their order."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_PRIMITIVE = {
    "int8": "int", "int16": "int", "int32": "int", "int64": "long", "float": "float", "double": "double",
    "boolean": "boolean", "string": "string", "bytes": "bytes",
}  # fmt: skip
_CONNECT = "org.apache.kafka.connect.data."
_LOGICAL = {
    _CONNECT + "Date": "date",
    _CONNECT + "Time": "time-millis",
    _CONNECT + "Timestamp": "timestamp-millis",
}
_DECIMAL = _CONNECT + "Decimal"
_UNNAMED = "io.confluent.connect.avro.ConnectDefault"
_UNSAID_PRECISION = 64


def avro_schema(connect: Schema) -> str:
    """The text that is registered. `connect` is a schema as the JSON converter writes it, parsed."""
    made = _schema(connect, set(), "")
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


def _schema(connect: Schema, seen: set[str], namespace: str) -> Any:
    """`seen`: names that have their schema already; they are told by name."""
    made = (
        _struct(connect, seen, namespace) if connect["type"] == "struct" else _plain(connect, seen, namespace)
    )
    if not connect.get("optional"):
        return made
    return [made, "null"] if connect.get("default") is not None else ["null", made]


def _struct(connect: Schema, seen: set[str], namespace: str) -> Any:
    full = connect.get("name") or _UNNAMED
    space, _, name = full.rpartition(".")
    if full in seen:
        return name if space == namespace else full
    seen.add(full)
    made: dict[str, Any] = {"type": "record", "name": name}
    if space != namespace:
        made["namespace"] = space
    made["fields"] = [_field(one, seen, space) for one in connect["fields"]]
    return {**made, **_told(connect)}


def _field(connect: Schema, seen: set[str], namespace: str) -> dict[str, Any]:
    made = {"name": connect["field"], "type": _schema(connect, seen, namespace)}
    if connect.get("default") is not None:
        made["default"] = default_value(connect, connect["default"])
    elif connect.get("optional"):
        made["default"] = None
    return made


def _plain(connect: Schema, seen: set[str], namespace: str) -> Any:
    kind, name = connect["type"], connect.get("name", "")
    made: dict[str, Any]
    if kind == "array":
        made = {"type": "array", "items": _schema(connect["items"], seen, namespace)}
    elif kind == "map":
        made = {"type": "map", "values": _schema(connect["values"], seen, namespace)}
    else:
        made = {"type": _PRIMITIVE[kind]}
    if name == _DECIMAL:
        made["scale"], made["precision"] = _digits(connect)
    made |= _told(connect)
    if kind in ("int8", "int16"):
        made["connect.type"] = kind
    logical = "decimal" if name == _DECIMAL else _LOGICAL.get(name)
    if logical and (
        logical != "decimal"
        or "connect.decimal.precision" in connect["parameters"]
        or made["scale"] <= made["precision"]
    ):
        made["logicalType"] = logical
    return made["type"] if len(made) == 1 else made


def _digits(connect: Schema) -> tuple[int, int]:
    said = connect["parameters"]
    return int(said["scale"]), int(said.get("connect.decimal.precision", _UNSAID_PRECISION))


def _told(connect: Schema) -> dict[str, Any]:
    """What Avro has no word for, in the converter's own."""
    found: dict[str, Any] = {}
    for word in ("doc", "version", "parameters"):
        if connect.get(word) is not None:
            found[f"connect.{word}"] = connect[word]
    if connect.get("default") is not None:
        found["connect.default"] = default_value(connect, connect["default"])
    if connect.get("name"):
        found["connect.name"] = connect["name"]
    return found


def default_value(connect: Schema, value: Any) -> Any:
    """A default as Avro writes it: bytes are text whose characters are the bytes."""
    if value is None:
        return None
    if connect["type"] == "bytes":
        return base64.b64decode(value).decode("latin-1")
    if connect["type"] == "struct":
        return {one["field"]: default_value(one, value[one["field"]]) for one in connect["fields"]}
    if connect["type"] == "array":
        return [default_value(connect["items"], one) for one in value]
    return value


__all__ = ["avro_schema", "default_value"]

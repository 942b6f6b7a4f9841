"""Connect's schemas of Avro's: the way back of `schema`, and what other producers' logical types mean."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_KINDS = {
    "int": "int32", "long": "int64", "float": "float", "double": "double", "boolean": "boolean", "string": "string",
    "bytes": "bytes", "fixed": "bytes", "enum": "string", "null": "string",
}  # fmt: skip
_TIME, _CONNECT = "io.debezium.time.", "org.apache.kafka.connect.data."
_LOGICAL = {
    "date": _CONNECT + "Date", "time-millis": _CONNECT + "Time", "time-micros": _TIME + "MicroTime",
    "timestamp-millis": _CONNECT + "Timestamp", "timestamp-micros": _TIME + "MicroTimestamp",
    "timestamp-nanos": _TIME + "NanoTimestamp", "local-timestamp-millis": _CONNECT + "Timestamp",
    "local-timestamp-micros": _TIME + "MicroTimestamp", "decimal": _CONNECT + "Decimal", "uuid": "io.debezium.data.Uuid",
}  # fmt: skip


def connect_schema(avro: Any) -> Schema:
    """As the JSON converter writes it, parsed. A union of several types is text, whatever its values are."""
    return _schema(avro, {}, "")


def _schema(avro: Any, named: dict[str, Schema], space: str) -> dict[str, Any]:
    if isinstance(avro, list):
        rest = [one for one in avro if one != "null"]
        made = _schema(rest[0], named, space) if len(rest) == 1 else {"type": "string"}
        return {**made, "optional": len(rest) < len(avro)}
    if isinstance(avro, str):
        if avro in _KINDS:
            return {"type": _KINDS[avro], "optional": False}
        full = avro if "." in avro or not space else f"{space}.{avro}"
        return dict(named.get(full) or named.get(avro) or {"type": "string", "optional": False})
    return _described(avro, named, space)


def _described(avro: Schema, named: dict[str, Schema], space: str) -> dict[str, Any]:
    kind = avro["type"]
    if isinstance(kind, (dict, list)):
        return _schema(kind, named, space)
    if kind in ("record", "error"):
        return _record(avro, named, space)
    if kind == "array":
        return {**_told(avro, "array"), "items": _schema(avro["items"], named, space)}
    if kind == "map":
        keys = {"type": "string", "optional": False}
        return {**_told(avro, "map"), "keys": keys, "values": _schema(avro["values"], named, space)}
    made = _told(avro, str(avro.get("connect.type") or _KINDS.get(kind) or kind))
    if "name" not in made and avro.get("logicalType") in _LOGICAL:
        made["name"] = _LOGICAL[avro["logicalType"]]
    if avro.get("logicalType") == "decimal" or made.get("name") == _CONNECT + "Decimal":
        said = dict(made.get("parameters") or {"connect.decimal.precision": str(avro.get("precision", 0))})
        made["parameters"] = {"scale": str(avro.get("scale", 0)), **said}
    if kind in ("enum", "fixed"):
        named[_full(avro, space)] = made
    return made


def _record(avro: Schema, named: dict[str, Schema], space: str) -> dict[str, Any]:
    full = _full(avro, space)
    made = _told(avro, "struct")
    made.setdefault("name", full)
    made["fields"] = fields = []
    named[full] = made
    fields += [{**_schema(one["type"], named, full.rpartition(".")[0]), "field": one["name"]} for one in avro["fields"]]
    return made


def _told(avro: Schema, kind: str) -> dict[str, Any]:
    made: dict[str, Any] = {"type": kind, "optional": False}
    for word in ("name", "version", "doc", "parameters", "default"):
        if f"connect.{word}" in avro:
            made[word] = avro[f"connect.{word}"]
    if kind == "bytes" and isinstance(made.get("default"), str):
        made["default"] = base64.b64encode(made["default"].encode("latin-1")).decode()
    return made


def _full(avro: Schema, space: str) -> str:
    name = str(avro["name"])
    found = avro.get("namespace", space) if "." not in name else ""
    return f"{found}.{name}" if found else name


__all__ = ["connect_schema"]

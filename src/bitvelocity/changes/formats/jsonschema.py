"""JSON Schemas of Connect's, as Confluent's JsonSchemaConverter has them, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_KINDS = {
    "int8": "integer", "int16": "integer", "int32": "integer", "int64": "integer", "float": "number", "double": "number",
    "boolean": "boolean", "string": "string", "bytes": "string",
}  # fmt: skip
_NAMES = {"float": "float32", "double": "float64"}
_BACK = {"integer": "int64", "number": "double", "boolean": "boolean", "string": "string"}


def json_schema(connect: Schema) -> str:
    """The text that is registered; objects are closed, so that fields may be added later."""
    return json.dumps(_schema(connect), ensure_ascii=False, separators=(",", ":"))


def _schema(connect: Schema) -> dict[str, Any]:
    made = {**_told(connect), **_kind(connect)}
    if not connect.get("optional"):
        return made
    place = {"connect.index": made.pop("connect.index")} if "connect.index" in made else {}
    return {**place, "oneOf": [{"type": "null"}, made]}


def _told(connect: Schema) -> dict[str, Any]:
    found: dict[str, Any] = {"title": connect["name"]} if connect.get("name") else {}
    for word in ("version", "parameters", "index"):
        if connect.get(word) is not None:
            found[f"connect.{word}"] = connect[word]
    if connect.get("default") is not None:
        found["default"] = connect["default"]
    return found


def _kind(connect: Schema) -> dict[str, Any]:
    kind = connect["type"]
    if kind == "struct":
        fields = {one["field"]: _schema({**one, "index": n}) for n, one in enumerate(connect["fields"])}
        return {"type": "object", "properties": fields, "additionalProperties": False}
    if kind == "array":
        return {"type": "array", "items": _schema(connect["items"])}
    if kind == "map":
        return {"type": "object", "connect.type": "map", "additionalProperties": _schema(connect["values"])}
    said = {"connect.type": _NAMES.get(kind, kind)} if _BACK[_KINDS[kind]] != kind or kind == "double" else {}
    if kind in ("float", "double"):  # Connect writes NaN and the infinities as text
        return {"type": ["number", "string"], **said}
    return {"type": _KINDS[kind], **said}


def connect_of(schema: Schema) -> dict[str, Any]:
    """The way back; of other producers' schemas as much as they tell."""
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices:
        rest = [one for one in choices if one.get("type") != "null"]
        made = connect_of(rest[0]) if len(rest) == 1 else {"type": "string"}
        return {**made, "optional": len(rest) < len(choices)}
    kind = schema.get("type")
    if isinstance(kind, list):
        rest = [one for one in kind if one != "null"]
        several = {**schema, "type": "number" if "number" in rest else rest[0]} if rest else {"type": "string"}
        return {**connect_of(several), "optional": len(rest) < len(kind)}
    return _described(schema, str(kind or "string"))


def _described(schema: Schema, kind: str) -> dict[str, Any]:
    made: dict[str, Any] = {"type": _BACK.get(kind, "string"), "optional": False}
    if schema.get("title"):
        made["name"] = schema["title"]
    for word in ("version", "parameters"):
        if f"connect.{word}" in schema:
            made[word] = schema[f"connect.{word}"]
    said = schema.get("connect.type")
    if kind == "array":
        return {**made, "type": "array", "items": connect_of(schema.get("items") or {})}
    if said == "map":
        keys = {"type": "string", "optional": False}
        return {**made, "type": "map", "keys": keys, "values": connect_of(schema["additionalProperties"])}
    if kind == "object":
        places = enumerate(schema.get("properties", {}).items())
        fields = sorted(((one.get("connect.index", n), name, one) for n, (name, one) in places), key=lambda one: one[0])
        return {**made, "type": "struct", "fields": [{**connect_of(one), "field": name} for _, name, one in fields]}
    return {**made, "type": {"float32": "float", "float64": "double"}.get(str(said), str(said or made["type"]))}


__all__ = ["connect_of", "json_schema"]

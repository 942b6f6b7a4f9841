"""Connect's schemas as .proto files.

A struct is a message, its fields numbered in their order. What Protobuf has no word for (the name of a semantic type, its
parameters, a default) stands in the options of Confluent's that are made for it. A repeated field cannot be NULL, nor can
its items: so an array is a message that holds the items, and items that may be NULL are messages that hold the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
KINDS = {
    "int8": "int32", "int16": "int32", "int32": "int32", "int64": "int64", "float": "float", "double": "double",
    "boolean": "bool", "string": "string", "bytes": "bytes",
}  # fmt: skip
META = "connect.schema"
"""The parameter of a field's `confluent.field_meta` that has the rest of Connect's schema, as JSON."""
_UNNAMED = "io.confluent.connect.protobuf.ConnectDefault"


def proto_schema(connect: Schema) -> str:
    """The text that is registered. `connect` is a struct as the JSON converter writes it, parsed."""
    space, _, name = str(connect.get("name") or _UNNAMED).rpartition(".")
    lines = ['syntax = "proto3";']
    if space:
        lines.append(f"package {'.'.join(_valid(part) for part in space.split('.'))};")
    lines.append('import "confluent/meta.proto";')
    return "\n".join([*lines, "", *_message(_valid(name), connect)]) + "\n"


def _valid(name: str) -> str:
    made = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"_{made}" if not made or made[0].isdigit() else made


def _message(name: str, connect: Schema) -> list[str]:
    lines, names = list[str](), dict[str, Schema]({name: {}, **{str(one["field"]): {} for one in connect["fields"]}})
    for number, one in numbers_of(connect["fields"]):
        lines += _field(one, str(one["field"]), number, names)
    return [f"message {name} {{", *(f"  {line}" for line in lines), "}"]


def _field(connect: Schema, field: str, number: int, names: dict[str, Schema]) -> Iterator[str]:
    """The field, behind the message that it needs."""
    label, kind = "optional " if connect.get("optional") else "", KINDS.get(connect["type"])
    if kind is None:
        what = {key: one for key, one in connect.items() if key not in ("field", "optional", "default")}
        kind = _named(what, field, names)
        if kind not in names:
            names[kind] = what
            yield from _inner(kind, connect)
    yield f"{label}{kind} {field} = {number}{_told(connect)};"


def _named(what: Schema, field: str, names: dict[str, Schema]) -> str:
    """The name of a message: that of the same one that is there already, or one that no neighbour has."""
    said = str(what.get("name") or field).rpartition(".")[2]
    wanted = made = _valid(said[:1].upper() + said[1:])
    number = 2
    while made in names and names[made] != what:
        made, number = f"{wanted}{number}", number + 1
    return made


def _inner(name: str, connect: Schema) -> list[str]:
    if connect["type"] == "struct":
        return _message(name, connect)
    entry = {"type": "struct", "fields": list(entry_fields(connect))}
    is_plain = connect["type"] == "array" and not connect["items"].get("optional")
    if is_plain:
        lines = list(_field({**connect["items"], "optional": False}, "items", 1, {name: {}, "items": {}}))
        lines[-1] = f"repeated {lines[-1]}"
    else:
        item = "Item" if connect["type"] == "array" else "Entry"
        lines = [*_message(item, entry), f"repeated {item} items = 1;"]
    return [f"message {name} {{", *(f"  {line}" for line in lines), "}"]


def entry_fields(connect: Schema) -> Iterator[Schema]:
    """What the messages inside an array's or a map's have."""
    if connect["type"] == "map":
        yield {**connect["keys"], "field": "key"}
    yield {**connect["values" if connect["type"] == "map" else "items"], "field": "value"}


def numbers_of(fields: Iterable[Schema], first: int = 1) -> Iterator[tuple[int, Schema]]:
    """Fields with their numbers: those that they were given, else as they stand."""
    return ((one.get("number", number), one) for number, one in enumerate(fields, first))


def numbered(connect: Schema, numbers: Mapping[str, int], path: str = "") -> Schema:
    """The schema with the number of each field that has one, by its path."""
    if connect["type"] != "struct":
        return connect
    return {**connect, "fields": [_numbered(one, numbers, f"{path}{one['field']}") for one in connect["fields"]]}


def _numbered(field: Schema, numbers: Mapping[str, int], path: str) -> Schema:
    return {**numbered(field, numbers, f"{path}."), **({"number": numbers[path]} if path in numbers else {})}


def _told(connect: Schema) -> str:
    """What is not in the field's own type."""
    rest = {key: connect[key] for key in ("name", "version", "parameters", "default", "doc") if connect.get(key) is not None}
    if connect["type"] in ("int8", "int16", "array", "map"):
        rest["type"] = connect["type"]
    if connect["type"] == "array" and connect["items"].get("optional"):
        rest["wrapped"] = True
    if not rest:
        return ""
    text = json.dumps(json.dumps(rest, separators=(",", ":")))
    return f' [(confluent.field_meta) = {{ params: [{{ key: "{META}", value: {text} }}] }}]'


__all__ = ["KINDS", "META", "Schema", "entry_fields", "numbered", "numbers_of", "proto_schema"]

"""Messages as a reader needs them, from the descriptor of their file."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ....errors import MissingExtraError
from .schema import Schema
from .told import told_of

_SCALARS = {
    1: "double", 2: "float", 3: "int64", 4: "int64", 5: "int32", 6: "int64", 7: "int64", 8: "boolean", 9: "string",
    12: "bytes", 13: "int64", 14: "string", 15: "int32", 16: "int64", 17: "int32", 18: "int64",
}  # fmt: skip
"""By the descriptors' numbers of types."""
_ENUM, _MESSAGE, _REPEATED = 14, 11, 3


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `connect` is what Connect calls it; `holds` says that its message stands for an array or a map."""

    number: int
    name: str
    type: int
    repeated: bool
    present: bool
    """Nothing is NULL; else it is 0, or empty."""
    connect: Schema
    fields: tuple[Field, ...] = ()
    symbols: Mapping[int, str] | None = None
    holds: bool = False
    wrapped: bool = False
    """Items are messages that hold one value each."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A message. `connect` is Connect's schema of it."""

    connect: Schema
    fields: tuple[Field, ...]


def shape_of(text: str, references: Iterable[str] = ()) -> Shape:
    """Of the first message in a descriptor, which is text in base64."""
    file, *others = [_descriptor(one) for one in (text, *references)]
    types: dict[str, Any] = {}
    for one in (*others, *_built_in(file, *others), file):
        _collect(f".{one.package}" if one.package else "", one, types)
    first = file.message_type[0]
    full = f"{file.package}.{first.name}" if file.package else first.name
    fields = _Reading(types).fields(f".{full}", ())
    return Shape({"type": "struct", "optional": False, "name": full, "fields": [one.connect for one in fields]}, fields)


def _descriptor(text: str) -> Any:
    try:
        from google.protobuf.descriptor_pb2 import FileDescriptorProto
    except ImportError as error:
        raise MissingExtraError("Values in Protobuf need protobuf.", remedy="pip install 'bitvelocity[registry]'") from error
    try:
        return FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except Exception as error:
        raise ValueError("the registry does not give the descriptor of the schema") from error


def _built_in(*files: Any) -> list[Any]:
    """Google's own files, as far as they are named."""
    found = []
    for name in {name for one in files for name in one.dependency if re.fullmatch(r"google/protobuf/[a-z_]+\.proto", name)}:
        stem = name.removesuffix(".proto").rpartition("/")[2]
        if stem in ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"):
            held = type(files[0])()
            import_module(f"google.protobuf.{stem}_pb2").DESCRIPTOR.CopyToProto(held)
            found.append(held)
    return found


def _collect(space: str, holder: Any, types: dict[str, Any]) -> None:
    is_file = hasattr(holder, "message_type")
    types |= {f"{space}.{one.name}": one for one in holder.enum_type}
    for one in holder.message_type if is_file else holder.nested_type:
        types[f"{space}.{one.name}"] = one
        _collect(f"{space}.{one.name}", one, types)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Types by their full names."""

    types: Mapping[str, Any]

    def fields(self, name: str, inside: tuple[str, ...]) -> tuple[Field, ...]:
        if name in inside:
            raise ValueError(f"the message {name[1:]} is inside itself, which is not read")
        if name not in self.types:
            raise ValueError(f"the message {name[1:]} is not in the schema")
        return tuple(self.field(one, (*inside, name)) for one in self.types[name].field)

    def field(self, one: Any, inside: tuple[str, ...]) -> Field:
        is_message, told = one.type == _MESSAGE, told_of(one.options)
        repeated = one.label == _REPEATED
        if one.type not in _SCALARS and not is_message:
            raise ValueError(f"the field {one.name} is a group, which is not read")
        fields = self.fields(one.type_name, inside) if is_message else ()
        holds = told.get("type") in ("array", "map") and is_message
        connect = self._connect(one, fields, told, holds=holds)
        present = is_message or one.proto3_optional or one.HasField("oneof_index")
        made = {**connect, "optional": bool(present) and not repeated, "field": one.name}
        symbols = {each.number: each.name for each in self.types[one.type_name].value} if one.type == _ENUM else None
        wrapped = bool(told.get("wrapped"))
        return Field(one.number, one.name, one.type, repeated, bool(present), made, fields, symbols, holds, wrapped)

    def _connect(self, one: Any, fields: tuple[Field, ...], told: Schema, *, holds: bool) -> dict[str, Any]:
        rest = {key: value for key, value in told.items() if key not in ("type", "wrapped")}
        if holds:
            return {**_held(fields[0], told), **rest}
        plain: dict[str, Any] = {"type": _SCALARS[one.type]} if not fields and one.type != _MESSAGE else {
            "type": "struct", "fields": [each.connect for each in fields]
        }  # fmt: skip
        if told.get("type") in ("int8", "int16"):
            plain["type"] = told["type"]
        if one.label != _REPEATED:
            return {**plain, **rest}
        return self._several(one, plain, fields) | rest

    def _several(self, one: Any, plain: dict[str, Any], fields: tuple[Field, ...]) -> dict[str, Any]:
        """A repeated field: of a map's entries, or an array."""
        if one.type == _MESSAGE and self.types[one.type_name].options.map_entry:
            return {"type": "map", "keys": fields[0].connect, "values": fields[1].connect}
        return {"type": "array", "items": {**plain, "optional": False}}


def _held(items: Field, told: Schema) -> dict[str, Any]:
    """What a message that stands for an array or a map is to Connect."""
    if told["type"] == "map":
        return {"type": "map", "keys": items.fields[0].connect, "values": items.fields[1].connect}
    if told.get("wrapped"):
        return {"type": "array", "items": items.fields[0].connect}
    return {"type": "array", "items": items.connect["items"]}


__all__ = ["Field", "Shape", "shape_of"]

"""Whether a reader of one Protobuf file reads what a writer of another wrote: by field numbers, without loss.

As Confluent's registry judges, and stricter where a value would silently become another: a 64-bit integer read as one of
32 bits, a signed one as unsigned, text made of any bytes, a field under the number of its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from ....changes.formats.protobuf.told import told_of
from ..meanings import Meaning, connect_meaning, meaning_objections
from ..objections import Objection
from .parse import SCALARS

_NAMES = {number: name for name, number in SCALARS.items()}
_READS = {
    "int64": {"int32", "uint32", "bool", "enum"},
    "uint64": {"uint32", "bool"},
    "int32": {"bool", "enum"},
    "uint32": {"bool"},
    "sint64": {"sint32"},
    "bytes": {"string"},
    "enum": {"int32"},
}
"""Which kinds a kind reads besides itself, every value as it was."""


def proto_objections(reader: FileDescriptorProto, writer: FileDescriptorProto) -> tuple[Objection, ...]:
    """Every reason why messages of `writer` cannot be read as those of `reader`."""
    if reader.package != writer.package:
        return (Objection("PACKAGE_CHANGED", "#", f"the package was {writer.package!r} and is {reader.package!r}"),)
    mine, theirs = _messages(reader), _messages(writer)
    found: list[Objection] = []
    for name, message in theirs.items():
        if name not in mine:
            found.append(Objection("MESSAGE_REMOVED", f"#/{name}", f"the message {name} is gone"))
        else:
            found += _message(mine[name], message, f"#/{name}")
    return tuple(found)


def _messages(file: FileDescriptorProto) -> dict[str, Any]:
    """All messages by their names within the package; those that maps are made of belong to their fields."""
    out: dict[str, Any] = {}
    waiting = [(one.name, one) for one in file.message_type]
    while waiting:
        name, message = waiting.pop(0)
        out[name] = message
        waiting += [(f"{name}.{one.name}", one) for one in message.nested_type if not one.options.map_entry]
    return out


def _message(reader: Any, writer: Any, path: str) -> Iterator[Objection]:
    mine = {field.number: field for field in reader.field}
    theirs = {field.number: field for field in writer.field}
    for number, field in theirs.items():
        here = f"{path}/{number}"
        if number in mine:
            yield from _field(reader, writer, mine[number], field, path=here)
        elif field.label == FieldDescriptorProto.LABEL_REQUIRED:
            yield Objection("REQUIRED_FIELD_REMOVED", here, f"{field.name} was required, and is gone")
        elif _oneof(writer, field):
            yield Objection("ONEOF_FIELD_REMOVED", here, f"{field.name} was one of {_oneof(writer, field)}, and is gone")
    for number, field in mine.items():
        if number not in theirs and field.label == FieldDescriptorProto.LABEL_REQUIRED:
            yield Objection("REQUIRED_FIELD_ADDED", f"{path}/{number}", f"{field.name} is required, and was not written")
    yield from _renumbered(mine, theirs, path)
    yield from _moves(reader, writer, mine, theirs, path=path)


def _renumbered(mine: Any, theirs: Any, path: str) -> Iterator[Objection]:
    """A name that changed places with another, as when a column is dropped before it: its values would be read as the other's."""
    numbers = {field.name: number for number, field in mine.items()}
    for was, field in theirs.items():
        now = numbers.get(field.name, was)
        if now != was and (now in theirs or was in mine):
            taken = f"which was {theirs[now].name}" if now in theirs else f"and {was} is {mine[was].name}"
            yield Objection("FIELD_NUMBER_CHANGED", f"{path}/{was}", f"{field.name} was {was} and is {now}, {taken}")


def _field(reader: Any, writer: Any, mine: Any, theirs: Any, *, path: str) -> Iterator[Objection]:
    kind, was_kind = _kind(reader, mine), _kind(writer, theirs)
    if kind != was_kind and was_kind not in _READS.get(kind, ()):
        code = "FIELD_SCALAR_KIND_CHANGED" if {kind, was_kind} <= set(SCALARS) else "FIELD_KIND_CHANGED"
        yield Objection(code, path, f"{theirs.name} was {was_kind}, and cannot be read as {kind} without loss")
    elif kind == was_kind and kind in ("message", "enum") and mine.type_name != theirs.type_name:
        what = f"{theirs.name} was {theirs.type_name.lstrip('.')} and is {mine.type_name.lstrip('.')}"
        yield Objection("FIELD_NAMED_TYPE_CHANGED", path, what)
    elif kind == was_kind == "map":
        yield from _field(*(_entry(one, field) for one, field in ((reader, mine), (writer, theirs))),
                          *(_entry(one, field).field[1] for one, field in ((reader, mine), (writer, theirs))), path=path)  # fmt: skip
    else:
        told, was = (_meaning(field) for field in (mine, theirs))
        yield from meaning_objections(told, was, path, read=kind, written=was_kind)
    repeated = [field.label == FieldDescriptorProto.LABEL_REPEATED for field in (mine, theirs)]
    if repeated[0] != repeated[1] and kind not in ("string", "bytes", "map"):
        words = ["repeated" if one else "single" for one in repeated]
        yield Objection("FIELD_NUMERIC_LABEL_CHANGED", path, f"{theirs.name} was {words[1]}, and is {words[0]}")


def _meaning(field: Any) -> Meaning | None:
    """What our own notation, which has Connect's schemas, tells of a field."""
    told = told_of(field.options)
    return connect_meaning(told.get("name"), told.get("parameters"))


def _kind(message: Any, field: Any) -> str:
    if _entry(message, field) is not None:
        return "map"
    if field.type == FieldDescriptorProto.TYPE_ENUM:
        return "enum"
    return _NAMES.get(field.type, "message")


def _entry(message: Any, field: Any) -> Any:
    name = field.type_name.rpartition(".")[2]
    return next((one for one in message.nested_type if one.name == name and one.options.map_entry), None)


def _oneof(message: Any, field: Any) -> str:
    """The oneof that a field belongs to; that which `optional` makes is none."""
    if not field.HasField("oneof_index") or field.proto3_optional:
        return ""
    return str(message.oneof_decl[field.oneof_index].name)


def _moves(reader: Any, writer: Any, mine: Any, theirs: Any, *, path: str) -> Iterator[Objection]:
    """Fields that stood alone and are in a oneof: of several that were set, only the last would be read."""
    for one in reader.oneof_decl:
        members = [number for number, field in mine.items() if _oneof(reader, field) == one.name]
        moved = [number for number in members if number in theirs and not _oneof(writer, theirs[number])]
        existed = any(number in theirs and _oneof(writer, theirs[number]) for number in members)
        if moved and existed:
            yield Objection("FIELDS_MOVED_TO_EXISTING_ONEOF", path, f"fields moved into {one.name}")
        elif len(moved) > 1:
            yield Objection("MULTIPLE_FIELDS_MOVED_TO_ONEOF", path, f"several fields moved into {one.name}")

"""A descriptor as the text of a .proto file, always in the same form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from .parse import SCALARS, json_name

_SCALAR_NAMES = {number: name for name, number in SCALARS.items()}
_MOST = 536870912


def write_file(file: FileDescriptorProto) -> str:
    """The text of a file. What the text cannot say (a group, a custom option) is not in it: compare before trusting it."""
    lines = [f'syntax = "{file.syntax or "proto2"}";']
    if file.package:
        lines.append(f"package {file.package};")
    for index, name in enumerate(file.dependency):
        kind = "public " if index in file.public_dependency else "weak " if index in file.weak_dependency else ""
        lines.append(f"import {kind}{quoted(name)};")
    lines += [f"option {one};" for one in _options(file.options)]
    for message in file.message_type:
        lines += ["", *_message(message, file)]
    for enum in file.enum_type:
        lines += ["", *_enum(enum)]
    lines += _extensions(file.extension, file)
    for service in file.service:
        lines += ["", f"service {service.name} {{", *_indented(_service(service)), "}"]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    out = []
    for byte in text.encode("utf-8", "surrogateescape"):
        letter = chr(byte)
        out.append(f"\\{letter}" if letter in '"\\' else letter if 32 <= byte < 127 else f"\\{byte:03o}")
    return f'"{"".join(out)}"'


def _indented(lines: Iterator[str] | list[str]) -> list[str]:
    return [f"  {line}" if line else line for line in lines]


def _message(message: DescriptorProto, file: FileDescriptorProto) -> list[str]:
    body = [f"option {one};" for one in _options(message.options)]
    entries = {one.name: one for one in message.nested_type if one.options.map_entry}
    nested = list(message.nested_type)
    shown: set[int] = set()
    for field in message.field:
        if (entry := _entry(field, entries)) is not None:
            before = nested[: nested.index(entry)]
            body += [line for one in before if one.name not in entries for line in _message(one, file)]
            nested = nested[nested.index(entry) + 1 :]
        if not field.HasField("oneof_index") or field.proto3_optional:
            body.append(_field(field, file, entry=entry))
        elif field.oneof_index not in shown:
            shown.add(field.oneof_index)
            body += _oneof(message, field.oneof_index, file)
    body += _ranges(message)
    body += [line for one in nested if one.name not in entries for line in _message(one, file)]
    for enum in message.enum_type:
        body += _enum(enum)
    body += _extensions(message.extension, file)
    return [f"message {message.name} {{", *_indented(body), "}"]


def _oneof(message: DescriptorProto, index: int, file: FileDescriptorProto) -> list[str]:
    one = message.oneof_decl[index]
    inside = [f"option {option};" for option in _options(one.options)]
    inside += [_field(field, file, label=False) for field in message.field if _is_member(field, index)]
    return [f"oneof {one.name} {{", *_indented(inside), "}"]


def _entry(field: Any, entries: dict[str, Any]) -> Any:
    """The message of key and value that a map is, None when the field is no map."""
    return entries.get(field.type_name.rpartition(".")[2]) if field.label == field.LABEL_REPEATED else None


def _is_member(field: FieldDescriptorProto, index: int) -> bool:
    return field.HasField("oneof_index") and not field.proto3_optional and field.oneof_index == index


def _field(field: Any, file: FileDescriptorProto, *, entry: Any = None, label: bool = True) -> str:
    if entry is not None:
        kind = f"map<{_type(entry.field[0])}, {_type(entry.field[1])}>"
    else:
        kind = f"{_label(field, file) if label else ''}{_type(field)}"
    extra = [f"default = {_default(field)}"] if field.HasField("default_value") else []
    if field.json_name and field.json_name != json_name(field.name):
        extra.append(f"json_name = {quoted(field.json_name)}")
    extra += _options(field.options)
    return f"{kind} {field.name} = {field.number}{_bracketed(extra)};"


def _label(field: Any, file: FileDescriptorProto) -> str:
    if field.label == field.LABEL_REPEATED:
        return "repeated "
    if field.label == field.LABEL_REQUIRED:
        return "required "
    return "optional " if field.proto3_optional or file.syntax != "proto3" else ""


def _type(field: Any) -> str:
    return _SCALAR_NAMES.get(field.type) or str(field.type_name)


def _default(field: Any) -> str:
    return quoted(field.default_value) if field.type == field.TYPE_STRING else str(field.default_value)


def _options(options: Any) -> list[str]:
    """Options that are set, in the order of their numbers, and those that were kept as they were written."""
    out = []
    for field, value in options.ListFields():
        if field.name in ("uninterpreted_option", "map_entry") or field.message_type is not None or field.is_extension:
            continue
        values = value if field.is_repeated else [value]
        out += [f"{field.name} = {_option_value(field, one)}" for one in values]
    return out + [_kept(one) for one in options.uninterpreted_option]


def _option_value(field: Any, value: Any) -> str:
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else str(value)


def _kept(option: Any) -> str:
    name = ".".join(f"({part.name_part})" if part.is_extension else part.name_part for part in option.name)
    (field, value), *_ = [one for one in option.ListFields() if one[0].name != "name"]
    match field.name:
        case "string_value":
            shown = quoted(value.decode("utf-8", "surrogateescape"))
        case "aggregate_value":
            shown = f"{{ {value} }}"
        case _:
            shown = str(value)
    return f"{name} = {shown}"


def _ranges(message: DescriptorProto) -> list[str]:
    lines = [f"extensions {_range(one.start, one.end - 1, _MOST - 1)};" for one in message.extension_range]
    lines += [f"reserved {_range(one.start, one.end - 1, _MOST - 1)};" for one in message.reserved_range]
    return lines + [f"reserved {quoted(name)};" for name in message.reserved_name]


def _range(start: int, end: int, most: int) -> str:
    if start == end:
        return str(start)
    return f"{start} to {'max' if end >= most else end}"


def _enum(enum: Any) -> list[str]:
    body = [f"option {one};" for one in _options(enum.options)]
    for value in enum.value:
        extra = _options(value.options)
        body.append(f"{value.name} = {value.number}{_bracketed(extra)};")
    body += [f"reserved {_range(one.start, one.end, 2**31 - 1)};" for one in enum.reserved_range]
    body += [f"reserved {quoted(name)};" for name in enum.reserved_name]
    return [f"enum {enum.name} {{", *_indented(body), "}"]


def _extensions(extensions: Any, file: FileDescriptorProto) -> list[str]:
    lines = []
    for field in extensions:
        lines += [f"extend {field.extendee} {{", f"  {_field(field, file)}", "}"]
    return lines


def _service(service: Any) -> list[str]:
    lines = [f"option {one};" for one in _options(service.options)]
    for method in service.method:
        given = f"{'stream ' if method.client_streaming else ''}{method.input_type}"
        back = f"{'stream ' if method.server_streaming else ''}{method.output_type}"
        head, inside = f"rpc {method.name}({given}) returns ({back})", _options(method.options)
        lines += [f"{head} {{", *[f"  option {one};" for one in inside], "}"] if inside else [f"{head};"]
    return lines


def _bracketed(options: list[str]) -> str:
    return f" [{', '.join(options)}]" if options else ""

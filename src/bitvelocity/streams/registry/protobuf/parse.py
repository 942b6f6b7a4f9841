"""A .proto file becomes a descriptor. Names of types are left as they are written: the pool finds what they mean."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

from .options import read_bracketed, read_option, take_default
from .words import Words

SCALARS = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "fixed64": 6, "fixed32": 7, "bool": 8, "string": 9,
    "bytes": 12, "uint32": 13, "sfixed32": 15, "sfixed64": 16, "sint32": 17, "sint64": 18,
}  # fmt: skip
_LABELS = {"optional": 1, "required": 2, "repeated": 3}
_MOST = 536870912


def parse_file(text: str, name: str) -> FileDescriptorProto:
    """The descriptor of a file."""
    words, file = Words(text), FileDescriptorProto(name=name)
    if words.takes("syntax"):
        words.expect("=")
        syntax = words.text()
        if syntax not in ("proto2", "proto3"):
            words.fail(f"the syntax {syntax!r} is not known")
        if syntax == "proto3":
            file.syntax = syntax
        words.expect(";")
    elif words.next.text == "edition":
        words.fail("editions are not read as text; register the descriptor instead (base64)")
    while words.next.kind != "end":
        _top(words, file)
    return file


def _top(words: Words, file: FileDescriptorProto) -> None:
    match words.take():
        case ";":
            pass
        case "package":
            file.package = words.name()
            words.expect(";")
        case "import":
            _import(words, file)
        case "option":
            read_option(words, file.options)
            words.expect(";")
        case "message":
            _message(words, file.message_type.add(), file)
        case "enum":
            _enum(words, file.enum_type.add())
        case "service":
            _service(words, file.service.add())
        case "extend":
            _extend(words, file.extension, file.message_type, file)
        case other:
            words.fail(f"{other!r} begins nothing")


def _import(words: Words, file: FileDescriptorProto) -> None:
    kind = words.take() if words.next.text in ("public", "weak") else ""
    if kind:
        (file.public_dependency if kind == "public" else file.weak_dependency).append(len(file.dependency))
    file.dependency.append(words.text())
    words.expect(";")


def _message(words: Words, message: DescriptorProto, file: FileDescriptorProto) -> None:
    message.name = words.name()
    words.expect("{")
    while not words.takes("}"):
        _member(words, message, file)
    _mark_optional(message)


def _member(words: Words, message: DescriptorProto, file: FileDescriptorProto) -> None:
    match words.next.text:
        case ";":
            words.take()
        case "message":
            words.take()
            _message(words, message.nested_type.add(), file)
        case "enum":
            words.take()
            _enum(words, message.enum_type.add())
        case "extend":
            words.take()
            _extend(words, message.extension, message.nested_type, file)
        case "option":
            words.take()
            read_option(words, message.options)
            words.expect(";")
        case "oneof":
            words.take()
            _oneof(words, message, file)
        case "reserved":
            words.take()
            _reserved(words, message)
        case "extensions":
            words.take()
            _extensions(words, message)
        case "map":
            _map(words, message)
        case _:
            _field(words, message.field.add(), file)


def _field(words: Words, field: FieldDescriptorProto, file: FileDescriptorProto, *, label: bool = True) -> None:
    field.label = FieldDescriptorProto.LABEL_OPTIONAL
    if label and words.next.text in _LABELS:
        word = words.take()
        field.label = _LABELS[word]
        if word == "optional" and file.syntax == "proto3":
            field.proto3_optional = True
        if word == "required" and file.syntax == "proto3":
            words.fail("proto3 has no required fields")
    if words.next.text == "group":
        words.fail("groups are not read as text; register the descriptor instead (base64)")
    _type(field, words.name())
    _numbered(words, field)


def _numbered(words: Words, field: FieldDescriptorProto) -> None:
    field.name = words.name()
    words.expect("=")
    field.number = words.integer()
    for name, value in read_bracketed(words, field.options):
        take_default(words, field, name, value)
    words.expect(";")


def json_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _type(field: FieldDescriptorProto, name: str) -> None:
    if name in SCALARS:
        field.type = SCALARS[name]
    else:
        field.type_name = name


def _map(words: Words, message: DescriptorProto) -> None:
    """A map is a repeated message of key and value, as protoc makes it."""
    words.expect("map")
    words.expect("<")
    key = words.name()
    words.expect(",")
    value = words.name()
    words.expect(">")
    field = message.field.add(label=FieldDescriptorProto.LABEL_REPEATED)
    field.type = FieldDescriptorProto.TYPE_MESSAGE
    _numbered(words, field)
    entry = message.nested_type.add(name="".join(part[:1].upper() + part[1:] for part in field.name.split("_")) + "Entry")
    field.type_name = entry.name
    entry.options.map_entry = True
    for number, (name, of) in enumerate((("key", key), ("value", value)), 1):
        part = entry.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        _type(part, of)


def _oneof(words: Words, message: DescriptorProto, file: FileDescriptorProto) -> None:
    index = len(message.oneof_decl)
    one = message.oneof_decl.add(name=words.name())
    words.expect("{")
    while not words.takes("}"):
        if words.takes("option"):
            read_option(words, one.options)
            words.expect(";")
        elif not words.takes(";"):
            field = message.field.add()
            _field(words, field, file, label=False)
            field.oneof_index = index


def _mark_optional(message: DescriptorProto) -> None:
    """`optional` of proto3 is a oneof of its own, after all others, as protoc makes it."""
    taken = {field.name for field in message.field} | {one.name for one in message.oneof_decl}
    for field in message.field:
        if field.proto3_optional:
            name = f"_{field.name}"
            while name in taken:
                name = f"X{name}"
            taken.add(name)
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=name)


def _enum(words: Words, enum: EnumDescriptorProto) -> None:
    enum.name = words.name()
    words.expect("{")
    while not words.takes("}"):
        if words.takes("option"):
            read_option(words, enum.options)
            words.expect(";")
        elif words.takes("reserved"):
            _reserved(words, enum, after=0)
        elif not words.takes(";"):
            value = enum.value.add(name=words.name())
            words.expect("=")
            value.number = words.integer()
            for name, _ in read_bracketed(words, value.options):
                words.fail(f"{name} is no option of a value")
            words.expect(";")


def _reserved(words: Words, of: Any, *, after: int = 1) -> None:
    """Names, or ranges; a message's ranges end before their end, an enum's with it."""
    while True:
        if words.next.kind == "text":
            of.reserved_name.append(words.text())
        elif words.next.kind == "name":
            of.reserved_name.append(words.name())
        else:
            start, end = _range(words, most=_MOST - 1 if after else 2**31 - 1)
            of.reserved_range.add(start=start, end=end + after)
        if words.takes(";"):
            return
        words.expect(",")


def _range(words: Words, *, most: int) -> tuple[int, int]:
    start = words.integer()
    if not words.takes("to"):
        return start, start
    return start, most if words.takes("max") else words.integer()


def _extensions(words: Words, message: DescriptorProto) -> None:
    while True:
        start, end = _range(words, most=_MOST - 1)
        message.extension_range.add(start=start, end=end + 1)
        if words.takes(";"):
            return
        words.expect(",")


def _extend(words: Words, extensions: Any, nested: Any, file: FileDescriptorProto) -> None:  # noqa: ARG001
    extendee = words.name()
    words.expect("{")
    while not words.takes("}"):
        field = extensions.add(extendee=extendee)
        _field(words, field, file)


def _service(words: Words, service: ServiceDescriptorProto) -> None:
    service.name = words.name()
    words.expect("{")
    while not words.takes("}"):
        if words.takes("option"):
            read_option(words, service.options)
            words.expect(";")
        elif words.takes("rpc"):
            _method(words, service.method.add(name=words.name()))
        elif not words.takes(";"):
            words.fail("a service has methods and options")


def _method(words: Words, method: Any) -> None:
    method.client_streaming, method.input_type = _message_of(words)
    words.expect("returns")
    method.server_streaming, method.output_type = _message_of(words)
    for flag in ("client_streaming", "server_streaming"):
        if not getattr(method, flag):
            method.ClearField(flag)
    if words.takes(";"):
        return
    words.expect("{")
    while not words.takes("}"):
        if words.takes("option"):
            read_option(words, method.options)
        words.expect(";")


def _message_of(words: Words) -> tuple[bool, str]:
    words.expect("(")
    streamed = words.next.text == "stream"
    if streamed:
        words.take()
    name = words.name()
    words.expect(")")
    return streamed, name

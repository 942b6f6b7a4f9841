"""A Protobuf schema in any of its forms: the text of a file, or its descriptor in base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module, resources
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from ....errors import RegistryError
from ..refusals import invalid_schema
from .parse import json_name, parse_file
from .write import write_file

_OWN_NAME = "default"
"""Of the file itself: its own name is no part of a schema, and clients give it their own."""

_GOOGLE = ("any", "api", "descriptor", "duration", "empty", "field_mask", "source_context", "struct", "timestamp", "type", "wrappers")


@dataclass(frozen=True, slots=True)
class ProtoSchema:
    """A schema that was read. Its text is .proto where that says all, else the descriptor in base64."""

    file: FileDescriptorProto
    text: str
    normal: str


def read_proto(text: str, imports: Sequence[tuple[str, str]] = ()) -> ProtoSchema:
    """The schema in a text; `imports` are files by name, each after those that it imports itself."""
    file = _resolved(_descriptor(text, _OWN_NAME), imports)
    return ProtoSchema(file, _printed(file, imports), _printed(in_order(file), imports))


def _resolved(file: FileDescriptorProto, imports: Sequence[tuple[str, str]]) -> FileDescriptorProto:
    pool, known = DescriptorPool(), set[str]()
    for name, other in imports:
        _add(pool, known, _descriptor(other, name))
    return _plain(_add(pool, known, file))


def serialized(file: FileDescriptorProto) -> str:
    """The descriptor in base64, as Python's and .NET's clients ask for it."""
    return base64.b64encode(file.SerializeToString(deterministic=True)).decode()


def _descriptor(text: str, name: str) -> FileDescriptorProto:
    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return parse_file(text, name)
    file.name = name
    file.ClearField("source_code_info")
    return file


def _add(pool: DescriptorPool, known: set[str], file: FileDescriptorProto) -> FileDescriptorProto:
    """Let the pool find what names mean, and refuse what means nothing; gives the file as the pool sees it."""
    for name in file.dependency:
        if name not in known and (built_in := _built_in(name)):
            _add(pool, known, built_in)
        if name not in known:
            raise invalid_schema(f"it imports {name}, which none of its references brings")
    if file.name in known:
        return file
    try:
        pool.AddSerializedFile(file.SerializeToString())
        found: Any = pool.FindFileByName(file.name)
    except (TypeError, KeyError, ValueError) as error:
        raise invalid_schema(" ".join(str(error).split())) from error
    known.add(file.name)
    resolved = FileDescriptorProto()
    found.CopyToProto(resolved)
    return resolved


def _built_in(name: str) -> FileDescriptorProto | None:
    """Files that every client takes for granted: Google's own, and Confluent's."""
    folder, _, plain = name.rpartition("/")
    stem = plain.removesuffix(".proto")
    file = FileDescriptorProto()
    if folder == "google/protobuf" and stem in _GOOGLE:
        import_module(f"google.protobuf.{stem}_pb2").DESCRIPTOR.CopyToProto(file)
        return file
    text = resources.files(__package__) / "builtin" / f"{name.replace('/', '.')}"
    return parse_file(text.read_text(encoding="utf-8"), name) if text.is_file() else None


def _printed(file: FileDescriptorProto, imports: Sequence[tuple[str, str]]) -> str:
    """Text, if reading it again gives the same file; nothing may be lost by being printed."""
    text = write_file(file)
    try:
        again = _resolved(parse_file(text, file.name), imports)
    except RegistryError:
        return serialized(file)
    same = again.SerializeToString(deterministic=True) == file.SerializeToString(deterministic=True)
    return text if same else serialized(file)


def _plain(file: FileDescriptorProto) -> FileDescriptorProto:
    """Without what goes without saying, and some compilers say: names in JSON, the syntax of proto2."""
    if file.syntax == "proto2":
        file.ClearField("syntax")
    waiting: list[Any] = [file]
    while waiting:
        one = waiting.pop()
        is_file = isinstance(one, FileDescriptorProto)
        waiting += one.message_type if is_file else one.nested_type
        for field in [*one.extension, *(() if is_file else one.field)]:
            if field.json_name == json_name(field.name):
                field.ClearField("json_name")
    return file


def in_order(file: FileDescriptorProto) -> FileDescriptorProto:
    """The form in which order is no matter: imports by name, fields by number. Messages stay: clients count them."""
    ordered = FileDescriptorProto()
    ordered.CopyFrom(file)
    if not (file.public_dependency or file.weak_dependency):
        names = sorted(file.dependency)
        del ordered.dependency[:]
        ordered.dependency.extend(names)
    waiting: list[Any] = list(ordered.message_type)
    while waiting:
        one = waiting.pop()
        waiting += one.nested_type
        one.field.sort(key=lambda field: field.number)
    return ordered

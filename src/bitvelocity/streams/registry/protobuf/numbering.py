"""Numbers of fields that stay while a schema changes: they are taken from the versions that are registered already.

A name keeps its number for as long as it is there; one that went is reserved, and gets its number back when it comes again
as the same type; any other gets a number that no version ever used. Whoever asks, in whatever order his columns stand, is
told the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from ....changes.formats.protobuf.told import told_of
from ....errors import RegistryError
from .read import read_proto
from .write import write_file

_OF_PROTOBUF_ITSELF = range(19000, 20000)


def continued(text: str, versions: Iterable[tuple[str, Sequence[tuple[str, str]]]]) -> tuple[str, Mapping[str, int]]:
    """A schema's text as the next version of its subject, and the numbers of its fields by their paths.

    `versions`, the newest first, are texts with what they import. One of them that says the same is taken as it is.
    """
    new, older = read_proto(text).file, list[FileDescriptorProto]()
    meant = {path: sign for path, _, sign in _fields(new)}
    for held, imports in versions:
        file = _readable(held, imports)
        if file is None or file.package != new.package or not set(file.dependency) <= set(new.dependency):
            continue  # the registry judges it
        found = list(_fields(file))
        if {path: sign for path, _, sign in found} == meant and file.message_type[0].name == new.message_type[0].name:
            return held, {path: number for path, number, _ in found}
        older.append(file)
    if not older:
        return text, {}
    _continue(new.message_type, [file.message_type for file in older])
    return write_file(new), {path: number for path, number, _ in _fields(new)}


def _readable(text: str, imports: Sequence[tuple[str, str]]) -> FileDescriptorProto | None:
    try:
        return read_proto(text, imports).file
    except RegistryError:
        return None


def _fields(file: FileDescriptorProto) -> Iterator[tuple[str, int, tuple[Any, ...]]]:
    """All fields of the first message and of those inside it: path, number, and what tells whether they are the same."""
    space = f".{file.package}" if file.package else ""
    yield from _of(file.message_type[0], "", _Types(dict(_messages(file.message_type, space))), ())


def _messages(held: Iterable[DescriptorProto], space: str) -> Iterator[tuple[str, DescriptorProto]]:
    for one in held:
        yield f"{space}.{one.name}", one
        yield from _messages(one.nested_type, f"{space}.{one.name}")


@dataclass(frozen=True, slots=True)
class _Types:
    messages: Mapping[str, DescriptorProto]


def _of(
    message: DescriptorProto, path: str, types: _Types, inside: tuple[str, ...]
) -> Iterator[tuple[str, int, tuple[Any, ...]]]:
    for field in message.field:
        yield path + field.name, field.number, _sign(field)
        inner = types.messages.get(field.type_name)
        if inner is not None and field.type_name not in inside:
            yield from _of(inner, f"{path}{field.name}.", types, (*inside, field.type_name))


def _sign(field: Any) -> tuple[Any, ...]:
    """Two fields of a name are the same if this is."""
    told = json.dumps(told_of(field.options), sort_keys=True)
    return field.type, field.label, field.proto3_optional, field.type_name.rpartition(".")[2], told


def _continue(held: Any, older: Sequence[Any]) -> None:
    """Number the messages of one place as they were; those that are no longer needed stay, or a reader would miss them."""
    by_name = [{one.name: one for one in messages if not one.options.map_entry} for messages in older]
    for message in held:
        before = [known[message.name] for known in by_name if message.name in known]
        if before:
            _number(message, before)
            _continue(message.nested_type, [one.nested_type for one in before])
    names = {message.name for message in held}
    held.extend(one for name, one in by_name[0].items() if name not in names)


def _number(message: DescriptorProto, older: Sequence[DescriptorProto]) -> None:
    """`older` are the versions of a message, the newest first."""
    last = {field.name: field.number for field in older[0].field}
    known = {(field.name, _sign(field)): field.number for one in reversed(older) for field in one.field}
    names = {field.name for field in message.field}
    taken, used = _taken(older), {number for name, number in last.items() if name in names}
    for field in message.field:
        number = last.get(field.name) or known.get((field.name, _sign(field)), 0)
        if not number or (field.name not in last and number in used):
            number = _free(taken)
        taken.add(number)
        used.add(number)
        field.number = number
    for number in sorted(_reserved(older[0]) | set(last.values()) - used):
        if number not in used:
            message.reserved_range.add(start=number, end=number + 1)
    gone = {field.name for field in older[0].field} | set(older[0].reserved_name)
    message.reserved_name.extend(sorted(gone - names))


def _taken(older: Sequence[DescriptorProto]) -> set[int]:
    """Numbers that stand for something, or did."""
    return {field.number for one in older for field in one.field}.union(*(_reserved(one) for one in older))


def _reserved(message: DescriptorProto) -> set[int]:
    """Single numbers, as we write them; of a wide range its end alone, since the next is free behind it."""
    found = set[int]()
    for one in message.reserved_range:
        found |= set(range(one.start, one.end)) if one.end - one.start <= 1000 else {one.end - 1}
    return found


def _free(taken: set[int]) -> int:
    number = max(taken) + 1
    return _OF_PROTOBUF_ITSELF.stop if number in _OF_PROTOBUF_ITSELF else number


__all__ = ["continued"]

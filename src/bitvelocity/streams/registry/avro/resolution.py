"""What a reader's schema makes of a writer's data: Avro's rules of resolution, and what the values mean.

Avro's own rules say nothing about logical types (see `meanings`). Here they are objections, with their paths.
"""

from __future__ import annotations

from ..meanings import MISMATCH, meaning_objections
from ..objections import Objection
from .nodes import NO_DEFAULT, Field, Node

_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
Found = tuple[Objection, ...]


def avro_objections(reader: Node, writer: Node) -> Found:
    """Every reason why data of `writer` cannot be read as `reader`; none means compatible."""
    return _Comparison().compare(reader, writer)


def _objection(kind: str, what: str) -> Found:
    return (Objection(kind, "", what),)


class _Comparison:
    """Pairs that were compared; one that is being compared counts as fitting, or recursive types would never end."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Found] = {}

    def compare(self, reader: Node, writer: Node) -> Found:
        pair = (id(reader), id(writer))
        if pair not in self._known:
            self._known[pair] = ()
            self._known[pair] = self._compare(reader, writer)
        return self._known[pair]

    def _compare(self, reader: Node, writer: Node) -> Found:
        if writer.type == "union":
            return self._written_union(reader, writer)
        if reader.type == "union":
            return self._read_union(reader, writer)
        if reader.type != writer.type:
            if reader.type not in _PROMOTIONS.get(writer.type, ()):
                return _objection("TYPE_MISMATCH", f"{writer} cannot be read as {reader}")
            return _meanings(reader, writer)
        return (*self._same_type(reader, writer), *_meanings(reader, writer))

    def _written_union(self, reader: Node, writer: Node) -> Found:
        found: list[Objection] = []
        for branch in writer.branches:
            found += self.compare(reader, branch)
        return tuple(dict.fromkeys(found))

    def _read_union(self, reader: Node, writer: Node) -> Found:
        """The branch of the same type (and name) reads, if one does; else the first that can."""
        tried = sorted(reader.branches, key=lambda branch: not _is_same(branch, writer))
        for branch in tried:
            found = self.compare(branch, writer)
            if all(one.kind == MISMATCH for one in found):
                return found
        if tried and _is_same(tried[0], writer):
            return self.compare(tried[0], writer)
        return _objection("MISSING_UNION_BRANCH", f"no branch of the reader's union reads {writer}")

    def _same_type(self, reader: Node, writer: Node) -> Found:
        match reader.type:
            case "array" | "map" if reader.item and writer.item:
                place = "[]" if reader.type == "array" else "{}"
                return tuple(one.below(place) for one in self.compare(reader.item, writer.item))
            case "fixed" if reader.size != writer.size:
                what = f"{writer.size} bytes cannot be read as {reader.size}"
                return (*_names(reader, writer), *_objection("FIXED_SIZE_MISMATCH", what))
            case "fixed":
                return _names(reader, writer)
            case "enum":
                return (*_names(reader, writer), *_symbols(reader, writer))
            case "record":
                return (*_names(reader, writer), *self._fields(reader, writer))
            case _:
                return ()

    def _fields(self, reader: Node, writer: Node) -> Found:
        written = {field.name: field for field in writer.fields}
        found: list[Objection] = []
        for field in reader.fields:
            there = _written(field, written)
            if there is not None:
                found += (one.below(f"/{field.name}") for one in self.compare(field.node, there.node))
            elif field.default is NO_DEFAULT:
                what = f"the reader's field {field.name} has no default, and the writer does not write it"
                found.append(Objection("READER_FIELD_MISSING_DEFAULT_VALUE", f"/{field.name}", what))
        return tuple(found)


def _written(field: Field, written: dict[str, Field]) -> Field | None:
    for name in (field.name, *field.aliases):
        if name in written:
            return written[name]
    return None


def _is_same(branch: Node, writer: Node) -> bool:
    return branch.type == writer.type and (not writer.name or not _names(branch, writer))


def _names(reader: Node, writer: Node) -> Found:
    """Unqualified names decide, as in Avro's libraries; an alias must be the writer's full name."""
    if reader.short_name == writer.short_name or writer.name in reader.aliases:
        return ()
    return _objection("NAME_MISMATCH", f"{writer.name} was written, {reader.name} is to be read")


def _symbols(reader: Node, writer: Node) -> Found:
    missing = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
    if not missing or reader.default is not None:
        return ()
    what = f"the reader's enum {reader.name} has no {', '.join(missing)}, and no default"
    return _objection("MISSING_ENUM_SYMBOLS", what)


def _meanings(reader: Node, writer: Node) -> Found:
    return meaning_objections(reader.meaning, writer.meaning, "", read=reader, written=writer)

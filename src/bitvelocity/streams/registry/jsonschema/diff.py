"""Whether all that one JSON Schema accepts is accepted by another: by rules, each of which holds for every value.

What no rule can judge (`not`, `if`, patterns that differ) is an objection, not a guess. `oneOf` of the reader is taken as
Confluent takes it, as a choice: one branch that accepts is enough.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from ..meanings import MISMATCH, connect_meaning, meaning_objections
from ..objections import Objection
from .objects import object_objections
from .parse import TYPES, JsonSchema

Found = list[Objection]
Place = tuple[Any, str]
"""A schema and the document that it stands in."""

_OPAQUE = (
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames", "dependencies",
    "dependentSchemas", "dependentRequired", "unevaluatedProperties", "unevaluatedItems",
)  # fmt: skip
_CHOICES = ("anyOf", "oneOf")
_TOGETHER = (
    {"properties", "patternProperties", "additionalProperties"}, {"items", "prefixItems", "additionalItems"},
    {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}, {"type"}, {"enum", "const"},
)  # fmt: skip
"""Keywords that one part says together: taken from two parts they would refuse what both accept."""
_DEEPEST = 40
_MOST = 50_000
"""Comparisons: choices within choices multiply."""


def json_objections(reader: JsonSchema, writer: JsonSchema, *, lenient: bool = False) -> tuple[Objection, ...]:
    """Every reason why a value of `writer` may be refused by `reader`. `lenient`: a property may be added to an open object."""
    comparison = Comparison(reader, writer, lenient=lenient)
    return tuple(dict.fromkeys(comparison.compare((reader.root, ""), (writer.root, ""), "#")))


class Comparison:
    """Pairs that are being compared count as fitting, or recursive schemas would never end."""

    def __init__(self, reader: JsonSchema, writer: JsonSchema, *, lenient: bool) -> None:
        self.lenient = lenient
        self._reader, self._writer = reader, writer
        self._open: set[tuple[int, int]] = set()
        self._made = 0

    def compare(self, reader: Place, writer: Place, path: str) -> Found:
        reader, writer = _resolve(self._reader, reader), _resolve(self._writer, writer)
        read, written = reader[0], writer[0]
        if read is True or read == {} or written is False or _is_same(read, written):
            return []
        if read is False:
            return [Objection("NOT_ACCEPTED", path, "the reader accepts nothing here")]
        pair = (id(read), id(written))
        if pair in self._open:
            return []
        self._made += 1
        if len(self._open) > _DEEPEST or self._made > _MOST:
            return [Objection("KEYWORD_CHANGED", path, "it is too deep, or has too many choices, to be judged")]
        self._open.add(pair)
        try:
            return self._combined((read, reader[1]), ({} if written is True else written, writer[1]), path)
        finally:
            self._open.discard(pair)

    def _combined(self, reader: Place, writer: Place, path: str) -> Found:
        """Take apart what is combined: each of the writer's choices must pass, and all that the reader demands."""
        read, written = reader[0], writer[0]
        for key in _CHOICES:
            if key in written:
                return self._written_choice(reader, writer, key, path=path)
        if "allOf" in read:
            parts = [_without(reader, "allOf"), *((one, reader[1]) for one in read["allOf"])]
            return [one for part in parts for one in self.compare(part, writer, path)]
        for key in _CHOICES:
            if key in read:
                rest = self.compare(_without(reader, key), writer, path)
                return [*rest, *self._read_choice(reader, writer, key, path=path)]
        if "allOf" in written:
            return self._written_all(reader, writer, path)
        return self._plain(reader, writer, path)

    def _written_all(self, reader: Place, writer: Place, path: str) -> Found:
        """What holds for one of the parts holds for all together; and for what they say together."""
        parts = [_without(writer, "allOf"), *((one, writer[1]) for one in writer[0]["allOf"])]
        parts = [_resolve(self._writer, part) for part in parts]
        tried = [self.compare(reader, part, path) for part in (_merged(writer, parts), *parts)]
        return min(tried, key=len)

    def _written_choice(self, reader: Place, writer: Place, key: str, *, path: str) -> Found:
        rest = _without(writer, key)
        found: Found = []
        for branch in writer[0][key]:
            both = _merged(writer, [rest, _resolve(self._writer, (branch, writer[1]))])
            found += self.compare(reader, both, path)
        return found

    def _read_choice(self, reader: Place, writer: Place, key: str, *, path: str) -> Found:
        tried = [self.compare((branch, reader[1]), writer, f"{path}/{key}/{n}") for n, branch in enumerate(reader[0][key])]
        if not all(tried):
            return []
        for found in tried:
            if all(one.kind == MISMATCH for one in found):
                return found
        if len(kinds := _kinds(writer[0])) > 1 and "type" in writer[0]:
            halves = [({**writer[0], "type": kind}, writer[1]) for kind in sorted(kinds)]
            return [one for half in halves for one in self._read_choice(reader, half, key, path=path)]
        why = f"; nearest: {min(tried, key=len)[0].what}" if tried else ""
        return [Objection("SUM_TYPE_NARROWED", path, f"no branch of {key} accepts all of it{why}")]

    def _plain(self, reader: Place, writer: Place, path: str) -> Found:
        read, written = reader[0], writer[0]
        kinds = _kinds(written)
        more = kinds - _kinds(read) - ({"integer"} if "number" in _kinds(read) else set())
        if more:
            return [Objection("TYPE_NARROWED", path, f"{', '.join(sorted(more))} is not accepted")]
        found = [*_meanings(read, written, path), *_values(read, written, path), *_opaque(read, written, path)]
        if kinds & {"number", "integer"}:
            found += _bounds(read, written, path, ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
            found += _multiple(read, written, path)
        if "string" in kinds:
            found += [*_bounds(read, written, path, ("minLength", "maxLength")), *_pattern(read, written, path)]
        if "array" in kinds:
            found += self._arrays(reader, writer, path)
        if "object" in kinds:
            found += object_objections(self, reader, writer, path)
        return found

    def _arrays(self, reader: Place, writer: Place, path: str) -> Found:
        read, written = reader[0], writer[0]
        found = _bounds(read, written, path, ("minItems", "maxItems"))
        if read.get("uniqueItems") and not written.get("uniqueItems"):
            found.append(Objection("UNIQUE_ITEMS_ADDED", path, "items must be unique now"))
        first, rest = _items(read)
        other_first, other_rest = _items(written)
        for n in range(max(len(first), len(other_first))):
            mine = first[n] if n < len(first) else rest
            theirs = other_first[n] if n < len(other_first) else other_rest
            found += self.compare((mine, reader[1]), (theirs, writer[1]), f"{path}/items/{n}")
        return found + self.compare((rest, reader[1]), (other_rest, writer[1]), f"{path}/items")


def _resolve(whole: JsonSchema, place: Place) -> Place:
    """Follow `$ref`; what stands beside it holds as well."""
    for _ in range(100):
        schema, document = place
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            return place
        target = whole.target(schema["$ref"], document)
        beside = {key: value for key, value in schema.items() if key not in ("$ref", *_SAY_NOTHING)}
        if beside and target[1] == document:
            return ({**beside, "allOf": [*beside.get("allOf", ()), target[0]]}, document)
        place = target
    return True, place[1]


_SAY_NOTHING = ("$defs", "definitions", "title", "description", "$comment", "default", "examples", "$id", "$schema")


def _without(place: Place, key: str) -> Place:
    return {name: value for name, value in place[0].items() if name != key}, place[1]


def _merged(writer: Place, parts: list[Place]) -> Place:
    """Schemas that hold together, as one; of two values for one keyword the first stays, which accepts no less than both."""
    merged: dict[str, Any] = {}
    for schema, _ in parts:
        if schema is False:
            return False, writer[1]
        given = schema if isinstance(schema, dict) else {}
        said = {key for group in _TOGETHER if group & merged.keys() for key in group}
        for key, value in given.items():
            if key in ("required", "allOf") and isinstance(value, list):
                merged[key] = [*merged.get(key, ()), *value]
            elif key not in said:
                merged.setdefault(key, value)
    return merged, writer[1]


def _is_same(read: Any, written: Any) -> bool:
    """The same words mean the same, unless they point elsewhere."""
    return bool(read == written) and "$ref" not in json.dumps(read)


def _kinds(schema: dict[str, Any]) -> set[str]:
    held = schema.get("type")
    if held is None:
        values = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
        return set(TYPES) - {"integer"} if values is None else {_kind(value) for value in values}
    return {held} if isinstance(held, str) else set(held)


def _kind(value: Any) -> str:
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _KINDS.get(type(value), "object")


_KINDS = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array"}


def _meanings(read: dict[str, Any], written: dict[str, Any], path: str) -> Found:
    """As Connect's converter tells them: the title is the name of the type."""
    if "type" not in read or "type" not in written:
        return []
    told, was = (connect_meaning(one.get("title"), one.get("connect.parameters")) for one in (read, written))
    return list(meaning_objections(told, was, path, read=read["type"], written=written["type"]))


def _values(read: dict[str, Any], written: dict[str, Any], path: str) -> Found:
    """`enum` and `const`: the writer's values must be among the reader's."""
    for allowed in ([read["const"]] if "const" in read else None, read.get("enum")):
        if allowed is None:
            continue
        given = [written["const"]] if "const" in written else written.get("enum")
        if given is None:
            return [Objection("ENUM_ARRAY_NARROWED", path, "only listed values are accepted now")]
        if missing := [value for value in given if not any(_same(value, one) for one in allowed)]:
            return [Objection("ENUM_ARRAY_NARROWED", path, f"{len(missing)} of the values are not accepted any more")]
    return []


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _bounds(read: dict[str, Any], written: dict[str, Any], path: str, keys: tuple[str, ...]) -> Found:
    """A lower bound may fall and an upper bound rise; a bound where there was none is narrower."""
    found: Found = []
    for key in keys:
        mine, theirs = read.get(key), written.get(key)
        if mine is None or mine is False:
            continue
        upper = key.startswith("max") or key.endswith("Maximum")
        if isinstance(mine, bool) or isinstance(theirs, bool):
            fits = mine == theirs and read.get(_plain_bound(key)) == written.get(_plain_bound(key))
        else:
            fits = theirs is not None and (theirs <= mine if upper else theirs >= mine)
        if not fits:
            was = "no bound" if theirs is None else theirs
            found.append(Objection(f"{key.upper()}_NARROWED", path, f"{key} is {mine}, and was {was}"))
    return found


def _plain_bound(key: str) -> str:
    return key.removeprefix("exclusive").lower()


def _multiple(read: dict[str, Any], written: dict[str, Any], path: str) -> Found:
    mine, theirs = read.get("multipleOf"), written.get("multipleOf")
    if mine is None or (theirs is not None and (Fraction(str(theirs)) / Fraction(str(mine))).denominator == 1):
        return []
    return [Objection("MULTIPLE_OF_CHANGED", path, f"values must be multiples of {mine}")]


def _pattern(read: dict[str, Any], written: dict[str, Any], path: str) -> Found:
    if "pattern" in read and read["pattern"] != written.get("pattern"):
        return [Objection("PATTERN_CHANGED", path, "a pattern was added or changed")]
    return []


def _opaque(read: dict[str, Any], written: dict[str, Any], path: str) -> Found:
    changed = [key for key in _OPAQUE if key in read and read[key] != written.get(key)]
    return [Objection("KEYWORD_CHANGED", path, f"{key} was added or changed: what it refuses cannot be judged") for key in changed]


def _items(schema: dict[str, Any]) -> tuple[list[Any], Any]:
    """The schemas of the first items, and that of all others."""
    if "prefixItems" in schema:
        return schema["prefixItems"], schema.get("items", True)
    held = schema.get("items", True)
    return (held, schema.get("additionalItems", True)) if isinstance(held, list) else ([], held)

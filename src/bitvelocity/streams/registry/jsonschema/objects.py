"""Objects: their properties, and what is said of those that are not named."""

from __future__ import annotations

from typing import Any, Protocol

from ..objections import Objection

Found = list[Objection]
Place = tuple[Any, str]


class Comparing(Protocol):
    """Compares the schemas of two properties."""

    lenient: bool

    def compare(self, reader: Place, writer: Place, path: str) -> Found: ...


def object_objections(comparison: Comparing, reader: Place, writer: Place, path: str) -> Found:
    """Whether every object of the writer is an object of the reader."""
    read, written = reader[0], writer[0]
    found = [*_required(read, written, path), *_counts(read, written, path), *_patterns(read, written, path)]
    mine, theirs = read.get("properties", {}), written.get("properties", {})
    rest, other_rest = read.get("additionalProperties", True), written.get("additionalProperties", True)
    for name in dict.fromkeys([*mine, *theirs]):
        here = f"{path}/properties/{name}"
        if name not in theirs and comparison.lenient:
            continue
        below = comparison.compare((mine.get(name, rest), reader[1]), (theirs.get(name, other_rest), writer[1]), here)
        found += _said_of_properties(below, name, mine=mine, theirs=theirs, path=here)
    if comparison.compare((rest, reader[1]), (other_rest, writer[1]), f"{path}/additionalProperties"):
        found.append(Objection("ADDITIONAL_PROPERTIES_NARROWED", path, "properties that are not named were accepted"))
    return found


def _said_of_properties(below: Found, name: str, *, mine: Any, theirs: Any, path: str) -> Found:
    """In the words for a property that came or went, where that is the reason."""
    if not below or (name in mine and name in theirs):
        return below
    if name in mine:
        what = f"{name} may hold anything in older objects, which were open to it; close them, or take the policy LENIENT"
        return [Objection("PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", path, what)]
    what = f"{name} is gone, and the reader refuses what it does not name"
    return [Objection("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", path, what)]


def _required(read: dict[str, Any], written: dict[str, Any], path: str) -> Found:
    mine, theirs = read.get("required", ()), written.get("required", ())
    if isinstance(mine, bool):
        return []
    added = [name for name in mine if isinstance(theirs, bool) or name not in theirs]
    given = read.get("properties", {})
    bare = [name for name in added if not (isinstance(given.get(name), dict) and "default" in given[name])]
    return [
        Objection("REQUIRED_ATTRIBUTE_ADDED", f"{path}/properties/{name}", f"{name} is required now, and has no default")
        for name in bare
    ]


def _counts(read: dict[str, Any], written: dict[str, Any], path: str) -> Found:
    found = []
    least, most = read.get("minProperties", 0), read.get("maxProperties")
    if least > max(written.get("minProperties", 0), len(set(written.get("required", ())))):
        found.append(Objection("MINPROPERTIES_NARROWED", path, f"at least {least} properties are needed now"))
    if most is not None and written.get("maxProperties", most + 1) > most:
        found.append(Objection("MAXPROPERTIES_NARROWED", path, f"at most {most} properties are accepted now"))
    return found


def _patterns(read: dict[str, Any], written: dict[str, Any], path: str) -> Found:
    """Patterns decide which schema a name has: unless nothing about them changed, nothing is known."""
    mine, theirs = read.get("patternProperties", {}), written.get("patternProperties", {})
    same_names = read.get("properties", {}).keys() == written.get("properties", {}).keys()
    if mine == theirs and (same_names or not mine):
        return []
    return [Objection("KEYWORD_CHANGED", path, "patternProperties, or the names beside them, changed")]

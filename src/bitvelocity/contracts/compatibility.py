"""What has changed between two versions of a contract, and whom it breaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from .spec import Column, EntitySpec
from .types import Type

ChangeKind = Literal["added", "dropped", "renamed", "type", "nullability", "choices", "key"]

_WIDER: dict[str, tuple[str, ...]] = {
    "int16": ("int32", "int64"),
    "int32": ("int64",),
    "float32": ("float64",),
    "char": ("text",),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One change. `compatible`: rows, writers and readers of the old contract all go on as they are.

    "renamed" is a guess (a column went, one of the same type came): it is for a person to confirm.
    """

    kind: ChangeKind
    column: str
    compatible: bool
    what: str


def differences(old: EntitySpec, new: EntitySpec) -> tuple[Difference, ...]:
    """Everything that a reader, a writer or a stored row can notice between two versions of one entity."""
    gone = [column for column in old.columns if column.name not in new.by_name]
    come = [column for column in new.columns if column.name not in old.by_name]
    renamed = _renamed(gone, come)
    found = [_rename(before, after) for before, after in renamed]
    found += [_drop(column) for column in gone if column not in {before for before, _ in renamed}]
    found += [_add(column) for column in come if column not in {after for _, after in renamed}]
    for column in new.columns:
        if column.name in old.by_name:
            found += _changed(old.by_name[column.name], column)
    return (*found, *_key(old, new))


def _renamed(gone: Iterable[Column], come: Iterable[Column]) -> list[tuple[Column, Column]]:
    """Pairs that can only mean each other: one of this shape went, one came."""
    went, came = list(gone), list(come)
    pairs = []
    for before in went:
        alike = [after for after in came if _shape(after) == _shape(before)]
        rivals = [other for other in went if _shape(other) == _shape(before)]
        if len(alike) == len(rivals) == 1:
            pairs.append((before, alike[0]))
    return pairs


def _shape(column: Column) -> tuple[object, ...]:
    return column.type, column.nullable, column.choices, column.default


def _rename(before: Column, after: Column) -> Difference:
    what = f"{before.name} went and {after.name} came with the same type: renamed, or dropped and added?"
    return Difference("renamed", after.name, compatible=False, what=what)


def _drop(column: Column) -> Difference:
    return Difference("dropped", column.name, compatible=False, what=f"readers of {column.name} lose it")


def _add(column: Column) -> Difference:
    given = column.nullable or column.default is not None or column.identity or column.generated is not None
    what = (
        "old writers may leave it out"
        if given
        else "rows and writers of the old contract have no value for it; let it be NULL or give it a default"
    )
    return Difference("added", column.name, compatible=given, what=what)


def _changed(old: Column, new: Column) -> Iterator[Difference]:
    if old.type != new.type:
        wider = _is_wider(old.type, new.type)
        what = f"{old.type} became {new.type}: " + ("every old value fits" if wider else "old values may not fit")
        yield Difference("type", new.name, compatible=wider, what=what)
    if old.nullable and not new.nullable:
        yield Difference("nullability", new.name, compatible=False, what="rows and writers may have NULL there")
    if new.nullable and not old.nullable:
        what = "readers that rely on a value may now meet NULL"
        yield Difference("nullability", new.name, compatible=False, what=what)
    yield from _choices(old, new)


def _choices(old: Column, new: Column) -> Iterator[Difference]:
    if old.choices == new.choices:
        return
    lost = [choice for choice in old.choices if choice not in new.choices]
    if new.choices and (lost or not old.choices):
        what = f"no longer allowed: {', '.join(lost)}" if lost else "only the listed values are allowed from now on"
        yield Difference("choices", new.name, compatible=False, what=what)
    elif set(old.choices) != set(new.choices):
        yield Difference("choices", new.name, compatible=True, what="more values are allowed")


def _key(old: EntitySpec, new: EntitySpec) -> Iterator[Difference]:
    if old.key != new.key:
        what = f"the key ({', '.join(old.key)}) became ({', '.join(new.key)}): other rows are the same row"
        yield Difference("key", ", ".join(new.key), compatible=False, what=what)


def _is_wider(old: Type, new: Type) -> bool:
    if old.kind in ("text", "char") and new.kind == "text":
        return new.length is None or (old.length is not None and old.length <= new.length)
    if old.kind == "decimal" == new.kind:
        return _holds(old, new)
    if old.kind == "enum" == new.kind:
        return old.native == new.native and set(old.choices) <= set(new.choices)
    if old.kind == "array" == new.kind and old.item and new.item:
        return old.item == new.item or _is_wider(old.item, new.item)
    return new.kind in _WIDER.get(old.kind, ())


def _holds(old: Type, new: Type) -> bool:
    """Digits before and after the point: neither may shrink."""
    if new.precision is None:
        return True
    if old.precision is None:
        return False
    old_scale, new_scale = old.scale or 0, new.scale or 0
    return new_scale >= old_scale and new.precision - new_scale >= old.precision - old_scale

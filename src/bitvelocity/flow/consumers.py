"""Declared consumers, held against the entities as they are declared now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..changes.formats import Options, topic_of
from ..contracts import Column, EntitySpec, Type
from ..settings import CONSUMED, ConsumerSettings, Settings
from .routes import routes_of
from .wires import carried

_WIDER = {"int16": ("int32", "int64"), "int32": ("int64",), "float32": ("float64",)}
"""As what else a value can be read without a loss."""
_SIZED = re.compile(r"(\w+)(?:\((\d+)(?:,\s*(\d+))?\))?")


@dataclass(frozen=True, slots=True)
class _Carried:
    """A topic that has the changes of a table, and what its records say of them."""

    topic: str
    table: str
    options: Options


def broken_consumers(settings: Settings, specs: Sequence[EntitySpec]) -> Iterator[tuple[str, str]]:
    """Who would break, and by what: each field that a consumer reads and that is gone, or would be another."""
    topics = _topics(settings, specs) if any(one.topic for one in settings.consumers) else []
    for consumer in settings.consumers:
        spec = next((one for one in specs if consumer.entity in (one.name, one.qualified)), None)
        if spec is None:
            yield consumer.name, f"it reads {consumer.entity}, and there is no such entity"
            continue
        carrying = next((one for one in topics if (one.topic, one.table) == (consumer.topic, spec.qualified)), None)
        if consumer.topic and carrying is None:
            yield consumer.name, f"it reads {spec.name} on {consumer.topic}, and no record of it goes there"
        yield from ((consumer.name, f"{spec.name}.{what}") for what in _fields(consumer, spec, carrying))


def _topics(settings: Settings, specs: Sequence[EntitySpec]) -> list[_Carried]:
    own = carried(settings.streams) if settings.streams.route == "bus" else None
    found = [_Carried(topic_of(spec.qualified, own), spec.qualified, own) for spec in specs if own]
    for route in routes_of(settings, specs):
        found += [_Carried(route.topic_of(spec.qualified), spec.qualified, route.options) for spec in route.specs]
    return found


def _fields(consumer: ConsumerSettings, spec: EntitySpec, carrying: _Carried | None) -> Iterator[str]:
    columns = {column.name: column for column in spec.columns}
    for told in consumer.fields:
        match = CONSUMED.fullmatch(told)
        name, kind, needed = (match["name"], match["type"] or "", match["needed"]) if match else (told, "", None)
        column = columns.get(name)
        if column is None:
            yield f"{name}: it reads this column, and there is none of that name"
        elif carrying and not carrying.options.takes_column(f"{spec.qualified}.{name}"):
            yield f"{name}: it reads this column, and the records on {carrying.topic} leave it out"
        else:
            yield from _reasons(column, kind, needs_value=bool(needed))


def _reasons(column: Column, told: str, *, needs_value: bool) -> Iterator[str]:
    if told and not _reads(told, column.type):
        yield f"{column.name}: it reads this as {told}, and it is {column.type}"
    if needs_value and column.nullable:
        yield f"{column.name}: it cannot do without a value, and there may be none"


def _reads(told: str, kind: Type) -> bool:
    """Every value of the type can be read as what was told, and means the same."""
    if told == str(kind) or told in _WIDER.get(kind.kind, ()):
        return True
    match = _SIZED.fullmatch(told)
    if match is None or match[1] != kind.kind:
        return False
    first, second = (int(one) if one else None for one in match.group(2, 3))
    if kind.kind == "decimal" and first is not None:
        return kind.precision is not None and kind.precision <= first and (kind.scale or 0) == (second or 0)
    if kind.kind in ("text", "char") and first is not None:
        return kind.length is not None and kind.length <= first
    return first is None and kind.kind in ("decimal", "text", "char")


__all__ = ["broken_consumers"]

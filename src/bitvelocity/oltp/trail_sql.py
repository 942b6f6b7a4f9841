"""The rows of an audit trail as SQL: the same words for both ways, so that they write the same.

A change of the key is the end of one row and the beginning of another, DELETE and INSERT. Change capture tells a row
that moves to another partition so (its key names the partition), and each key's history is whole by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..contracts.spec import EntitySpec
from ..contracts.trail import recorded, trail_of
from ..contracts.types import Type
from .ddl import literal, qualified, quote

FAITHFUL = {
    "TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "postgres", "bytea_output": "hex", "extra_float_digits": "1",
}  # fmt: skip
"""Settings under which a value is always written the same in JSON."""


@dataclass(frozen=True, slots=True)
class Image:
    """One side of a change: `of(column)` is the SQL of a value, `record` the name of the row that has them all."""

    prefix: str
    record: str
    numbers: dict[str, int] | None = None
    """Columns by number, where they have no names of their own."""

    def of(self, column: str) -> str:
        return f"{self.prefix}{self.numbers[column]}" if self.numbers else f"{self.prefix}{quote(column)}"

    def row(self, columns: Iterable[str]) -> str:
        """The lateral subquery that makes the record."""
        named = ", ".join(f"{self.of(column)} as {quote(column)}" for column in columns)
        return f"cross join lateral (select {named}) as {self.record}"


def target_sql(spec: EntitySpec) -> str:
    """Where the rows go."""
    trail = trail_of(spec)
    names = [*spec.key, "operation_type", "operation_timestamp", "operation_user", "old_values", "new_values", "correlation_id", "source"]
    return f"insert into {qualified(trail.schema, trail.table)} ({', '.join(map(quote, names))})"


def moved(spec: EntitySpec, old: Image, new: Image) -> str:
    """The key was changed."""
    keys = (", ".join(image.of(name) for name in spec.key) for image in (old, new))
    return "(({}) is distinct from ({}))".format(*keys) if len(spec.key) > 1 else "({} is distinct from {})".format(*keys)


def unchanged(spec: EntitySpec, old: Image, new: Image) -> str:
    """The names of the columns that an update left as they were."""
    same = (
        f"case when {_comparable(spec, name, old)} is not distinct from {_comparable(spec, name, new)} then {literal(name)} end"
        for name in recorded(spec)
    )
    return f"array_remove(array[{', '.join(same)}], null)"


def keys(spec: EntitySpec, image: Image) -> Iterator[str]:
    """The columns of the key."""
    return (image.of(name) for name in spec.key)


def key_json(spec: EntitySpec, image: Image) -> str:
    """The key alone, as JSON."""
    pairs = (f"{literal(name)}, {image.of(name)}" for name in spec.key)
    return f"jsonb_build_object({', '.join(pairs)})"


def _comparable(spec: EntitySpec, name: str, image: Image) -> str:
    """The value, or its text where its type has no equality, or one that we cannot be sure to find."""
    of: Type | None = spec.by_name[name].type
    while of is not None and of.kind == "array":
        of = of.item
    return f"{image.of(name)}::text" if of is None or of.kind in ("other", "json") else image.of(name)

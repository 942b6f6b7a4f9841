"""JSON without schemas: the declared tables say what its fields are, and Debezium's options how they are written.

What a table's values would have as their schema is what our own encoder would write for it. A value that contradicts it
is refused, and so is one that could be read in two ways: no number is guessed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import json as arrow_json

from ...contracts import EntitySpec
from ..batch import Batch
from .declared import described_of
from .doubts import CONTRADICTED, Column, Doubts
from .extracted import NO_CHANGE, NOT_A_CHANGE
from .jsonread import decoded
from .layout import Schema, value_schema
from .naming import topic_of
from .options import Options
from .plan import compile_plan

UNDECLARED = "UndeclaredColumn"
BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, LookupError, ValueError, TypeError)
_SIDES = ("before", "after")
_MOST = 1 << 30
_ENDLESS = ("NaN", "Infinity", "-Infinity")
_ANY: Schema = {
    "type": "struct",
    "fields": [
        {"type": "string", "field": "op"},
        {"type": "struct", "field": "source", "fields": [{"type": "string", "field": name} for name in ("schema", "table")]},
    ],
}
"""What is read of a record of whatever table."""

Kinds = Mapping[str, frozenset[str]]
"""What JSON has in the fields of the rows: string, int, number, boolean, object, array; those within an array after `[]`."""
Fault = Callable[[int, str, str], None]
"""Takes a record that is refused: its row, why, and the code of it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A declared table's records."""

    relation: str
    envelope: Schema
    columns: Mapping[str, Column]
    """By their fields."""
    left_out: Collection[str]


@dataclass(frozen=True, slots=True)
class Part:
    """Records that were read: their rows, their columns, and the schema of these."""

    rows: np.ndarray
    frame: pl.DataFrame
    schema: Schema


@dataclass(frozen=True, slots=True)
class _Some:
    """Records that are being read."""

    rows: np.ndarray
    raw: pl.Series

    def halves(self) -> Iterator[_Some]:
        middle = len(self.rows) // 2
        for part in (slice(None, middle), slice(middle, None)):
            yield _Some(self.rows[part], self.raw[part])

    def where(self, mask: pl.Series) -> _Some:
        return _Some(self.rows[mask.to_numpy()], self.raw.filter(mask))


class Bare:
    """Reads Debezium's envelope in JSON without schemas. Records of tables that are not declared give nothing."""

    def __init__(self, specs: Iterable[EntitySpec], told: Mapping[str, str], *, prefix: str) -> None:
        """`told`: Debezium's options by their names; what is not told has its default, and is not relied on where values can mean two things."""
        options, specs = replace(Options.of(told), topic_prefix=prefix), tuple(specs)
        self.options = options
        self._doubts = Doubts(options, frozenset(told))
        self._shapes = {spec.qualified: _shape(spec, options) for spec in specs}
        self._by_topic = {topic_of(spec.qualified, options): self._shapes[spec.qualified] for spec in specs}

    def read(self, topic: str, values: pa.Array[Any], fault: Fault) -> Iterator[Part]:
        """Records that can be read; the others go to `fault`."""
        raw = pl.Series("v", pl.from_arrow(values.cast(pa.large_binary())))
        yield from self._some(_Some(np.arange(len(raw)), raw), self._by_topic.get(topic), fault)

    def _some(self, some: _Some, shape: Shape | None, fault: Fault) -> Iterator[Part]:
        """`shape` is the topic's table; None: each record says its own."""
        if not len(some.rows):
            return
        try:
            frame = decoded(some.raw.cast(pl.String), _ANY if shape is None else shape.envelope)
            if len(frame) < len(some.rows):
                raise ValueError("an empty text is no JSON")
        except BROKEN as error:
            if len(some.rows) == 1:
                fault(int(some.rows[0]), *self._why(some.raw[0], shape, error))
                return
            spoilt = pl.Series([self._is_spoilt(value, shape) for value in some.raw], dtype=pl.Boolean)
            for place in spoilt.arg_true().to_list():
                fault(int(some.rows[place]), *self._why(some.raw[place], shape, error))
            for part in [some.where(~spoilt)] if spoilt.any() else some.halves():
                yield from self._some(part, shape, fault)
            return
        relations = frame.select(v=pl.concat_str(*(pl.col("source").struct.field(name) for name in ("schema", "table")), separator="."))["v"]
        none = relations.is_null() | frame["op"].is_null()
        for row in some.rows[none.to_numpy()].tolist():
            fault(row, NOT_A_CHANGE, NO_CHANGE)
        if shape is None:
            for relation in relations.filter(~none).unique(maintain_order=True):
                if relation in self._shapes:
                    yield from self._some(some.where(~none & (relations == relation)), self._shapes[relation], fault)
            return
        of_it = (~none & (relations == shape.relation)).fill_null(value=False)
        yield from self._some(some.where(~none & ~of_it), None, fault)
        if of_it.any():
            yield from self._checked(some.where(of_it), frame.filter(of_it), shape, fault)

    def _is_spoilt(self, value: bytes, shape: Shape | None) -> bool:
        """Nothing but a fault can come of the record, whatever stands beside it."""
        try:
            told = json.loads(value)
            if not isinstance(told, dict) or not isinstance(source := told.get("source"), dict) or "op" not in told:
                return True
            if shape is None or f"{source.get('schema')}.{source.get('table')}" != shape.relation:
                return False
            return self._odd(value, shape) is not None
        except ValueError:
            return True

    def _odd(self, value: bytes, shape: Shape) -> str | None:
        """Why one of its columns is not as it is declared."""
        found = ((shape.columns.get(field), kinds) for field, kinds in _kinds_of_one(value).items())
        return next(filter(None, (self._doubts.odd_kind(column, kinds) for column, kinds in found if column is not None)), None)

    def _why(self, value: bytes, shape: Shape | None, error: BaseException) -> tuple[str, str]:
        """Of one record that could not be read as its table is declared."""
        try:
            told = json.loads(value)
            if not isinstance(told, dict) or not {"op", "source"} <= told.keys():
                return NOT_A_CHANGE, NO_CHANGE
            odd = self._odd(value, shape) if shape is not None else None
        except ValueError:
            return "the value has no schema, and is no JSON that has one meaning", "UnreadableValue"
        first = str(error).partition("\n")[0]
        return odd or f"the value has no schema, and is not as its table is declared: {first}", CONTRADICTED

    def _checked(self, some: _Some, frame: pl.DataFrame, shape: Shape, fault: Fault) -> Iterator[Part]:
        """Rows of one table, held against what JSON has in them."""
        try:
            kinds = _kinds(some.raw)
        except pa.ArrowInvalid:  # the same field is a number here and a text there
            yield from self._apart(some, frame, shape, fault)
        else:
            yield from self._held(some, frame, shape, kinds, fault=fault)

    def _apart(self, some: _Some, frame: pl.DataFrame, shape: Shape, fault: Fault) -> Iterator[Part]:
        """Rows by what is odd in them: record by record, since some are."""
        groups: dict[frozenset[tuple[str, frozenset[str]]], tuple[list[int], dict[str, frozenset[str]]]] = {}
        for at, value in enumerate(some.raw):
            try:
                kinds = _kinds_of_one(value)
            except ValueError as error:
                fault(int(some.rows[at]), f"the value has no schema, and is no JSON that has one meaning: {error}", "UnreadableValue")
                continue
            odd = {(field, kind) for field, kind in kinds.items() if field not in shape.columns or self._doubts.odd_kind(shape.columns[field], kind)}
            places, together = groups.setdefault(frozenset(odd), ([], {}))
            places.append(at)
            together |= {field: together.get(field, frozenset()) | kind for field, kind in kinds.items()}
        for places, together in groups.values():
            mask = pl.Series(np.isin(np.arange(len(frame)), places))
            yield from self._held(some.where(mask), frame.filter(mask), shape, together, fault=fault)

    def _held(self, some: _Some, frame: pl.DataFrame, shape: Shape, kinds: Kinds, *, fault: Fault) -> Iterator[Part]:
        wrong = np.zeros(len(frame), bool)
        for mask, reason, code in self._found(some, frame, shape, kinds):
            for row in some.rows[mask & ~wrong].tolist():
                fault(row, reason, code)
            wrong |= mask
        good, present = pl.Series(~wrong), [column for field, column in shape.columns.items() if field in kinds]
        if good.any():
            yield self._part(some.where(good), frame.filter(good), shape, present)

    def _part(self, some: _Some, frame: pl.DataFrame, shape: Shape, present: list[Column]) -> Part:
        """Without the declared columns that the records do not have."""
        images = []
        for side in _SIDES:
            values = [self._doubts.as_read(one, frame[side].struct.field(one.field)).alias(one.field) for one in present]
            row = pl.struct(*map(pl.lit, values)) if values else pl.lit(None, pl.Struct({}))
            images.append(frame.select(pl.when(pl.col(side).is_not_null()).then(row).alias(side))[side])
        fields = [{**one.read, "field": one.field} for one in present]
        others = [one for one in shape.envelope["fields"] if one["field"] not in _SIDES]
        sides = [{"type": "struct", "fields": fields, "field": side} for side in _SIDES]
        return Part(some.rows, frame.with_columns(images), {"type": "struct", "fields": [*sides, *others]})

    def _found(self, some: _Some, frame: pl.DataFrame, shape: Shape, kinds: Kinds) -> Iterator[tuple[np.ndarray, str, str]]:
        for field in kinds.keys() - shape.columns.keys():
            yield _names(some.raw, field), _undeclared(field, shape), UNDECLARED
        for field, column in shape.columns.items():
            for side in _SIDES if field in kinds else ():
                values = frame[side].struct.field(field)
                if column.wire["type"].startswith("int") and "number" in kinds[field]:
                    values = _texts(some.raw, side, field)  # what is no whole number was cut, or is not there
                yield from self._doubts.of(column, values, kinds[field])


def _shape(spec: EntitySpec, options: Options) -> Shape:
    """As our own encoder would write the table."""
    described = described_of([spec], "")
    plan = compile_plan(Batch(spec.qualified, tuple(column.name for column in spec.columns), pa.table({})), described, options)
    facts = described.tables[spec.qualified].columns
    columns = {one.field: Column.of(one.field, one.type.schema, facts[one.name], described) for one in plan.columns}
    return Shape(spec.qualified, value_schema("debezium", plan, options), columns, plan.left_out)


def _texts(raw: pl.Series, side: str, field: str) -> pl.Series:
    """A field's numbers as text."""
    kind = pl.Struct({side: pl.Struct({field: pl.String})})
    return raw.cast(pl.String).str.json_decode(kind).struct.field(side).struct.field(field)


def _names(raw: pl.Series, field: str) -> np.ndarray:
    """Rows that have such a field somewhere."""
    found: np.ndarray = raw.bin.contains(json.dumps(field, ensure_ascii=False).encode()).to_numpy()
    return found if found.any() else np.ones(len(raw), bool)


def _undeclared(field: str, shape: Shape) -> str:
    if field in shape.left_out:
        return f"the value has no schema, and column {field} of {shape.relation} has a type whose form is not known"
    return f"the value has no schema, and column {field} of {shape.relation} is not declared, so nobody can tell what it holds"


def _kinds(raw: pl.Series) -> Kinds:
    """Of many records, each of which is an object. A field that is of two kinds is an error."""
    text = raw.cast(pl.String)
    for word in _ENDLESS:  # where numbers are; a quote within a text has a backslash before it
        text = text.str.replace_all(f':"{word}"', ":null", literal=True)
    joined = str(text.str.replace_all("[\r\n]", " ").str.join("\n")[0]).encode()
    if len(joined) > _MOST:
        raise pa.ArrowInvalid("too much to be looked at together")
    read = arrow_json.read_json(io.BytesIO(joined), read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(joined) + 1))
    found: dict[str, frozenset[str]] = {}
    for side in _SIDES:
        kind = read.schema.field(side).type if side in read.column_names else pa.null()
        for field in kind if pa.types.is_struct(kind) else ():
            found[field.name] = found.get(field.name, frozenset()) | _kind(field.type)
    return found


def _kind(of: pa.DataType) -> frozenset[str]:
    if pa.types.is_null(of):
        return frozenset()
    if pa.types.is_list(of):
        return frozenset(("array", *(f"[]{one}" for one in _kind(of.value_type))))
    if pa.types.is_struct(of):
        return frozenset(("object",))
    known = ((pa.types.is_boolean, "boolean"), (pa.types.is_integer, "int"), (pa.types.is_floating, "number"))
    return frozenset((next((name for is_it, name in known if is_it(of)), "string"),))  # moments are found in texts


def _kinds_of_one(value: bytes) -> Kinds:
    """The same of one record."""
    told: Any = json.loads(value, object_pairs_hook=_once)
    found: dict[str, frozenset[str]] = {}
    for side in _SIDES:
        image = told.get(side)
        for field, one in image.items() if isinstance(image, dict) else ():
            found[field] = found.get(field, frozenset()) | frozenset(_kinds_within(one))
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a field stands in it twice")
    return found


def _kinds_within(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        yield "array"
        for one in value:
            yield from (f"[]{kind}" for kind in _kinds_within(one))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield "int" if -(1 << 63) <= value < 1 << 63 else "number"
    elif value is not None and value not in _ENDLESS:
        yield {dict: "object", bool: "boolean", float: "number", str: "string"}[type(value)]


__all__ = ["UNDECLARED", "Bare", "Part"]

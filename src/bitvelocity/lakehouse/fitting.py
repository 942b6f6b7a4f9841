"""What an entity's contract does not take, a column at a time; and what the lake's own writing does not take.

Asked of records that can still be set apart. What PostgreSQL's type has and the lake's has not (NaN in a numeric,
infinity, a year beyond 9999, an array of more dimensions) is no fault of a record: it is NULL with `_unfit`, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from bitvelocity.changes import AFTER, Batch
from bitvelocity.contracts import Column, EntitySpec
from bitvelocity.contracts.arrow import silver_schema
from bitvelocity.contracts.patterns import whole
from bitvelocity.contracts.values import comparable, has_order

from .absent import absent_columns
from .casts import cast
from .columns import Mask, Values, is_null, series
from .typed import key_image

FAULTS: tuple[type[BaseException], ...] = (
    pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowCapacityError, duckdb.DataError, ArithmeticError, LookupError,
    NotImplementedError, TypeError, ValueError,
)  # fmt: skip
"""What is said of rows that cannot be written. A full disk, missing memory and the like say nothing of a row."""
CONTRACT = ("UnfitValue", "UnknownOperation", "NullValue", "TooLong", "NoChoice", "NoMatch", "OutOfRange")
REFUSED = "LakeRefused"
_WRITES, _OPERATIONS = ("c", "u", "r"), ("c", "u", "r", "d", "t")
_SPECIAL = r"(?i)^[+-]?(nan|inf|infinity)$|^\d{5,}-| BC$"
_SPECIAL_IN_LIST = r"(?i)\b(nan|inf|infinity)\b|\d{5,}-| BC\b|^\[|^\{\{"
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Misfit:
    """A row of a batch that is not taken, by its place in the source."""

    lsn: int
    ordinal: int
    reason: str
    code: str


Found = tuple[Mask, str, str]
"""Rows, why, and the code of it."""


def misfits(batch: Batch, spec: EntitySpec, *, rules: bool) -> list[Misfit]:
    """Rows that do not fit the declared types; with `rules`, nor what else is declared. The first reason of each."""
    told: dict[int, tuple[str, str]] = {}
    for mask, reason, code in _found(batch, spec, rules=rules):
        for row in np.flatnonzero(mask).tolist():
            told.setdefault(row, (reason, code))
    return _misfits(batch, told)


def _one_by_one(batch: Batch, look: Callable[[Batch], list[Misfit]]) -> list[Misfit]:
    """What is found in all at once; if that fails, in one half after the other, until what fails stands alone."""
    try:
        return look(batch)
    except FAULTS as error:
        count = batch.data.num_rows
        if count == 1:
            return _misfits(batch, {0: (f"The lake cannot write it. {type(error).__name__}: {error}"[:_LONGEST], REFUSED)})
        halves = (batch.data.slice(0, count // 2), batch.data.slice(count // 2))
        return [one for half in halves for one in _one_by_one(replace(batch, data=half), look)]


def _misfits(batch: Batch, told: Mapping[int, tuple[str, str]]) -> list[Misfit]:
    lsn, ordinal = batch.data["_lsn"], batch.data["_ordinal"]
    return [Misfit(lsn[row].as_py(), ordinal[row].as_py(), *why) for row, why in sorted(told.items())]


def _found(batch: Batch, spec: EntitySpec, *, rules: bool) -> Iterator[Found]:
    data, target, operation = batch.data, silver_schema(spec), series(batch.data["_op"])
    written = operation.is_in(_WRITES).to_numpy()
    yield ~operation.is_in(_OPERATIONS).to_numpy(), "No such operation is known.", "UnknownOperation"
    absent = absent_columns(series(data["_absent"]), spec.lake_names)
    for column in spec.columns:
        if column.name not in batch.columns:
            continue
        lake, is_key = spec.lake_names[column.name], column.name in spec.key
        printed: Values = key_image(data, column.name) if is_key else data[AFTER + column.name]
        typed, wrong = cast(printed, column.type, target.field(lake).type)
        if (unfit := _unfit(column, printed, wrong, is_key=is_key)) is not None:
            yield unfit, f"The value of column {column.name} is no {column.type}.", "UnfitValue"
        if is_key:
            lacks = is_null(printed) & (operation != "t").to_numpy()
            yield lacks, f"Column {column.name} is of the key, and has no value.", "NullValue"
        if rules:
            given = written & ~absent[lake] if lake in absent else written
            yield from _broken(column, printed, typed, given)


def _unfit(column: Column, printed: Values, wrong: Mask | None, *, is_key: bool) -> Mask | None:
    kind = column.type.kind
    if kind == "boolean":
        texts = series(printed)
        return (texts.is_not_null() & ~texts.is_in(["t", "f"])).to_numpy()
    if wrong is None or is_key or kind not in ("decimal", "date", "timestamp", "timestamptz", "array"):
        return wrong
    which = np.flatnonzero(wrong)
    special = series(printed).gather(which).str.contains(_SPECIAL_IN_LIST if kind == "array" else _SPECIAL).to_numpy()
    left = np.zeros(len(wrong), bool)
    left[which[~special]] = True
    return left


def _broken(column: Column, printed: Values, typed: Values, given: Mask) -> Iterator[Found]:
    """Rules that PostgreSQL holds where the entity is applied to it."""
    name, texts = f"column {column.name}", series(printed)
    missing = is_null(printed)
    if not column.nullable:
        yield given & missing, f"{name.capitalize()} is NULL, and may not be.", "NullValue"
    there = given & ~missing
    if column.type.length is not None:
        yield there & _mask(texts.str.len_chars() > column.type.length), f"The value of {name} is longer than {column.type.length}.", "TooLong"
    if (choices := column.choices or column.type.choices):
        yield there & ~_mask(texts.is_in(list(choices))), f"The value of {name} is none of its choices.", "NoChoice"
    if column.pattern is not None:
        yield there & ~_mask(texts.str.contains(whole(column.pattern))), f"The value of {name} does not match its pattern.", "NoMatch"
    if has_order(column.type) and not pa.types.is_string(typed.type):
        for bound, is_low in ((column.minimum, True), (column.maximum, False)):
            if bound is not None:
                values, limit = series(typed), series(pa.chunked_array([pa.array([comparable(bound, column.type)], typed.type)]))
                beyond = values < limit[0] if is_low else values > limit[0]
                yield there & _mask(beyond), f"The value of {name} is out of its range.", "OutOfRange"


def _mask(values: pl.Series) -> Mask:
    mask: Mask = values.fill_null(value=False).to_numpy()
    return mask


class Fitting:
    """What a lake takes of a batch. `writes` try to write one of an entity, and keep nothing of it."""

    def __init__(self, specs: Sequence[EntitySpec], writes: Mapping[str, Callable[[Batch], None]]) -> None:
        self._specs, self._writes = {spec.name: spec for spec in specs}, writes
        self.doubtful = False
        """Writing failed since the last commit, so what comes is tried first."""

    def misfits(self, entity: str, batch: Batch, *, rules: bool, tried: bool) -> list[Misfit]:
        """Rows that are not taken. `tried`: writing them is tried in any case."""
        if not tried and not self.doubtful:
            with suppress(*FAULTS):
                return misfits(batch, self._specs[entity], rules=rules)
        return _one_by_one(batch, lambda part: self._look(entity, part, rules=rules))

    def _look(self, entity: str, batch: Batch, *, rules: bool) -> list[Misfit]:
        self._writes[entity](batch)
        return misfits(batch, self._specs[entity], rules=rules)

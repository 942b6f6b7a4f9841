"""Values that their field in a record cannot hold: NaN in a decimal, the months of an interval, NULL where a default is.

They are found by reading back what is written. For the types that are met most, a look at the text's form is enough.
"""

from __future__ import annotations

import json

import polars as pl

from ..batch import AFTER, BEFORE, Batch
from . import values as texts
from .plan import Plan, PlannedColumn
from .printed import printed
from .values import glue, json_string, quoted

_TIME, _CONNECT = "io.debezium.time.", "org.apache.kafka.connect.data."
_LONGEST = {
    _TIME + "MicroTimestamp": 26, _TIME + "NanoTimestamp": 26, _TIME + "Timestamp": 23, _CONNECT + "Timestamp": 23,
    _TIME + "MicroTime": 15, _TIME + "NanoTime": 15, _TIME + "Time": 12, _CONNECT + "Time": 12, _TIME + "ZonedTimestamp": 29,
    _TIME + "Date": 10, _CONNECT + "Date": 10,
}  # fmt: skip
"""How long the text of a moment may be to be one that fits."""
_LARGEST_SCALE = 1000


def unfit(plan: Plan, batch: Batch, *, keys_only: pl.Series) -> pl.Series | None:
    """Per row `{"after":{column:text},"before":{...}}` of what has to travel beside its field; None: nothing has to.

    `keys_only` tells of which rows the source sent the old key only: the other columns of that image are NULL then.
    """
    frame = pl.DataFrame(pl.from_arrow(batch.data))
    only = keys_only.fill_null(value=False)
    sides = []
    for side, prefix in (("after", AFTER), ("before", BEFORE)):
        there = frame["_op"].is_in(["c", "u", "r"]) if prefix == AFTER else _was_sent(plan, frame)
        found = [
            _told(name, frame[prefix + name], wrong)
            for name, wrong in _wrong(plan, frame, prefix, there=there, only=only).items()
        ]
        if found:
            joined = pl.select(pl.concat_str(found, separator=",", ignore_nulls=True).alias("v"))["v"]
            sides.append(
                pl.select(pl.when(joined != "").then(glue(f'"{side}":{{', joined, "}")).alias("v"))["v"]
            )
    if not sides:
        return None
    both = pl.select(pl.concat_str(sides, separator=",", ignore_nulls=True).alias("v"))["v"]
    return pl.select(pl.when(both != "").then(glue("{", both, "}")).alias("v"))["v"]


def _was_sent(plan: Plan, frame: pl.DataFrame) -> pl.Series:
    names = [BEFORE + column.name for column in plan.columns]
    some = (
        frame.select(pl.any_horizontal(pl.col(names).is_not_null()).alias("v"))["v"]
        if names
        else frame["_op"] == ""
    )
    return (frame["_op"] == "d") | some


def _wrong(
    plan: Plan, frame: pl.DataFrame, prefix: str, *, there: pl.Series, only: pl.Series
) -> dict[str, pl.Series]:
    """For each column that has any, the rows whose value does not fit."""
    keys, found = {column.name for column in plan.key}, {}
    absent = frame["_absent"] if prefix == AFTER and frame["_absent"].null_count() < len(frame) else None
    for column in plan.columns:
        values = frame[prefix + column.name]
        wrong = _misfits(column, values)
        beside = only if prefix == BEFORE and column.name not in keys else None
        if column.void != "null" and not column.masked and values.null_count():
            void = values.is_null() & there if beside is None else values.is_null() & there & ~beside
            if absent is not None:
                void &= ~absent.str.contains(json_string(column.name), literal=True).fill_null(value=False)
            wrong = void if wrong is None else wrong | void
        if beside is not None and not column.masked and beside.any():
            wrong = (wrong if wrong is not None else beside & ~beside) | (beside & values.is_not_null())
        if wrong is not None and wrong.any():
            found[column.name] = wrong
    for name in plan.left_out:
        if frame[prefix + name].null_count() < len(frame):
            found[name] = frame[prefix + name].is_not_null()
    return found


def _told(name: str, values: pl.Series, wrong: pl.Series) -> pl.Series:
    said = glue(f"{json_string(name)}:", quoted(values).fill_null("null"))
    return pl.select(pl.when(wrong).then(said).alias(name))[name]


def _misfits(column: PlannedColumn, values: pl.Series) -> pl.Series | None:
    """Rows whose value would come back as another; None: no such row."""
    encode, schema = column.type.encode, column.type.schema
    if column.masked or values.null_count() == len(values):
        return None
    if encode in (texts.plain, texts.quoted, texts.safe_quoted, texts.booleans):
        return None
    if encode is texts.hex_to_base64 and schema["type"] == "bytes":
        return None
    if encode is texts.decimals and int(schema["parameters"]["scale"]) <= _LARGEST_SCALE:
        return values.is_in(["NaN", "Infinity", "-Infinity"]).fill_null(value=False)
    name = schema.get("name", "")
    odd = ~_is_plain(values, name, _LONGEST[name]) if name in _LONGEST else values.is_not_null()
    return _compared(column, values, odd.fill_null(value=False))


def _is_plain(values: pl.Series, name: str, longest: int) -> pl.Series:
    """A moment of four digits in the year, without more of a fraction than there is room for."""
    short = values.str.len_bytes() <= longest
    if name.endswith("Time"):
        return short & ~values.str.starts_with("24")
    if name.endswith("Date"):
        return short & values.str.contains("-", literal=True) & (values.str.slice(4, 1) == "-")
    if name.endswith("NanoTimestamp"):  # what a long can count of them
        short &= values.str.slice(0, 4).is_between(pl.lit("1678"), pl.lit("2261"))
    ends = values.str.ends_with("+00") if name.endswith("ZonedTimestamp") else ~values.str.ends_with("BC")
    return short & (values.str.slice(4, 1) == "-") & ends


def _compared(column: PlannedColumn, values: pl.Series, odd: pl.Series) -> pl.Series | None:
    """Among the odd rows, those that do not read back as they were."""
    if not odd.any():
        return None
    distinct = values.filter(odd).unique()
    written = column.type.encode(distinct).fill_null("null").to_list()
    lost = [
        text for text, said in zip(distinct.to_list(), written, strict=True)
        if _read_back(column, said) != text
    ]  # fmt: skip
    return odd & values.is_in(lost).fill_null(value=False) if lost else None


def _read_back(column: PlannedColumn, said: str) -> str | None:
    return printed(column.type.schema, json.loads(said))


__all__ = ["unfit"]

"""The rows of a batch as columns of JSON: both images, keys, and what the source says of each change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ..batch import AFTER, BEFORE, Batch
from .options import Options
from .plan import Plan, PlannedColumn
from .values import glue, json_string

UNKNOWN = -(2**63)
"""A time that is that of the transaction before."""


@dataclass(frozen=True, slots=True)
class History:
    """Transactions in the order of their commits: when each was, and where it ended.

    A message outside of any transaction counts as one, as Debezium has it; its time is that of the one before.
    """

    lsn: np.ndarray
    end_lsn: np.ndarray
    committed_at: np.ndarray

    def before(self, lsn: np.ndarray) -> np.ndarray:
        """Number of the last transaction below each LSN; -1 for none."""
        return np.searchsorted(self.lsn, lsn, side="left") - 1

    def with_these(self, *others: History) -> History:
        """All of them in one, in order."""
        lsn, end, at = (
            np.concatenate([getattr(one, name) for one in (self, *others)]) for name in ("lsn", "end_lsn", "committed_at")
        )
        order = np.argsort(lsn, kind="stable")
        at = at[order]
        latest = np.maximum.accumulate(np.where(at == UNKNOWN, -1, np.arange(len(at))))
        times = np.where(latest >= 0, at[np.maximum(latest, 0)] if len(at) else 0, 0)
        return History(lsn[order], end[order], times)


def struct(columns: Sequence[PlannedColumn], frame: pl.DataFrame, prefix: str) -> pl.Series:
    """One image of every row, as a JSON object."""
    parts: list[pl.Series | str] = ["{"]
    absent = frame["_absent"] if prefix == AFTER and frame["_absent"].null_count() < len(frame) else None
    for number, column in enumerate(columns):
        values = frame[prefix + column.name]
        parts.append(f"{',' if number else ''}{json_string(column.field)}:")
        if values.null_count() == len(values):
            encoded = pl.repeat(column.void, len(values), dtype=pl.String, eager=True)
        else:
            encoded = column.type.encode(values).fill_null(column.void)
        if absent is not None and column.type.placeholder is not None:
            gone = absent.str.contains(json_string(column.name), literal=True).fill_null(value=False)
            encoded = pl.select(pl.when(gone).then(pl.lit(column.type.placeholder)).otherwise(encoded).alias("v"))["v"]
        parts.append(encoded)
    parts.append("}")
    if not columns:
        return pl.repeat("{}", len(frame), dtype=pl.String, eager=True)
    return glue(*_merged(parts))


def _merged(parts: list[pl.Series | str]) -> list[pl.Series | str]:
    merged: list[pl.Series | str] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return merged


Image = Callable[[Sequence[PlannedColumn], pl.DataFrame, str], pl.Series]
"""Writes one image of every row, of the columns with that prefix: as text, or as bytes."""


def images(plan: Plan, batch: Batch, image: Image = struct) -> pl.DataFrame:
    """`op, lsn, ordinal, xid, at, row_lsn`, the images `before` and `after`, the keys `old_key` and `new_key`.

    NULL where there is no such image. Audit columns and `_absent` stay with the rows.
    """
    frame = pl.DataFrame(pl.from_arrow(batch.data))
    detail = "_row_lsn" in frame.columns
    count = len(frame)
    op = frame["_op"]
    was_sent = frame["_old"].is_not_null() if detail else _any_before(plan, frame)
    has_new, has_old = op.is_in(["c", "u", "r"]), was_sent | (op == "d")
    nothing = pl.repeat(None, count, dtype=image((), frame[:0], AFTER).dtype, eager=True)
    after = image(plan.columns, frame, AFTER) if has_new.any() else nothing
    before = image(plan.columns, frame, BEFORE) if has_old.any() else nothing
    new_key = image(plan.key, frame, AFTER) if plan.key else nothing
    old_key = image(plan.key, frame, BEFORE) if plan.key else nothing
    made = pl.DataFrame(
        {
            "op": op, "lsn": frame["_lsn"], "ordinal": frame["_ordinal"], "xid": frame["_xid"],
            "at": frame["_committed_at"].dt.epoch("us"), "row_lsn": frame["_row_lsn"] if detail else frame["_lsn"],
            "user": frame["_operation_user"], "correlation": frame["_correlation_id"], "said": frame["_source"],
            "absent": frame["_absent"], "old": frame["_old"] if detail else nothing.cast(pl.String), "after": after, "before": before, "new_key": new_key, "old_key": old_key,
            "has_new": has_new, "has_old": has_old,
        }
    )  # fmt: skip
    return made.with_columns(
        after=pl.when("has_new").then("after"),
        before=pl.when("has_old").then("before"),
        new_key=pl.when("has_new").then("new_key"),
        old_key=pl.when("has_old").then("old_key"),
    ).with_row_index("row")


def _any_before(plan: Plan, frame: pl.DataFrame) -> pl.Series:
    """Without detail: the old row was sent if any of its columns has a value."""
    names = [BEFORE + column.name for column in plan.columns]
    if not names:
        return pl.repeat(value=False, n=len(frame), dtype=pl.Boolean, eager=True)
    return frame.select(pl.any_horizontal(pl.col(names).is_not_null()).alias("v"))["v"]


def sequences(rows: pl.DataFrame, history: History, *, own: str = "row_lsn") -> pl.Series:
    """The source block's `sequence`: where the last transaction ended, and the row's own LSN."""
    which = history.before(rows["lsn"].to_numpy())
    ends = np.where(which >= 0, history.end_lsn[np.maximum(which, 0)] if len(history.end_lsn) else 0, 0)
    last = pl.Series("v", ends).cast(pl.String)
    known = pl.Series("k", which >= 0)
    begin = pl.select(pl.when(known).then(pl.concat_str(pl.lit('\\"'), last, pl.lit('\\"'))).otherwise(pl.lit("null")).alias("v"))["v"]
    return glue('"[', begin, ',\\"', rows[own].cast(pl.String), '\\"]"')


def sources(rows: pl.DataFrame, plan_names: tuple[str, str], *, options: Options, database: str) -> pl.Series:
    """The source block of every row; `rows` has `at, snapshot, sequence, tx, row_lsn`."""
    schema, table = plan_names
    micros = rows["at"].fill_null(0)
    head = f'{{"version":{json_string(options.version)},"connector":"postgresql","name":{json_string(options.topic_prefix)},"ts_ms":'
    return glue(
        head, (micros // 1000).cast(pl.String), ',"snapshot":"', rows["snapshot"],
        f'","db":{json_string(database)},"sequence":', rows["sequence"], ',"ts_us":', micros.cast(pl.String),
        ',"ts_ns":', micros.cast(pl.String), f'000,"schema":{json_string(schema)},"table":{json_string(table)},"txId":',
        rows["tx"], ',"lsn":', rows["row_lsn"].cast(pl.String), ',"xmin":null,"origin":null,"origin_lsn":null}',
    )  # fmt: skip

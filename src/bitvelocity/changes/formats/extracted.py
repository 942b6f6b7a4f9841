"""What the three formats say of a change, and where in a value they say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from .layout import Schema

NO_CHANGE = "NoChange"
NOT_A_CHANGE = "the value can be read, and is no envelope of a change: it has no `op` with `before` and `after`"
_LETTERS = {"INSERT": "c", "UPDATE": "u", "DELETE": "d", "TRUNCATE": "t", "READ": "r"}
_KINDS = {
    "_lsn": pl.Int64,
    "_ordinal": pl.Int64,
    "_xid": pl.Int64,
    "at": pl.Int64,
    "_row_lsn": pl.Int64,
    "_old": pl.String,
}


@dataclass(frozen=True, slots=True)
class Extracted:
    """`after` and `before` are structs of `fields`; `numbers` has what the value says of its position."""

    op: pl.Series
    after: pl.Series
    before: pl.Series
    fields: Sequence[Schema]
    relation: pl.Series | None = None
    numbers: Mapping[str, pl.Series] = field(default_factory=dict)
    said: Mapping[str, pl.Series] = field(default_factory=dict)
    """Audit context and what was not sent, by system column; `_sequence` as Debezium's source gives it."""

    @classmethod
    def of_nothing(cls, op: pl.Series) -> Extracted:
        """Of a value that is not there."""
        void = pl.repeat(None, len(op), dtype=pl.Struct({}), eager=True)
        return cls(op, void, void, ())

    def filter(self, which: np.ndarray) -> Extracted:
        chosen = pl.Series(which)
        return Extracted(
            self.op.filter(chosen), self.after.filter(chosen), self.before.filter(chosen), self.fields,
            None if self.relation is None else self.relation.filter(chosen),
            {name: values.filter(chosen) for name, values in self.numbers.items()},
            {name: values.filter(chosen) for name, values in self.said.items()},
        )  # fmt: skip

    def facts(self) -> pl.DataFrame:
        """System columns as far as the value tells them; `_given` is its ordinal, if it has one."""
        count = len(self.op)
        told = {
            name: self.numbers[name].cast(kind) if name in self.numbers else pl.repeat(None, count, dtype=kind, eager=True)
            for name, kind in _KINDS.items()
        }  # fmt: skip
        return pl.DataFrame(
            {"_op": self.op, "_lsn": told["_lsn"].fill_null(0), "_ordinal": told["_ordinal"].cast(pl.Int32), "_xid": told["_xid"].fill_null(0),
             "_committed_at": told["at"].cast(pl.Datetime("us", "UTC")), "_row_lsn": told["_row_lsn"], "_old": told["_old"],
             "_given": told["_ordinal"]}
        )  # fmt: skip


def extract(form: str, frame: pl.DataFrame, schema: Schema) -> Extracted | None:
    """None: these values are no changes of rows."""
    return _FORMS[form](frame, schema)


def _child(schema: Schema, name: str) -> Schema | None:
    return next((one for one in schema.get("fields", ()) if one["field"] == name), None)


def _debezium(frame: pl.DataFrame, schema: Schema) -> Extracted | None:
    row = _child(schema, "after")
    if row is None or "op" not in frame.columns or "fields" not in row:
        return None
    source = frame["source"].struct.unnest() if "source" in frame.columns else frame[:, :0]
    relation = None
    if {"schema", "table"} <= set(source.columns):
        relation = source.select(v=pl.concat_str("schema", pl.lit("."), "table"))["v"]
    elif {"db", "table"} <= set(source.columns):
        relation = source.select(v=pl.concat_str("db", pl.lit("."), "table"))["v"]
    numbers = {
        ours: source[theirs]
        for ours, theirs in (("_lsn", "lsn"), ("_xid", "txId"))
        if theirs in source.columns
    }
    if "lsn" in source.columns:
        numbers["_row_lsn"] = source["lsn"]
    at = (
        source["ts_us"]
        if "ts_us" in source.columns
        else source["ts_ms"] * 1000
        if "ts_ms" in source.columns
        else None
    )
    if at is not None:
        numbers["at"] = at
    said = {"_sequence": source["sequence"].cast(pl.String)} if "sequence" in source.columns else {}
    return Extracted(
        frame["op"].cast(pl.String), frame["after"], frame["before"], row["fields"], relation, numbers, said
    )


def _bitvelocity(frame: pl.DataFrame, schema: Schema) -> Extracted | None:
    row = _child(schema, "payload")
    if row is None or "metadata" not in frame.columns or "fields" not in row:
        return None
    told, who = frame["metadata"].struct.unnest(), frame["audit"].struct.unnest()
    op = told["operation"].replace_strict(_LETTERS, default="u", return_dtype=pl.String)
    is_gone = op == "d"
    after = pl.select(pl.when(~is_gone).then(frame["payload"]).alias("v"))["v"]
    before = pl.select(pl.when(is_gone).then(frame["payload"]).otherwise(frame["before"]).alias("v"))["v"]
    places = (
        told["position"]
        .str.extract_groups(r"^([0-9A-F]+)/([0-9A-F]+):(\d+)$")
        .struct.rename_fields(["high", "low", "ordinal"])
        .struct.unnest()
    )
    row_places = (
        told["lsn"]
        .str.extract_groups(r"^([0-9A-F]+)/([0-9A-F]+)$")
        .struct.rename_fields(["high", "low"])
        .struct.unnest()
    )
    clock = told["timestamp"].str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False)
    numbers = {
        "_lsn": _lsn(places), "_ordinal": places["ordinal"].cast(pl.Int64), "_xid": told["transaction_id"], "at": clock.dt.epoch("us"),
        "_row_lsn": _lsn(row_places),
    }  # fmt: skip
    absent = told["absent"]
    listed = pl.select(
        pl.when(absent.list.len() > 0)
        .then(pl.concat_str(pl.lit('["'), absent.list.join('", "'), pl.lit('"]')))
        .alias("v")
    )["v"]
    said = {
        "_operation_user": who["user"],
        "_correlation_id": who["correlation_id"],
        "_source": who["source"],
        "_absent": listed,
    }
    return Extracted(op, after, before, row["fields"], told["source"], numbers, said)


def _lsn(parts: pl.DataFrame) -> pl.Series:
    return parts.select(
        v=pl.col("high").str.to_integer(base=16) * (1 << 32) + pl.col("low").str.to_integer(base=16)
    )["v"]


def _unwrapped(frame: pl.DataFrame, schema: Schema) -> Extracted | None:
    """Fields that begin with two underscores were added to the row."""
    fields = [one for one in schema.get("fields", ()) if not one["field"].startswith("__")]
    row = frame.select(pl.struct([one["field"] for one in fields]).alias("v"))["v"] if fields else None
    if row is None:
        return None
    op = (
        frame["__op"].cast(pl.String).fill_null("u")
        if "__op" in frame.columns
        else pl.Series(["u"] * len(frame))
    )
    if "__deleted" in frame.columns:
        is_gone = frame["__deleted"].cast(pl.String) == "true"
        op = pl.select(pl.when(is_gone).then(pl.lit("d")).otherwise(op).alias("v"))["v"]
    after = pl.select(pl.when(op != "d").then(row).alias("v"))["v"]
    before = pl.select(pl.when(op == "d").then(row).alias("v"))["v"]
    numbers = {
        ours: frame[theirs] for ours, theirs in (("_lsn", "__lsn"), ("_row_lsn", "__lsn"), ("_xid", "__txId"), ("at", "__source_ts_us"))
        if theirs in frame.columns
    }  # fmt: skip
    if "at" not in numbers and "__source_ts_ms" in frame.columns:
        numbers["at"] = frame["__source_ts_ms"] * 1000
    return Extracted(op, after, before, fields, None, numbers)


_FORMS: Mapping[str, Callable[[pl.DataFrame, Schema], Extracted | None]] = {
    "debezium": _debezium, "debezium-unwrapped": _unwrapped, "bitvelocity": _bitvelocity,
}  # fmt: skip
__all__ = ["NOT_A_CHANGE", "NO_CHANGE", "Extracted", "extract"]

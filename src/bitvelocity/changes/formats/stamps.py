"""Headers that say what an event is (CloudEvents, binary mode) and all that its format has no place for.

| header | value |
|---|---|
| `ce_id` | `lsn/xid/ordinal.step`, decimal: the same whenever the event is made again |
| `ce_source` | `/<topic prefix>/<database>` |
| `ce_type` | `bitvelocity.change.` and `insert`, `update`, `delete`, `truncate`, `read` or `tombstone` |
| `ce_subject`, `ce_time` | the table, and when it was committed |
| `content-type`, `ce_dataschema` | of the value; the second where a registry has its schema |
| `traceparent` | where the correlation id of the transaction is one |
| `bv-change` | `op/lsn/xid/ordinal/step/microseconds/row lsn/old` of the row, so that a batch can be made of it again |
| `bv-user`, `bv-correlation-id`, `bv-source`, `bv-absent` | the row's `_operation_user`, `_correlation_id`, `_source`, `_absent` |
| `bv-columns` | columns of the table and the fields that hold them, where a name had to change or a type has no form |
| `bv-unfit` | values that their field cannot hold, as PostgreSQL prints them |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import polars as pl

from .headers import HeaderColumn
from .options import Options
from .plan import Plan
from .records import Stamp

_WORDS = {"c": "insert", "u": "update", "d": "delete", "t": "truncate", "r": "read"}
_TRACE = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"


def stamp_of(plan: Plan, options: Options, *, database: str, content_type: str) -> Stamp | None:
    """The headers that the options ask for."""
    parts: list[Callable[[pl.DataFrame], Sequence[HeaderColumn]]] = []
    if options.cloudevents:
        parts.append(
            lambda rows: _cloud(
                rows, plan, source=f"/{options.topic_prefix}/{database}", content_type=content_type
            )
        )
    if options.keep_exact:
        parts.append(lambda rows: _exact(rows, plan))
    return (lambda rows: [one for part in parts for one in part(rows)]) if parts else None


def _cloud(rows: pl.DataFrame, plan: Plan, *, source: str, content_type: str) -> list[HeaderColumn]:
    told = rows.select(
        id=pl.concat_str("lsn", pl.lit("/"), "xid", pl.lit("/"), "ordinal", pl.lit("."), "step"),
        type=pl.lit("bitvelocity.change.")
        + pl.when(pl.col("kind") == "tombstone").then(pl.lit("tombstone")).otherwise(pl.col("op").replace_strict(_WORDS, default="")),
        time=pl.col("at").cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        trace=pl.when(pl.col("correlation").cast(pl.String).str.contains(_TRACE)).then(pl.col("correlation").cast(pl.String)),
    )  # fmt: skip
    return [
        HeaderColumn("ce_specversion", b"1.0"), HeaderColumn("ce_id", told["id"]), HeaderColumn("ce_source", source.encode()),
        HeaderColumn("ce_type", told["type"]), HeaderColumn("ce_subject", plan.relation.encode()),
        HeaderColumn("ce_time", told["time"]), HeaderColumn("content-type", content_type.encode()),
        HeaderColumn("traceparent", told["trace"]),
    ]  # fmt: skip


def _exact(rows: pl.DataFrame, plan: Plan) -> list[HeaderColumn]:
    slash = pl.lit("/")
    change = rows.select(
        v=pl.concat_str(
            "op", slash, "lsn", slash, "xid", slash, "ordinal", slash, "step", slash,
            pl.col("at").cast(pl.String).fill_null(""), slash, "row_lsn", slash, pl.col("old").cast(pl.String).fill_null(""),
        )
    )["v"]  # fmt: skip
    found = [HeaderColumn("bv-change", change)]
    names = {
        "bv-user": "user",
        "bv-correlation-id": "correlation",
        "bv-source": "said",
        "bv-absent": "absent",
        "bv-unfit": "unfit",
    }
    for name, column in names.items():
        if rows[column].null_count() < len(rows):
            found.append(HeaderColumn(name, rows[column].cast(pl.String)))
    if plan.renamed is not None:
        found.append(HeaderColumn("bv-columns", json.dumps(plan.renamed).encode()))
    return found


__all__ = ["stamp_of"]

"""The latest row per key, as SQL over a base and a log: the one rule by which silver and gold are read and folded.

A log has `_op`, `_lsn`, `_ordinal` and whole rows: `d` buries its key, `t` (no key) buries everything below it, any
other operation is the row from there on. A base has one row per key, as of a position; a log given here stands above
it. Base and log are names or FROM terms, each with all of `columns`.

The shape was measured: an anti-join of the base with the keys of the log costs what the log costs, and filters on the
key reach both sides; `QUALIFY row_number()` over all rows costs many times the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from .names import columns_sql

PLACE = "(_lsn::HUGEINT * 4294967296 + _ordinal)"
"""Position as one number: an aggregate over it is much faster than over a pair."""


def latest(base: str, log: str, *, key: Sequence[str], columns: Sequence[str]) -> str:
    """A SELECT of `columns` with one row per living key."""
    keys, picked = columns_sql(key), columns_sql(columns)
    needed = columns_sql(dict.fromkeys((*columns, *key, "_op", "_lsn", "_ordinal")))
    cut = f"(SELECT max({PLACE}) FROM {log} WHERE _op = 't')"
    newest = f"SELECT {keys}, max(_lsn) AS _lsn, arg_max(_ordinal, {PLACE}) AS _ordinal FROM {log} GROUP BY {keys}"
    return (
        f"SELECT {picked} FROM {base} ANTI JOIN (SELECT {keys} FROM {log} WHERE _op <> 't') USING ({keys}) "
        f"WHERE {cut} IS NULL "
        f"UNION ALL "
        f"SELECT {picked} FROM (SELECT {needed} FROM {log}) SEMI JOIN ({newest}) USING ({keys}, _lsn, _ordinal) "
        f"WHERE _op NOT IN ('d', 't') AND {PLACE} > coalesce({cut}, -1)"
    )

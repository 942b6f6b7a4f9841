"""Transactions of a Debezium that tells of them (`provide.transaction.metadata`): which of them were read whole.

It counts its events: each says its transaction and its number there, and END, on a topic of its own, says how many there
were in each table. It sends one transaction after the other, so that each event knows the commit before its own
transaction (`source.sequence`), and END knows its own commit: that puts transactions into their order.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from bitvelocity.changes.formats import TEXT, Decoder, sanitized

from .repeats import State

EVENTS: Mapping[str, Any] = {"offset": pl.Int64, "xid": pl.Int64, "order": pl.Int64, "commit": pl.Int64, "unread": pl.Boolean}
"""Of each record with a value: its transaction, its number there, the commit before. `unread`: it says nothing of that kind."""
ENDINGS: Mapping[str, Any] = {
    "number": pl.Int32, "offset": pl.Int64, "xid": pl.Int64, "commit": pl.Int64, "collection": pl.String, "events": pl.Int64,
}  # fmt: skip
"""Of each END and each table in it: partition and offset, transaction and its commit, table and its number of events."""
_OF = r'"transaction":\{"id":"(\d+:\d+)","total_order":(\d+)[,}]'
_AFTER = r'"source":\{[^}]*?"sequence":"(\[[^\]]*\])"'
_PAIR = r'^\[\s*(?:null|\\?"(\d+)\\?")\s*,\s*\\?"\d+\\?"\s*\]$'
_COUNTS = pl.List(pl.Struct({"data_collection": pl.String, "event_count": pl.Int64}))
_END = pl.Struct({"status": pl.String, "id": pl.String, "data_collections": _COUNTS})


@dataclass(frozen=True, slots=True)
class Reached:
    """How far transactions are whole: up to the one of this commit. `missing` something: those behind it, the first at first."""

    commit: int
    missing: tuple[int, ...] = ()
    unended: tuple[int, ...] = ()
    """Those whose END has not been read, though that of a later one has."""


class Transactions:
    """What was read of transactions and is not taken: events by lane, a partition, and ends."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._events: dict[Hashable, pl.DataFrame] = {}
        self._endings = pl.DataFrame(schema=ENDINGS)

    @property
    def ends(self) -> int:
        return len(self._endings)

    def hold(self, lane: Hashable, records: pa.Table) -> None:
        """Records that come behind those of the lane."""
        before = self._events.get(lane, pl.DataFrame(schema=EVENTS))
        self._events[lane] = pl.concat([before, events_of(self._decoder, records)])

    def end(self, records: pa.Table, commit: int) -> None:
        """Records of the topic of transactions; those up to this commit are taken."""
        self._endings = pl.concat([self._endings, endings_of(self._decoder, records).filter(pl.col("commit") > commit)])

    def reached(self, begun: Reached, *, parted: Collection[int], topics: Collection[str], prefix: str) -> Reached:
        """How far they are whole; `topics` are those that are there."""
        events = pl.concat([pl.DataFrame(schema=EVENTS), *self._events.values()])
        tables = tables_on(topics, prefix, self._endings["collection"].drop_nulls().unique().to_list())
        return reached(events, self._endings, begun, parted=parted, topics=tables)

    def waits_from(self, lane: Hashable, commit: int, parted: Collection[int]) -> int | None:
        """The offset of the lane's first event that is to wait, when all up to this commit are taken."""
        return held_back(self._events[lane], commit, parted)

    def took(self, lane: Hashable, end: int) -> None:
        """What stands before this offset was taken."""
        self._events[lane] = self._events[lane].filter(pl.col("offset") >= end)

    def passed(self, commit: int) -> Collection[int]:
        """Forget the ends up to this commit; whose they were."""
        done = self._endings.filter(pl.col("commit") <= commit)["xid"].unique().to_list()
        self._endings = self._endings.filter(pl.col("commit") > commit)
        return done

    def first_ends(self) -> Mapping[int, int]:
        """The lowest offset of an end that is known, by partition."""
        return dict(self._endings.group_by("number").agg(pl.col("offset").min()).iter_rows())


def events_of(decoder: Decoder, records: pa.Table) -> pl.DataFrame:
    """`EVENTS` of the records, in their order."""
    offsets = records["offset"].to_numpy()
    found = [pl.DataFrame(schema=EVENTS)]
    for rows, frame in decoder.fields(records, ("transaction", "source.sequence")):
        said = _in_text(frame[TEXT]) if TEXT in frame.columns else _in_columns(frame)
        commit = said["sequence"].str.extract(_PAIR, 1).cast(pl.Int64).fill_null(0)
        xid = said["id"].str.extract(r"^(\d+):", 1).cast(pl.Int64)
        unread = ~said["sequence"].str.contains(_PAIR).fill_null(value=False)
        place = pl.Series("offset", offsets[rows], dtype=pl.Int64)
        found.append(pl.DataFrame([place, xid.alias("xid"), said["order"], commit.alias("commit"), unread.alias("unread")]))
    seen = pl.concat(found)
    missed = np.setdiff1d(offsets[records["value"].is_valid().to_numpy()], seen["offset"].to_numpy())
    if len(missed):
        seen = pl.concat([seen, pl.DataFrame({"offset": missed, "unread": True}, schema_overrides=EVENTS)], how="diagonal")
    return seen.sort("offset")


def endings_of(decoder: Decoder, records: pa.Table) -> pl.DataFrame:
    """`ENDINGS` of records of the topic of transactions; what says that one begins is passed by."""
    places = pl.DataFrame(
        {"number": records["partition"].to_numpy(), "offset": records["offset"].to_numpy()}, schema_overrides={"number": pl.Int32}
    )
    found = [pl.DataFrame(schema=ENDINGS)]
    for rows, frame in decoder.fields(records, ()):
        said = _ends_in_text(frame[TEXT]) if TEXT in frame.columns else frame
        if not {"status", "id", "data_collections"} <= set(said.columns):
            continue
        place = places[rows]
        ends = pl.DataFrame([place["number"], place["offset"], said["status"], said["id"], said["data_collections"].cast(_COUNTS)])
        ends = ends.filter(pl.col("status") == "END").explode("data_collections").unnest("data_collections")
        ident = pl.col("id").str.split_exact(":", 1)
        found.append(
            ends.select(
                "number", "offset", xid=ident.struct[0].cast(pl.Int64), commit=ident.struct[1].cast(pl.Int64),
                collection="data_collection", events=pl.col("event_count").fill_null(0),
            )
        )  # fmt: skip
    return pl.concat(found)


def reached(events: pl.DataFrame, endings: pl.DataFrame, begun: Reached, *, parted: Collection[int], topics: Mapping[str, str]) -> Reached:
    """How far the events that were read make whole transactions, in the order of commits, `begun.commit` being taken.

    `parted` ones are not waited for. `topics` are those that are read, by table; what stands on others (messages) is not counted.
    A record that cannot be read may be of any transaction.
    """
    loose = pl.Series(sorted(parted), dtype=pl.Int64)
    pending = events.filter(pl.col("xid").is_not_null() & (pl.col("commit") >= begun.commit) & ~pl.col("xid").is_in(loose.implode()))
    seen = pending.group_by("xid").agg(seen=pl.col("order").n_unique(), after=pl.col("commit").min())
    counted = pl.when(pl.col("collection").is_in(list(topics))).then(pl.col("events")).otherwise(0)
    once = endings.filter(pl.col("commit") > begun.commit).group_by("xid", "commit", "collection").agg(pl.col("events").max())
    ends = once.group_by("xid").agg(commit=pl.col("commit").max(), wanted=counted.sum()).sort("commit")
    unread = int(events["unread"].sum())
    told = ends.join(seen, on="xid", how="left", maintain_order="left")
    lacking = told.filter((pl.col("seen").fill_null(0) + unread < pl.col("wanted")) & ~pl.col("xid").is_in(loose.implode()))
    unended = seen.join(ends, on="xid", how="anti").sort("after", "xid")
    bound = min([*lacking["commit"].head(1) - 1, *unended["after"].head(1)], default=None)
    good = told if bound is None else told.filter(pl.col("commit") <= bound)
    missing = pl.concat([lacking.select("xid", at="commit"), unended.select("xid", at=pl.col("after") + 1)]).sort("at", maintain_order=True)
    last = max(told["commit"].tail(1), default=-1)
    return Reached(
        max(begun.commit, *good["commit"].tail(1)) if len(good) else begun.commit,
        tuple(missing["xid"]), tuple(unended.filter(pl.col("after") < last)["xid"]),
    )  # fmt: skip


def held_back(events: pl.DataFrame, commit: int, parted: Collection[int]) -> int | None:
    """The offset of the first event of a partition that is to wait, when all transactions up to this commit are taken."""
    loose = pl.Series(sorted(parted), dtype=pl.Int64)
    waiting = events.filter(pl.col("xid").is_not_null() & (pl.col("commit") >= commit) & ~pl.col("xid").is_in(loose.implode()))
    return int(waiting["offset"][0]) if len(waiting) else None


def taken_before(state: State) -> int:
    """The last commit before what was taken: transactions up to there are not waited for."""
    return max((int(lane["commit"]) for lane in state.values()), default=0)


def tables_on(topics: Collection[str], prefix: str, collections: Collection[str]) -> Mapping[str, str]:
    """Those of the tables, as END calls them, that have a topic of their own among these."""
    named = {one: sanitized(f"{prefix}.{one}") for one in collections}
    return {one: topic for one, topic in named.items() if topic in topics}


def _in_text(text: pl.Series) -> pl.DataFrame:
    """JSON is looked at as text: no value of a column can look like this, since its quotes have a backslash each."""
    of = text.str.extract_groups(_OF).struct.rename_fields(["id", "order"]).struct.unnest()
    return of.with_columns(pl.col("order").cast(pl.Int64), text.str.extract(_AFTER, 1).alias("sequence"))


def _in_columns(frame: pl.DataFrame) -> pl.DataFrame:
    def part(column: str, name: str, kind: Any) -> pl.Expr:
        dtype = frame.schema.get(column)
        there = isinstance(dtype, pl.Struct) and any(one.name == name for one in dtype.fields)
        return (pl.col(column).struct.field(name) if there else pl.lit(None)).cast(kind)

    return frame.select(
        id=part("transaction", "id", pl.String), order=part("transaction", "total_order", pl.Int64),
        sequence=part("source", "sequence", pl.String),
    )  # fmt: skip


def _ends_in_text(text: pl.Series) -> pl.DataFrame:
    """In JSON with its schema, or without."""
    is_end = text.str.contains('"status":"END"', literal=True).fill_null(value=False)
    told = pl.select(pl.when(is_end).then(text).otherwise(pl.lit("{}")).alias("v"))["v"]
    fields = {one.name: one.dtype for one in _END.fields}
    said = told.str.json_decode(pl.Struct({**fields, "payload": _END})).struct.unnest()
    inner = said["payload"].struct.unnest()
    return pl.DataFrame([pl.select(pl.coalesce(inner[name], said[name]).alias(name))[name] for name in fields])


__all__ = ["Reached", "Transactions", "taken_before"]

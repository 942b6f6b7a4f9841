"""Records of a Debezium that we do not run: those that it sent again are dropped, the others get a place of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from bitvelocity.changes import Batch, Mark
from bitvelocity.errors import CaptureError

SEQUENCE, ROW = "_sequence", "_row"
"""Columns of what was read of Debezium's records, which no table has."""
_PAIR = r'^\[\s*(?:null|"(\d+)")\s*,\s*"(\d+)"\s*\]$'

State = Mapping[str, Mapping[str, Any]]
"""What was taken last, by lane; goes through JSON as it is."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Changes of one table in one partition: Debezium sends them in the order of commits."""

    name: str
    batches: Sequence[Batch]


def new_changes(lanes: Sequence[Lane], state: State, keyed: Collection[str] = ()) -> tuple[list[Batch], State]:
    """The changes that are no repeats, and what is to be remembered.

    Debezium sends at least once: after a restart it goes back to what it has noted. Each change has a `source.sequence`:
    the last commit before its transaction, and its own LSN. In a lane these only grow, so what stands below the highest
    was there before. Changes at one LSN (a COPY) are told apart by their values; rows of `keyed` tables only, since others
    may be alike in truth. Before the first commit that it knows Debezium says null: such changes are compared with
    their like only, for a new connector says it again. Never dropped: rows of snapshots, and what has no sequence.
    """
    found: list[Batch] = []
    after = dict(state)
    for lane in lanes:
        for batch in lane.batches:
            kept, told = _unseen(batch, lane.name, after, has_key=batch.relation in keyed)
            after.update(told)
            if kept.data.num_rows:
                found.append(kept)
    return found, after


def placed(batches: Sequence[Batch], lsn: int, *, resume: int) -> tuple[tuple[Batch, ...], Mark]:
    """The changes as one set at a position of ours, numbered in their order. Nothing else comes below `resume`."""
    made, rows = [], 0
    for batch in batches:
        count = batch.data.num_rows
        data = batch.data
        for name, values in (("_lsn", np.full(count, lsn)), ("_ordinal", np.arange(rows, rows + count, dtype=np.int32))):
            data = data.set_column(data.column_names.index(name), name, pa.array(values))
        made.append(replace(batch, data=data))
        rows += count
    times = [int(at) for one in made if (at := _latest(one.data)) is not None]
    transactions = {xid for one in made for xid in one.data["_xid"].unique().to_pylist()}
    return tuple(made), Mark(lsn, resume, max(times, default=0), len(transactions), rows)


def _latest(data: pa.Table) -> int | None:
    at = pl.Series(pl.from_arrow(data["_committed_at"])).dt.epoch("us").max()
    return int(at) if isinstance(at, int) else None


def _unseen(batch: Batch, lane: str, state: State, *, has_key: bool) -> tuple[Batch, State]:
    bare = batch.data.drop_columns([SEQUENCE, ROW])
    rows = _ranked(batch)
    after: dict[str, Mapping[str, Any]] = {}
    keep = np.ones(len(rows), dtype=bool)
    for (kind,), part in rows.filter(pl.col("lsn").is_not_null() & (pl.col("op") != "r")).group_by("kind"):
        name = f"{lane} {batch.relation} {kind}"
        lane_rows = part.sort("row").with_row_index("row_at")
        good, told = _grown(lane_rows, state.get(name), name, has_key=has_key)
        keep[lane_rows["row"].to_numpy()] = good
        after[name] = told
    return replace(batch, data=bare if keep.all() else bare.filter(pa.array(keep))), after


def _ranked(batch: Batch) -> pl.DataFrame:
    """Each row with its sequence, its time and what it says."""
    data: Any = pl.from_arrow(batch.data)
    images = [name for name in data.columns if name.startswith(("after_", "before_"))]
    pair = data[SEQUENCE].str.extract_groups(_PAIR).struct.rename_fields(["commit", "lsn"]).struct.unnest()
    told: pl.DataFrame = data.select(
        row=pl.int_range(pl.len()),
        op=pl.col("_op"),
        at=pl.col("_committed_at").dt.epoch("us").fill_null(0),
        says=pl.struct("_op", *images),
    )
    commit = pair["commit"].cast(pl.Int64)
    kind = pl.select(pl.when(commit.is_null()).then(pl.lit("first")).otherwise(pl.lit("later")).alias("v"))["v"]
    return told.with_columns(kind.alias("kind"), commit.fill_null(0).alias("commit"), pair["lsn"].cast(pl.Int64).alias("lsn"))


def _grown(
    rows: pl.DataFrame, last: Mapping[str, Any] | None, name: str, *, has_key: bool
) -> tuple[np.ndarray, Mapping[str, Any]]:
    """Which rows of a lane are new, and where the lane stands then."""
    seen = last or {"commit": -1, "lsn": -1, "at": -1, "prints": []}
    before = pl.DataFrame({"commit": [seen["commit"]], "lsn": [seen["lsn"]]}, schema={"commit": pl.Int64, "lsn": pl.Int64})
    places = pl.concat([before, rows.select("commit", "lsn")])
    rank = places.select(v=pl.struct("commit", "lsn").rank("dense").cast(pl.Int64))["v"]
    highest = rank.cum_max()
    good = (rank == highest)[1:].to_numpy().copy()
    times = pl.concat([pl.Series([seen["at"]], dtype=pl.Int64), rows["at"]]).cum_max()
    _check_time(rows, ~good & (rows["at"].to_numpy() > times[:-1].to_numpy()), name)
    prints = _told_apart(rows, rank, good, seen["prints"]) if has_key else []
    stands = places.row(int(rank.arg_max() or 0))
    return good, {"commit": stands[0], "lsn": stands[1], "at": int(times[-1]), "prints": prints}


def _told_apart(rows: pl.DataFrame, rank: pl.Series, good: np.ndarray, known: Collection[str]) -> list[str]:
    """Take repeats at one LSN out of `good`; fingerprints of the rows at the highest one. The first rank is the last call's."""
    top = rank.max()
    tied = rows.with_columns(rank=rank[1:]).filter((rank.is_duplicated() | (rank == top))[1:] & pl.Series(good))
    tied = tied.with_columns(pl.col("says").struct.json_encode())
    again = tied.filter(~tied.select(v=pl.struct("rank", "says").is_first_distinct())["v"])
    good[again["row_at"].to_numpy()] = False
    at_last = tied.filter(pl.col("rank") == rank[0])
    there = [digest in known for digest in _digests(at_last["says"])]
    good[at_last.filter(pl.Series(there, dtype=pl.Boolean))["row_at"].to_numpy()] = False
    kept = set(known) if rank[0] == top else set()
    return sorted(kept.union(_digests(tied.filter(pl.col("rank") == top)["says"])))


def _digests(texts: pl.Series) -> list[str]:
    """Of the few rows at one LSN."""
    return [hashlib.blake2b(text.encode(), digest_size=12).hexdigest() for text in texts]


def _check_time(rows: pl.DataFrame, wrong: np.ndarray, name: str) -> None:
    """What was there before was there by then: a lower LSN at a later time is another history, and no repeat."""
    if not wrong.any():
        return
    raise CaptureError(
        "Debezium's LSNs went back while its time went on: its source is another one, or was restored from a backup.",
        position=f"{name}, LSN {rows['lsn'][int(np.nonzero(wrong)[0][0])]}",
        safe="Nothing of it was taken; the lake is whole as of its position.",
        remedy="Let Debezium write to topics of another prefix, and begin a new lake with those.",
        code="SourceForeign",
    )


__all__ = ["ROW", "SEQUENCE", "Lane", "State", "new_changes", "placed"]

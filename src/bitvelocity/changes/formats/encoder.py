"""Change sets to records, in one of three formats."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import polars as pl
import pyarrow as pa

from ..batch import AFTER, MESSAGES, TRANSACTIONS, Batch
from .debezium import Moment, encode_debezium, event_count
from .described import Described
from .notation import Notation, Rows
from .options import Options
from .order import Order
from .own import encode_own, own_options, own_type
from .plan import Plan, compile_plan
from .records import in_order, records
from .rows import UNKNOWN, History, images, sequences, sources, struct
from .stamps import stamp_of
from .topics import encode_boundary, encode_messages, transaction_topic
from .unfit import unfit
from .unwrapped import encode_unwrapped
from .values import glue

Format = Literal["debezium", "debezium-unwrapped", "bitvelocity"]
FORMATS: tuple[str, ...] = get_args(Format)
_MESSAGE_SOURCE = "pg_logical_message"
_GROUP = 64 << 20
_NO_HISTORY = History(*(np.zeros(0, np.int64) for _ in range(3)))


class Encoder:
    """Encodes the change sets of one source, in their order.

    The source should have been opened with `Tuning(detail=True, readers=1)` (the marks of a snapshot are right when its
    tables come one after the other), and with `messages=("*",)` if messages are wanted;
    without detail, a row's own LSN is that of its commit, and `sequence` does not name the commit before.
    `describe`, if given, is asked anew when a batch has a table or a column that `described` does not know.
    `notation` writes the records; without one they are JSON. `amid`: what comes is a stretch out of the middle, so that no
    row of a snapshot is said to be the first or the last.
    """

    def __init__(
        self,
        form: Format,
        described: Described,
        options: Options | None = None,
        *,
        describe: Callable[[], Described] | None = None,
        notation: Notation | None = None,
        amid: bool = False,
    ) -> None:
        self.form, self.options, self._amid = form, options or Options(), amid
        self._notation = notation
        if notation is not None:
            self.options = notation.settle(self.options)
        self._described, self._describe = described, describe
        self._plans: dict[tuple[object, ...], Plan] = {}
        self._history = _NO_HISTORY
        self._order = Order()
        self._begun: set[int] = set()
        self._reading: set[str] = set()

    def encode(self, change_set: Iterable[Batch]) -> Iterator[pa.Table]:
        """Records of a change set: tables of one topic each, some transactions at a time, memory bounded."""
        for tables in self._groups(change_set):
            yield from tables

    def encode_in_order(self, change_set: Iterable[Batch]) -> Iterator[pa.Table]:
        """The same with all topics in one table, in the source's order, some transactions at a time.

        Of a transaction that is larger than memory allows, only the records of one topic are in order.
        """
        for tables in self._groups(change_set):
            yield in_order(tables)

    def _groups(self, change_set: Iterable[Batch]) -> Iterator[Iterator[pa.Table]]:
        """Encode as soon as there is enough. Of a snapshot the last batch waits: its end may be that of a table."""
        group: list[Batch] = []
        size = 0
        for batch in change_set:
            if size > _GROUP:
                yield self._group(group, last=False, follower=batch.relation)
                group, size = [], 0
            group.append(batch)
            size += batch.data.nbytes
            if batch.relation == TRANSACTIONS:
                yield self._group(group, last=False)
                group, size = [], 0
        yield self._group(group, last=True)

    def _group(self, group: Sequence[Batch], *, last: bool, follower: str = "") -> Iterator[pa.Table]:
        """`follower`: the table whose rows come next."""
        ended = [batch for batch in group if batch.relation == TRANSACTIONS]
        self._history = self._history.with_these(*(found for batch in group for found in _marks(batch)))
        taken = [batch for batch in group if self._takes(batch) and batch.data.num_rows]
        moment = Moment(time.time_ns())
        plans = [None if batch.relation == MESSAGES else self._plan(batch) for batch in taken]
        frames = [self._frame(batch, plan) for batch, plan in zip(taken, plans, strict=True)]
        self._mark_snapshot(frames, plans, last=last, follower=follower)
        if self.options.provide_transaction_metadata and self.form != "bitvelocity":
            yield from self._transactions(frames, ended)
        for frame, plan in zip(frames, plans, strict=True):
            yield self._records(frame, plan, moment)
        self._history = History(*(getattr(self._history, name)[-1:] for name in ("lsn", "end_lsn", "committed_at")))

    def _takes(self, batch: Batch) -> bool:
        if batch.relation == MESSAGES:
            return self.form != "bitvelocity"
        return batch.relation != TRANSACTIONS and self.options.takes(batch.relation)

    def _plan(self, batch: Batch) -> Plan:
        key = (batch.relation, batch.columns, batch.shape)
        if (plan := self._plans.get(key)) is None:
            if self._describe is not None and not self._knows(batch):
                self._described = self._describe()
            if self.form == "bitvelocity":
                options = own_options(self.options)
                plan = compile_plan(batch, self._described, options, own_type, with_defaults=False)
            else:
                plan = compile_plan(batch, self._described, self.options)
            self._plans[key] = plan = self._notation.planned(self.form, plan, self.options) if self._notation else plan
        return plan

    def _knows(self, batch: Batch) -> bool:
        facts = self._described.tables.get(batch.relation)
        return facts is not None and set(batch.columns) <= set(facts.columns)

    def _frame(self, batch: Batch, plan: Plan | None) -> pl.DataFrame:
        """Rows with their images, or messages; with all that the source block says."""
        if plan is None:
            frame, place = _message_frame(batch, self._history), -1
            source = pl.lit(_MESSAGE_SOURCE)
        else:
            frame, place = images(plan, batch, self._notation.image if self._notation else struct), 0
            exact = unfit(plan, batch, keys_only=frame["old"] == "K") if self.options.keep_exact else None
            frame = frame.with_columns(unfit=pl.lit(None, pl.String) if exact is None else exact)
            source = pl.lit(plan.relation)
        snapshot = pl.col("op") == "r"
        frame = frame.with_columns(place=pl.lit(place), source=source, snapshot=pl.lit("false"))
        nothing = pl.lit(None, pl.String)
        count = pl.lit(1, pl.Int64) if plan is None else event_count(frame, self.options)
        frame = frame.with_columns(count=count, transaction=nothing, transaction_of_second=nothing)
        frame = frame.with_columns(
            sequence=sequences(frame.with_columns(lsn="reach") if plan is None else frame, self._history),
            tx=pl.when(snapshot | (pl.col("xid") == 0)).then(pl.lit("null")).otherwise(pl.col("xid").cast(pl.String)),
        )
        return frame.with_columns(sequence=pl.when(snapshot).then(sequences(frame, _NO_HISTORY)).otherwise("sequence"))

    def _mark_snapshot(
        self, frames: list[pl.DataFrame], plans: Sequence[Plan | None], *, last: bool, follower: str
    ) -> None:
        """The `snapshot` of rows read at the start: which are the first and the last, of a table and of all."""
        read = [(n, plan.relation) for n, plan in enumerate(plans) if plan and frames[n]["op"][0] == "r"]
        first = next(iter(self._described.tables), "")
        for place, (number, relation) in enumerate(read):
            after = read[place + 1][1] if place + 1 < len(read) else follower
            marks = ["true"] * len(frames[number])
            if self._amid:
                pass
            elif relation not in self._reading:
                marks[0] = "first" if relation == first else "first_in_data_collection"
                self._reading.add(relation)
            if after != relation and not self._amid:
                marks[-1] = "last" if last and not after else "last_in_data_collection"
            frames[number] = frames[number].with_columns(snapshot=pl.Series(marks, dtype=pl.String))

    def _transactions(self, frames: list[pl.DataFrame], ended: Sequence[Batch]) -> Iterator[pa.Table]:
        """Put `transaction` into the frames; the records of BEGIN and END."""
        numbered = self._order.number(frames) if frames else []
        for number, order in enumerate(numbered):
            frames[number] = self._with_block(frames[number], order)
        ends = {}
        for batch in ended:
            for row in batch.data.to_pylist():
                ends[row["_lsn"]] = row
        found = []
        for lsn in sorted({lsn for frame in frames for lsn in frame.filter(pl.col("xid") > 0)["lsn"].unique()} | set(ends)):
            if lsn not in self._begun:
                found.append(self._begin(lsn, ends.get(lsn), frames))
                self._begun.add(lsn)
            if lsn in ends:
                found.append(self._end(ends[lsn]))
                self._begun.discard(lsn)
        if found:
            yield self._converted(records(transaction_topic(self.options), pl.concat(found)))

    def _with_block(self, frame: pl.DataFrame, order: pl.DataFrame) -> pl.DataFrame:
        own = "row_lsn" if self.options.strict_debezium else "lsn"
        inside = (frame["xid"] > 0) & (frame["op"] != "r")
        blocks = {}
        for name, later in (("transaction", 0), ("transaction_of_second", frame["count"] - 1)):
            block = glue(
                '{"id":"', frame["xid"].cast(pl.String), ":", frame[own].cast(pl.String), '","total_order":',
                (order["total_order"] + later).cast(pl.String), ',"data_collection_order":',
                (order["own_order"] + later).cast(pl.String), "}",
            )  # fmt: skip
            blocks[name] = pl.select(pl.when(inside).then(block).alias("v"))["v"]
        return frame.with_columns(**blocks)

    def _begin(self, lsn: int, ended: dict[str, object] | None, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """`ended` is what is known of a transaction that has ended; one in progress is known by its rows."""
        if ended is not None:
            xid, at, begin = int(str(ended["_xid"])), _micros(ended), int(str(ended["after_begin_lsn"]))
        else:
            rows = pl.concat(frame.select("lsn", "xid", "at", "row_lsn") for frame in frames).filter(pl.col("lsn") == lsn)
            xid, at, begin = rows["xid"][0], rows["at"][0], rows["row_lsn"].sort()[0]
        ident = f"{xid}:{begin if self.options.strict_debezium else lsn}"
        return encode_boundary(self.options, status="BEGIN", ident=ident, at=at, lsn=lsn)

    def _end(self, ended: dict[str, object]) -> pl.DataFrame:
        lsn = int(str(ended["_lsn"]))
        own = ended["after_end_lsn"] if self.options.strict_debezium else lsn
        return encode_boundary(
            self.options, status="END", ident=f"{ended['_xid']}:{own}", at=_micros(ended), lsn=lsn, counts=self._order.end(lsn)
        )

    def _records(self, frame: pl.DataFrame, plan: Plan | None, moment: Moment) -> pa.Table:
        database, told = self._described.database, self.options
        if plan is not None:
            content = self._notation.content_type if self._notation else "application/json"
            stamp = stamp_of(plan, told, database=database, content_type=content)
            if self._notation is not None:
                return self._notation.records(Rows(self.form, frame, plan, told, moment, database, stamp))
        schema, _, table = "".partition(".") if plan is None else plan.relation.partition(".")
        frame = frame.with_columns(source=sources(frame, (schema, table), options=told, database=database))
        if plan is None:
            return self._converted(encode_messages(frame, told, moment))
        if self.form == "debezium":
            return encode_debezium(frame, plan, told, moment, stamp=stamp)
        if self.form == "debezium-unwrapped":
            return encode_unwrapped(frame, plan, told, moment, stamp=stamp)
        return encode_own(frame, plan, told, stamp)

    def _converted(self, table: pa.Table) -> pa.Table:
        return table if self._notation is None else self._notation.converted(table)


def encode(change_set: Iterable[Batch], encoder: Encoder) -> Iterator[pa.Table]:
    """The records of a change set, as tables of one topic each (see `RECORD_SCHEMA`)."""
    return encoder.encode(change_set)


def _micros(row: dict[str, object]) -> int:
    return int(pa.scalar(row["_committed_at"], pa.timestamp("us", "UTC")).value or 0)


def _marks(batch: Batch) -> Iterator[History]:
    """What the next events count their `sequence` from: ends of transactions, and messages outside of any."""
    if batch.relation not in (MESSAGES, TRANSACTIONS):
        return
    frame = pl.DataFrame(pl.from_arrow(batch.data))
    if batch.relation == TRANSACTIONS:
        times = frame["_committed_at"].dt.epoch("us").to_numpy()
        yield History(frame["_lsn"].to_numpy(), frame[AFTER + "end_lsn"].cast(pl.Int64).to_numpy(), times)
    else:
        alone = frame.filter(pl.col("_xid") == 0)["_lsn"].to_numpy()
        yield History(alone, alone, np.full(len(alone), UNKNOWN))


def _message_frame(batch: Batch, history: History) -> pl.DataFrame:
    """Messages; outside of a transaction they have the time of the commit before them, as Debezium says it."""
    frame = pl.DataFrame(pl.from_arrow(batch.data))
    which = history.before(frame["_lsn"].to_numpy() + 1)
    known = history.committed_at[np.maximum(which, 0)] if len(history.committed_at) else np.zeros(len(frame), np.int64)
    return frame.select(
        pl.col("_op").alias("op"), pl.col("_lsn").alias("lsn"), pl.col("_ordinal").alias("ordinal"),
        pl.col("_xid").alias("xid"), pl.col("_committed_at").dt.epoch("us").fill_null(pl.Series(np.where(which >= 0, known, 0))).alias("at"),
        pl.col("_row_lsn").alias("row_lsn") if "_row_lsn" in frame.columns else pl.col("_lsn").alias("row_lsn"),
        pl.col("_lsn").add((pl.col("_xid") == 0).cast(pl.Int64)).alias("reach"), pl.col(AFTER + "prefix").alias("prefix"), pl.col(AFTER + "content").alias("content"),
    )  # fmt: skip

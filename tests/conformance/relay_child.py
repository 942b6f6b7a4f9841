"""A worker that puts a made source on a bus, to be killed and fenced. `ENGINE ADDRESS PREFIX`.

It writes the LSN of each boundary that it has published to stdout, and ends when the source does.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from tests.conformance.buses import ENGINES, FENCED

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_FIELDS, Batch, ChangeSet, Mark, MemoryChangeSet, Twin
from bitvelocity.changes.formats import ColumnFacts, Described, Encoder, Options, TableFacts
from bitvelocity.errors import BusLostError, FencedError
from bitvelocity.streams import Topic
from bitvelocity.streams.relay import Relay

COLUMNS = ("id", "text")
TABLES = ("public.orders", "public.items")
SETS, PAUSE_S = 100, 0.01
_INT, _TEXT = 23, 25
_FACTS = {"id": ColumnFacts(_INT, not_null=True), "text": ColumnFacts(_TEXT)}
DESCRIBED = Described("shop", {name: TableFacts(name, _FACTS, ("id",)) for name in TABLES})


def change_set(number: int) -> MemoryChangeSet:
    """The same whenever it is made: some rows of each table, in one transaction."""
    lsn, ordinals = number * 10, itertools.count()
    batches = [
        batch(relation, [row(lsn, ordinal) for ordinal in itertools.islice(ordinals, (number * 7 + at) % 9)])
        for at, relation in enumerate(TABLES)
    ]
    rows = sum(one.data.num_rows for one in batches)
    return MemoryChangeSet(tuple(one for one in batches if one.data.num_rows), Mark(lsn, lsn + 5, at_micros(lsn), 1, rows))


def row(lsn: int, ordinal: int) -> dict[str, Any]:
    return {"_op": "c", "_lsn": lsn, "_ordinal": ordinal, "_xid": lsn, "_committed_at": at_micros(lsn),
            AFTER + "id": str(lsn * 10 + ordinal), AFTER + "text": f"{lsn}/{ordinal}"}  # fmt: skip


def at_micros(lsn: int) -> int:
    return 1_700_000_000_000_000 + lsn


def batch(relation: str, rows: list[dict[str, Any]]) -> Batch:
    names = [image + name for image in (AFTER, BEFORE) for name in COLUMNS]
    columns = {name: pa.array([one.get(name) for one in rows], kind) for name, kind in SYSTEM_FIELDS}
    columns |= {name: pa.array([one.get(name) for one in rows], pa.string()) for name in names}
    return Batch(relation, COLUMNS, pa.table(columns))


class Made:
    """A source that repeats what was not confirmed, slowly enough to be struck in the middle."""

    def __init__(self, confirmed: int) -> None:
        self.confirmed = self.seen = confirmed

    def snapshot(self, twin: Twin | None = None) -> Iterator[ChangeSet]:
        return iter(())

    def tail(self, timeout: float) -> Iterator[ChangeSet]:
        for number in range(1, SETS + 1):
            one = change_set(number)
            if one.mark.resume > self.confirmed:
                time.sleep(PAUSE_S)
                yield one
                self.seen = one.mark.resume

    def confirm(self, lsn: int) -> None:
        self.confirmed = max(self.confirmed, lsn)
        print(lsn, flush=True)

    def close(self) -> None: ...


def work(engine: str, address: str, prefix: str) -> None:
    options = Options(topic_prefix=prefix, skipped_operations=(), keep_exact=True, schemas_enable=True)
    while True:
        try:
            bus = ENGINES[engine].connect(address)
            encoder = Encoder("debezium", DESCRIBED, options)
            with Relay(
                bus, encoder.encode, name=prefix, boundaries=f"{prefix}.boundaries", start=0,
                topic=lambda name: Topic(name=name, partitions=1 if name.endswith("boundaries") else 2),
            ) as relay:  # fmt: skip
                # two sets before what its predecessor had confirmed: a source may repeat more than is asked
                relay.step(Made(max(0, relay.last.resume - 20) if relay.last else 0), 0.0)
        except BusLostError:
            continue
        return




if __name__ == "__main__":
    try:
        work(*sys.argv[1:])
    except FencedError:
        sys.exit(FENCED)

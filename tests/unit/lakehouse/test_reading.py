"""A reader sees one published state at a time, in its own process, while the writer writes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.changes import Batch, Mark, Position
from bitvelocity.contracts import EntitySpec
from bitvelocity.lakehouse import (
    Care,
    Lake,
    LakeReader,
    LocalTable,
    Watermark,
    event_id,
    publish,
    read_watermark,
)

Make = Callable[..., Batch]
Change = Callable[..., dict[str, Any]]
Publish = Callable[[Lake, Path, int], None]


@pytest.fixture
def lake(tmp_path: Path, spec: EntitySpec) -> Iterator[Lake]:
    made = Lake(tmp_path, [spec], sync=False)
    yield made
    made.close()


@pytest.fixture
def reader(tmp_path: Path, spec: EntitySpec) -> Iterator[LakeReader]:
    with LakeReader(tmp_path, [spec]) as made:
        yield made


def row(number: int, **rest: object) -> dict[str, object]:
    return {"region": "eu", "id": str(number), **rest}


def rows(reader: LakeReader, query: str) -> list[tuple[Any, ...]]:
    return reader.connection.sql(query).fetchall()


def test_before_anything_is_published_every_view_is_there_and_empty(reader: LakeReader) -> None:
    assert reader.refresh() is None
    for name in ("bronze.items", "silver.items", "silver.items_changes", "silver.items_history"):
        assert rows(reader, f"SELECT * FROM {name}") == []


def test_only_the_published_is_seen(
    tmp_path: Path, lake: Lake, reader: LakeReader, batch_of: Make, change: Change, published: Publish
) -> None:
    lake.stage(batch_of(change("c", (1, 0), after=row(1))))
    lake.commit(Mark(1, 1))
    published(lake, tmp_path, 1)
    lake.stage(batch_of(change("c", (2, 0), after=row(2))))
    lake.commit(Mark(2, 2))
    mark = reader.refresh()
    assert mark is not None
    assert mark.position == 1
    assert rows(reader, "SELECT id FROM silver.items") == [(1,)]
    published(lake, tmp_path, 2)
    assert rows(reader, "SELECT id FROM silver.items") == [(1,)], "views move in refresh only"
    reader.refresh()
    assert rows(reader, "SELECT id FROM silver.items ORDER BY 1") == [(1,), (2,)]
    assert reader.connection.cursor().sql("SELECT count(*) FROM silver.items").fetchall() == [(2,)]


def test_bronze_has_the_shape_of_an_event(
    tmp_path: Path, lake: Lake, reader: LakeReader, batch_of: Make, change: Change, published: Publish
) -> None:
    who = {"_committed_at": 86_400_000_001, "_operation_user": "ann", "_correlation_id": "c-1", "_source": "shop"}
    lake.stage(
        batch_of(
            {**change("c", (7, 0), after=row(1, note='a "b"')), **who},
            change("d", (7, 1), before=row(1, note="gone")),
            change("t", (7, 2)),
        )
    )
    lake.commit(Mark(7, 7))
    published(lake, tmp_path, 7)
    reader.refresh()
    seed = "event_id, event_timestamp, source_system, operation_type, table_name, raw_payload, ingestion_date"
    events = rows(reader, f"SELECT {seed} FROM bronze.items ORDER BY _ordinal")
    assert events[0] == (
        event_id("public.items", Position(7, 0)),
        datetime(1970, 1, 2, 0, 0, 0, 1, UTC),
        "shop",
        "INSERT",
        "items",
        '{"region":"eu","id":"1","price":null,"note":"a \\"b\\"","At":null}',
        date(1970, 1, 2),
    )
    assert [event[3] for event in events] == ["INSERT", "DELETE", "TRUNCATE"]
    assert '"note":"gone"' in events[1][5]
    assert events[2][5] is None
    context = "SELECT _operation_user, _correlation_id, after_note, before_note FROM bronze.items WHERE _ordinal = 0"
    assert rows(reader, context) == [("ann", "c-1", 'a "b"', None)]


def test_a_silver_row_carries_its_event(
    tmp_path: Path, lake: Lake, reader: LakeReader, batch_of: Make, change: Change, published: Publish
) -> None:
    lake.stage(batch_of(change("c", (2**60, 2**31 - 1), after=row(1))))
    lake.commit(Mark(2**60, 1))
    lake.fold()
    published(lake, tmp_path, 2**60)
    reader.refresh()
    wanted = event_id("public.items", Position(2**60, 2**31 - 1))
    assert rows(reader, "SELECT _event_id FROM silver.items") == [(wanted,)]
    assert rows(reader, "SELECT event_id FROM bronze.items SEMI JOIN silver.items ON event_id = _event_id") == [(wanted,)]


def test_history_has_the_row_before_each_change(
    tmp_path: Path, lake: Lake, reader: LakeReader, batch_of: Make, change: Change, published: Publish
) -> None:
    lake.stage(
        batch_of(
            change("c", (1, 0), after=row(1, note="a")),
            change("u", (2, 0), after=row(1, note="b")),
            change("d", (3, 0), before=row(1)),
            change("c", (4, 0), after=row(1, note="c")),
        )
    )
    lake.commit(Mark(4, 4))
    published(lake, tmp_path, 4)
    reader.refresh()
    query = "SELECT _op, note, _before.note FROM silver.items_history WHERE region = 'eu' AND id = 1 ORDER BY _lsn"
    assert rows(reader, query) == [("c", "a", None), ("u", "b", "a"), ("d", None, "b"), ("c", "c", None)]


def test_views_follow_folds_roll_ups_and_new_columns(
    tmp_path: Path, lake: Lake, reader: LakeReader, batch_of: Make, change: Change, published: Publish
) -> None:
    for lsn in range(1, 61):
        lake.stage(batch_of(change("c", (lsn, 0), after=row(lsn))))
        lake.commit(Mark(lsn, lsn))
        if lsn % 25 == 0:
            lake.fold()
        published(lake, tmp_path, lsn)
        if lsn % 7 == 0:
            reader.refresh()
            assert rows(reader, "SELECT count(*), count(DISTINCT id) FROM silver.items") == [(lsn, lsn)]
            assert rows(reader, "SELECT count(*) FROM bronze.items") == [(lsn,)]
    wide = batch_of(change("c", (61, 0), after=row(61, extra="new")), columns=("region", "id", "extra"))
    lake.stage(wide)
    lake.commit(Mark(61, 61))
    published(lake, tmp_path, 61)
    reader.refresh()
    assert rows(reader, "SELECT raw_payload->>'extra' FROM bronze.items WHERE after_extra IS NOT NULL") == [("new",)]


@dataclass(frozen=True)
class Model:
    name: str
    key: tuple[str, ...]
    schema: pa.Schema


def test_gold_is_read_plain_and_in_layers(tmp_path: Path, spec: EntitySpec) -> None:
    schema = pa.schema([pa.field("day", pa.int32()), pa.field("sum", pa.int64())])
    log_schema = pa.schema([pa.field("_op", pa.string()), pa.field("_lsn", pa.int64()), pa.field("_ordinal", pa.int32()), *schema])
    model = Model("daily", ("day",), schema)
    with LakeReader(tmp_path, [spec], [model]) as reader:
        assert rows(reader, "SELECT * FROM gold.daily") == []
        base = LocalTable.open(tmp_path / "gold" / "daily", schema, statistics=(), sync=False)
        base.commit([base.stage(pa.table({"day": [1, 2], "sum": [10, 20]}))], 5)
        publish(tmp_path, Watermark(position=5, resume=5, tables={"gold/daily": base.version()}), sync=False)
        reader.refresh()
        assert rows(reader, "SELECT * FROM gold.daily ORDER BY day") == [(1, 10), (2, 20)]
        log = LocalTable.open(tmp_path / "gold" / "daily_changes", log_schema, sync=False)
        changes = {"_op": ["u", "d", "c"], "_lsn": [6] * 3, "_ordinal": [0, 1, 2], "day": [1, 2, 3], "sum": [11, None, 30]}
        log.commit([log.stage(pa.table(changes))], 6)
        tables = {"gold/daily": base.version(), "gold/daily_changes": log.version()}
        publish(tmp_path, Watermark(position=6, resume=6, tables=tables), sync=False)
        reader.refresh()
        assert rows(reader, "SELECT * FROM gold.daily ORDER BY day") == [(1, 11), (3, 30)]


def test_the_watermark_comes_back_as_it_was(tmp_path: Path) -> None:
    assert read_watermark(tmp_path) is None
    mark = Watermark(position=2**60, resume=5, seen=6, committed_at=7, published_at=8, tables={"a/b": 1}, gold_position=3)
    publish(tmp_path, mark)
    assert read_watermark(tmp_path) == mark


READER = """
import pickle, sys
from pathlib import Path
from bitvelocity.lakehouse import LakeReader

root = Path(sys.argv[1])
spec = pickle.loads(bytes.fromhex(sys.argv[2]))
states = set()
with LakeReader(root, [spec]) as reader:
    print("ready", flush=True)
    while not (root / "stop").exists():
        mark = reader.refresh()
        if mark is None:
            continue
        run = lambda sql: reader.connection.execute(sql).fetchone()
        keys, total = run("SELECT count(*), count(DISTINCT id) FROM silver.items")
        assert keys == total == min(mark.position, 10), (keys, total, mark.position)
        assert run("SELECT count(*) FROM silver.items_changes") == (mark.position,)
        assert run("SELECT count(*), max(_lsn) FROM bronze.items") == (mark.position, mark.position)
        states.add(mark.position)
print(len(states))
"""


def test_a_reader_beside_a_busy_writer_never_errs(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change, published: Publish
) -> None:
    """Commits, roll-ups, folds and checkpoints; the reader opens exactly what is published, each time."""
    lake = Lake(tmp_path, [spec], sync=False, care=Care(fold_rows=20, fold_rest=0))
    command = [sys.executable, "-c", READER, str(tmp_path), pickle.dumps(spec).hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as beside:
        assert beside.stdout is not None
        assert beside.stdout.readline() == "ready\n"
        for lsn in range(1, 401):
            lake.stage(batch_of(change("c" if lsn <= 10 else "u", (lsn, 0), after=row(lsn % 10))))
            lake.commit(Mark(lsn, lsn))
            published(lake, tmp_path, lsn)
        (tmp_path / "stop").touch()
        seen, problems = beside.communicate()
    assert beside.returncode == 0, problems
    assert int(seen) > 1
    lake.close()

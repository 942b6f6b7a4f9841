"""A table of one writer: what it keeps, what it refuses, how it stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from bitvelocity.errors import LakeError
from bitvelocity.lakehouse import LocalTable
from bitvelocity.lakehouse.deltalog import APP, TableState, entry_path
from bitvelocity.lakehouse.lease import Lease

FIELDS: dict[str, pa.DataType] = {"_lsn": pa.int64(), "name": pa.string()}
SCHEMA = pa.schema(FIELDS)


def opened(path: Path, schema: pa.Schema = SCHEMA) -> LocalTable:
    return LocalTable.open(path, schema, sync=False)


def rows(*lsns: int) -> pa.Table:
    return pa.table({"_lsn": pa.array(lsns, pa.int64()), "name": pa.array([f"n{n}" for n in lsns], pa.string_view())})


def append(table: LocalTable, *lsns: int) -> None:
    table.commit([table.stage(rows(*lsns))], max(lsns))


def contents(path: Path) -> list[int]:
    return sorted(int(str(lsn)) for lsn in DeltaTable(path).to_pyarrow_table()["_lsn"])


def parquet_files(path: Path) -> set[str]:
    return {file.name for file in path.glob("*.parquet")}


def test_a_reopened_table_knows_its_files_and_position(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    append(table, 1, 2)
    append(table, 3)
    again = opened(tmp_path / "t")
    assert (again.version(), again.position(), again.files()) == (2, 3, table.files())
    assert again.files()[0].low == {"_lsn": 1}
    assert again.files()[0].high == {"_lsn": 2}


def test_a_table_never_written_has_no_position(tmp_path: Path) -> None:
    assert opened(tmp_path / "t").position() == -1


def test_a_crash_while_creating_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "t" / "_delta_log").mkdir(parents=True)
    append(opened(tmp_path / "t"), 1)
    assert contents(tmp_path / "t") == [1]


def test_a_position_is_never_committed_twice(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    append(table, 5)
    staged = table.stage(rows(5))
    with pytest.raises(LakeError, match="would repeat rows"):
        table.commit([staged], 5)
    assert contents(tmp_path / "t") == [5]


def test_replace_leaves_only_the_new_rows(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    append(table, 1)
    append(table, 2)
    table.commit([table.stage(rows(9))], 9, replace=True)
    assert contents(tmp_path / "t") == [9]
    table.commit([], 9, replace=True)
    assert contents(tmp_path / "t") == []


def test_staged_rows_are_invisible_and_can_be_discarded(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    append(table, 1)
    staged = table.stage(rows(2))
    assert contents(tmp_path / "t") == [1]
    table.discard([staged])
    assert len(parquet_files(tmp_path / "t")) == 1


def test_new_columns_are_added_and_old_rows_have_null_there(tmp_path: Path) -> None:
    append(opened(tmp_path / "t"), 1)
    wider = pa.schema([*SCHEMA, pa.field("price", pa.decimal128(10, 2))])
    table = opened(tmp_path / "t", wider)
    append(table, 2)
    read = DeltaTable(tmp_path / "t").to_pyarrow_table().sort_by("_lsn")
    assert read.column_names == ["_lsn", "name", "price"]
    assert read["price"].to_pylist() == [None, None]
    assert opened(tmp_path / "t", SCHEMA).schema.names == ["_lsn", "name", "price"], "a column never goes away"


def test_a_changed_type_is_refused_and_nothing_happens(tmp_path: Path) -> None:
    append(opened(tmp_path / "t"), 1)
    with pytest.raises(LakeError, match=r"column name .* is string, not int64"):
        opened(tmp_path / "t", pa.schema([("_lsn", pa.int64()), ("name", pa.int64())]))
    assert contents(tmp_path / "t") == [1]


@pytest.mark.parametrize("kind", [pa.time64("us"), pa.duration("us"), pa.timestamp("us")])
def test_a_type_that_some_reader_lacks_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    with pytest.raises(LakeError):
        opened(tmp_path / "t", pa.schema([("moment", kind)]))
    assert not (tmp_path / "t").exists()


def test_rows_with_an_unknown_column_are_refused(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    with pytest.raises(LakeError, match="no column other"):
        table.stage(pa.table({"_lsn": [1], "other": ["x"]}))


def test_the_protocol_is_the_oldest_one(tmp_path: Path) -> None:
    append(opened(tmp_path / "t"), 1)
    protocol = DeltaTable(tmp_path / "t").protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert not protocol.reader_features
    assert not protocol.writer_features


def test_another_writer_is_noticed_before_anything_is_doubled(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    append(table, 1)
    write_deltalake(tmp_path / "t", rows(100).cast(SCHEMA), mode="append")
    with pytest.raises(LakeError, match="another writer"):
        append(table, 2)
    assert contents(tmp_path / "t") == [1, 100]


def test_a_foreign_rewrite_of_the_same_rows_is_taken_along(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    for lsn in range(1, 5):
        append(table, lsn)
    DeltaTable(tmp_path / "t").optimize.compact()
    append(table, 5)
    assert contents(tmp_path / "t") == [1, 2, 3, 4, 5]
    table.commit([table.stage(rows(6))], 6, replace=True)
    assert contents(tmp_path / "t") == [6]


def test_a_roll_up_that_comes_too_late_is_dropped(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    append(table, 1)
    append(table, 2)
    old = table.files()
    late = table.stage(rows(1, 2))
    table.commit([table.stage(rows(3))], 3, replace=True)
    assert not table.swap(old, [late])
    assert contents(tmp_path / "t") == [3]
    assert late.file.path not in parquet_files(tmp_path / "t")


@pytest.mark.parametrize("threads", [0, 1])
def test_many_commits_leave_few_files_and_every_row(tmp_path: Path, threads: int) -> None:
    table = opened(tmp_path / "t")
    with ThreadPoolExecutor(1) as pool:
        for lsn in range(1, 101):
            append(table, lsn)
            table.maintain(pool if threads else None, roll_up=10, checkpoint_every=1000)
        for _ in range(10):  # a thread that had no turn comes to it now
            table.upkeep.settle()
            table.maintain(pool if threads else None, roll_up=10, checkpoint_every=1000)
        table.upkeep.settle()
    assert contents(tmp_path / "t") == list(range(1, 101))
    assert table.position() == 100
    assert len(table.files()) < 30


def test_a_roll_up_reads_back_what_memory_no_longer_has(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    for lsn in range(1, 8):
        append(table, lsn)
    again = opened(tmp_path / "t", pa.schema([*SCHEMA, pa.field("late", pa.int32())]))
    append(again, 8)
    again.maintain(roll_up=8)
    assert len(again.files()) == 1
    assert contents(tmp_path / "t") == list(range(1, 9))


def test_replaced_files_live_for_the_grace_period(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    for lsn in range(1, 5):
        append(table, lsn)
    before = parquet_files(tmp_path / "t")
    table.maintain(roll_up=4, keep=3600)
    table.maintain(roll_up=4, keep=3600)
    assert before <= parquet_files(tmp_path / "t")
    table.maintain(roll_up=4, keep=0)
    assert parquet_files(tmp_path / "t") == {file.path for file in table.files()}


def test_checkpoints_let_old_log_entries_go_and_every_reader_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t"
    table = opened(path)
    following = TableState.load(path, APP)
    for lsn in range(1, 61):
        append(table, lsn)
        table.maintain(roll_up=8, checkpoint_every=10, keep=0)
    assert len(list((path / "_delta_log").glob("*.json"))) < 40
    assert not entry_path(path, 1).exists()
    assert not following.advance(table.version()), "the entries between are gone: it must load anew"
    assert contents(path) == list(range(1, 61))
    again = opened(path)
    assert (again.position(), again.version()) == (60, table.version())
    assert {file.path for file in again.files()} == {file.path for file in table.files()}
    behind = TableState.load(path, APP, table.version() - 3)
    assert behind.advance(table.version())
    assert behind.files.keys() == {file.path for file in table.files()}


def test_a_table_that_is_opened_again_and_again_is_checkpointed_too(tmp_path: Path) -> None:
    for lsn in range(1, 13):
        table = opened(tmp_path / "t")
        append(table, lsn)
        table.maintain(checkpoint_every=5)
    assert len(list((tmp_path / "t" / "_delta_log").glob("*.checkpoint*.parquet"))) == 2
    assert contents(tmp_path / "t") == list(range(1, 13))


def test_orphans_of_a_crash_go_and_replaced_files_stay(tmp_path: Path) -> None:
    path = tmp_path / "t"
    table = opened(path)
    append(table, 1)
    append(table, 2)
    table.maintain(roll_up=2, keep=3600)
    replaced = parquet_files(path) - {file.path for file in table.files()}
    orphan = table.stage(rows(3)).file.path
    (path / "_delta_log" / ".half.tmp").write_text("{")
    opened(path).maintain(keep=3600)
    assert orphan not in parquet_files(path)
    assert replaced <= parquet_files(path)
    assert not list((path / "_delta_log").glob(".*.tmp"))


def test_a_commit_says_why(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    table.commit([table.stage(rows(1))], 1, info={"reason": "test"})
    assert json.loads(DeltaTable(tmp_path / "t").history(1)[0]["userMetadata"]) == {"reason": "test"}


def test_a_folder_that_is_gone_is_an_error_of_the_lake(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    (tmp_path / "t").rename(tmp_path / "moved")
    with pytest.raises(LakeError, match="No such file"):
        table.stage(rows(1))


def test_a_broken_log_is_an_error_of_the_lake(tmp_path: Path) -> None:
    append(opened(tmp_path / "t"), 1)
    entry_path(tmp_path / "t", 1).write_text("not json\n")
    with pytest.raises(LakeError, match="cannot be opened"):
        opened(tmp_path / "t")


def test_a_lake_has_one_lease(tmp_path: Path) -> None:
    lease = Lease.take(tmp_path)
    with pytest.raises(LakeError, match=f"process {os.getpid()}"):
        Lease.take(tmp_path)
    lease.release()
    Lease.take(tmp_path).release()


def test_a_lease_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bitvelocity.lakehouse.lease import Lease;"
        "Lease.take(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert died.returncode == -9
    Lease.take(tmp_path).release()

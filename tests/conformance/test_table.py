"""The promises of `lakehouse.Table`, over every engine that keeps tables, and read by engines that are not ours."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from tests.forked import python

from bitvelocity.lakehouse import LocalTable

FIELDS: dict[str, pa.DataType] = {
    "_lsn": pa.int64(),
    "flag": pa.bool_(),
    "small": pa.int16(),
    "price": pa.decimal128(10, 2),
    "ratio": pa.float64(),
    "text": pa.string(),
    "bytes": pa.binary(),
    "day": pa.date32(),
    "moment": pa.timestamp("us", "UTC"),
}
SCHEMA = pa.schema(FIELDS)
ROWS: list[dict[str, object]] = [
    {
        "_lsn": 1, "flag": True, "small": -5, "price": Decimal("12345678.90"), "ratio": 0.1, "text": "ä €", "bytes": b"\0",
        "day": date(1900, 2, 28), "moment": datetime(2024, 2, 29, 23, 59, 59, 999999, UTC),
    },
    {"_lsn": 2} | dict.fromkeys(SCHEMA.names[1:]),
    {
        "_lsn": 3, "flag": False, "small": 5, "price": Decimal("-0.01"), "ratio": 1e300, "text": "", "bytes": b"",
        "day": date(9999, 12, 31), "moment": datetime(1969, 12, 31, 23, 59, 59, 1, UTC),
    },
]  # fmt: skip
STEPS = ("staged", "written", "linked", "committed")

Read = Callable[[Path, LocalTable], list[dict[str, object]]]


def by_delta_rs(path: Path, _: LocalTable) -> list[dict[str, object]]:
    return DeltaTable(path).to_pyarrow_table().sort_by("_lsn").to_pylist()


def by_duckdb(path: Path, table: LocalTable) -> list[dict[str, object]]:
    files = [str(path / file.path) for file in table.files()]
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        found = engine.sql("SELECT * FROM read_parquet($files) ORDER BY _lsn", params={"files": files})
        rows: list[dict[str, object]] = found.to_arrow_table().cast(SCHEMA).to_pylist()
        return rows


@pytest.mark.parametrize("read", [by_delta_rs, by_duckdb])
@pytest.mark.parametrize("text", [pa.string(), pa.string_view(), pa.large_string()])
def test_other_engines_read_what_was_written(tmp_path: Path, read: Read, text: pa.DataType) -> None:
    table = LocalTable.open(tmp_path / "t", SCHEMA, dictionary=("text",), statistics=("_lsn", "day"), sync=False)
    written = pa.Table.from_pylist(ROWS, SCHEMA)
    at = SCHEMA.get_field_index("text")
    table.commit([table.stage(written.set_column(at, "text", written["text"].cast(text)))], 3)
    assert read(tmp_path / "t", table) == ROWS


@pytest.mark.parametrize("read", [by_delta_rs, by_duckdb])
def test_they_read_rolled_up_files_and_checkpoints_too(tmp_path: Path, read: Read) -> None:
    table = LocalTable.open(tmp_path / "t", SCHEMA, sync=False)
    for row in ROWS:
        table.commit([table.stage(pa.Table.from_pylist([row], SCHEMA))], int(str(row["_lsn"])))
    table.maintain(roll_up=3)
    table.maintain(checkpoint_every=1)
    assert len(table.files()) == 1
    assert (tmp_path / "t" / "_delta_log" / "_last_checkpoint").exists()
    assert read(tmp_path / "t", table) == ROWS


def test_delta_rs_knows_the_position_and_prunes_by_it(tmp_path: Path) -> None:
    table = LocalTable.open(tmp_path / "t", SCHEMA, sync=False)
    for row in ROWS:
        table.commit([table.stage(pa.Table.from_pylist([row], SCHEMA))], int(str(row["_lsn"])))
    other = DeltaTable(tmp_path / "t")
    assert other.transaction_version("bitvelocity") == 3
    adds = pa.table(other.get_add_actions(flatten=True))
    assert set(adds["min._lsn"].to_pylist()) == {1, 2, 3}
    assert adds["num_records"].to_pylist() == [1, 1, 1]


WRITER = """
import os, sys
from pathlib import Path
import pyarrow as pa
from bitvelocity.lakehouse import LocalTable

path, step, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def fault(at):
    global count
    if at == step:
        count -= 1
        if count == 0:
            os.kill(os.getpid(), 9)

schema = pa.schema([("_lsn", pa.int64()), ("n", pa.int32())])
table = LocalTable.open(path, schema, at=fault)
for lsn in range(table.position() + 1, table.position() + 40):
    piece = lambda low: table.stage(pa.table({"_lsn": [lsn] * 5, "n": pa.array(range(low, low + 5), pa.int32())}))
    table.commit([piece(0), piece(5)], lsn)
    table.maintain(roll_up=6, checkpoint_every=9, keep=0)
"""


@pytest.mark.parametrize("step", STEPS)
def test_kill_nine_at_any_step_never_leaves_half_a_commit(tmp_path: Path, step: str) -> None:
    """Rows and position agree, whatever the writer was doing; the next one goes on from there."""
    dice = random.Random(step)
    path = tmp_path / "t"
    positions = []
    for _ in range(3):
        died = python("-c", WRITER, str(path), step, str(dice.randint(1, 30)))
        assert died.returncode == -9, died.stderr
        table = DeltaTable(path)
        position = table.transaction_version("bitvelocity")
        last = -1 if position is None else position
        read = table.to_pyarrow_table()
        assert sorted(zip(read["_lsn"].to_pylist(), read["n"].to_pylist(), strict=True)) == [
            (lsn, n) for lsn in range(last + 1) for n in range(10)
        ]
        positions.append(last)
    assert positions == sorted(positions)
    assert positions[-1] > 0
    table_again = LocalTable.open(path, pa.schema([("_lsn", pa.int64()), ("n", pa.int32())]))
    live = {file.path for file in table_again.files()}
    for _ in range(3):
        table_again.maintain(roll_up=1000, keep=0)
    assert {file.name for file in path.glob("*.parquet")} == live, "nothing is left lying about"

"""The table of dead letters is tended like all others of the lake, and no letter of it is lost or doubled."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from bitvelocity.changes import Mark
from bitvelocity.contracts import EntitySpec
from bitvelocity.lakehouse import (
    LETTER_NAME,
    LETTERS_SCHEMA,
    Care,
    DeadLetters,
    Lake,
    LocalTable,
    count_parked,
    stored_letters,
)

COUNT = 40


def letter(offset: int) -> pa.Table:
    row: dict[str, Any] = {"topic": "t", "partition": 0, "offset": offset, "timestamp": 0, "key": b"k", "state": "parked", "holds": True}
    return pa.Table.from_pylist([row], schema=LETTERS_SCHEMA)


def many(offsets: range) -> pa.Table:
    count = len(offsets)
    held: dict[str, list[Any]] = {"topic": ["t"] * count, "partition": [0] * count, "offset": list(offsets), "timestamp": [0] * count}
    more: dict[str, list[Any]] = {"key": [b"k"] * count, "state": ["parked"] * count, "holds": [True] * count}
    absent: dict[str, list[Any]] = {name: [None] * count for name in LETTERS_SCHEMA.names if name not in held | more}
    return pa.Table.from_pydict(held | more | absent, schema=LETTERS_SCHEMA)


def stored(root: Path) -> list[dict[str, Any]]:
    rows = pa.concat_tables(stored_letters(root, ["offset", "state", "ended_at"])).to_pylist()
    return sorted(rows, key=lambda row: int(row["offset"]))


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def names(*offsets: int, timestamp: int = 1) -> pa.Table:
    rows = [{"topic": "t", "partition": 0, "offset": offset, "timestamp": timestamp} for offset in offsets]
    return pa.Table.from_pylist(rows, schema=LETTER_NAME)


def test_which_are_here_and_which_wait(tmp_path: Path) -> None:
    """By topic, place and time, and by key behind the first that holds it; the same after a restart, and after it has ended."""
    kept = [
        {"topic": "t", "partition": 0, "offset": 5, "timestamp": 1, "key": b"k", "state": "parked", "holds": True},
        {"topic": "t", "partition": 1, "offset": 3, "timestamp": None, "key": None, "state": "parked", "holds": False},
        {"topic": "t", "partition": 0, "offset": 7, "timestamp": 1, "key": b"k", "state": "parked", "holds": True},
    ]
    asked = [(0, 5, 1, b"k"), (0, 5, 2, b"k"), (0, 4, 1, b"k"), (0, 6, 1, b"k"), (0, 6, 1, b"j"), (1, 3, None, b"x"), (1, 4, None, None)]
    kinds: list[tuple[str, pa.DataType]] = [("partition", pa.int32()), ("offset", pa.int64()), ("timestamp", pa.timestamp("us", "UTC")), ("key", pa.binary())]
    fields = pa.schema(kinds)
    records = pa.Table.from_pylist([dict(zip(fields.names, row, strict=True)) for row in asked], schema=fields)
    for number in range(3):
        letters = DeadLetters(tmp_path, sync=False)
        assert letters.held(records, "other").tolist() == [False] * 7
        if not number:
            letters.park(pa.Table.from_pylist(kept, schema=LETTERS_SCHEMA))
        held = [True, False, False, number < 2, False, True, False]
        assert letters.held(records, "t").tolist() == held
        if number == 1:
            letters.end(names(5, 7), "dropped")
        letters.commit(number + 1)
        letters.conclude(number + 1)
    assert count_parked(tmp_path) == 1


def test_what_ended_long_ago_goes_and_all_else_stays(tmp_path: Path) -> None:
    """Over several files and row groups; what is put into an order at the same time ends, and nothing goes with it."""
    letters = DeadLetters(tmp_path, sync=False)
    for number, offsets in enumerate([range(5), range(5, 50_000)]):
        letters.park(pa.concat_tables([letter(offsets[0]), many(offsets[1:])]))
        letters.commit(number)
    for state, ended in (("dropped", [1, 7, 30_000]), ("replayed", [2, 49_999])):
        letters.end(names(*ended, timestamp=0), state)
        letters.conclude(2)
    told = stored(tmp_path)
    ends = {row["offset"]: row["ended_at"] for row in told if row["state"] != "parked"}
    assert ends.keys() == {1, 7, 30_000, 2, 49_999}
    assert all(row["ended_at"] is None for row in told if row["state"] == "parked")
    letters.expire(micros(ends[7]))  # at that moment, not before it
    letters.conclude(3)
    assert len(stored(tmp_path)) == 50_000
    again = DeadLetters(tmp_path, sync=False)
    again.expire(micros(ends[2]))
    again.end(names(3, timestamp=0), "dropped")
    again.conclude(4)
    assert len(stored(tmp_path)) == 50_000
    again.expire(micros(ends[2]))
    again.rollback()
    again.conclude(5)
    assert len(stored(tmp_path)) == 50_000
    again.expire(micros(ends[2]))
    again.conclude(6)
    left = {row["offset"]: row["state"] for row in stored(tmp_path)}
    assert left.keys() == set(range(50_000)) - {1, 7, 30_000}
    assert {offset: state for offset, state in left.items() if state != "parked"} == {2: "replayed", 3: "dropped", 49_999: "replayed"}
    assert not again.fresh(letter(2)).any()


def test_a_table_of_before_is_taken_over(tmp_path: Path) -> None:
    """What had ended then counts from when it is first looked at."""
    old = LETTERS_SCHEMA.remove(LETTERS_SCHEMA.get_field_index("ended_at"))
    table = LocalTable.open(tmp_path / "bronze" / "_dead_letters", old, sync=False)
    rows = pa.concat_tables([letter(number) for number in range(3)]).drop_columns(["ended_at"])
    table.commit([table.stage(rows.set_column(rows.column_names.index("state"), "state", pa.array(["parked", "dropped", "replayed"])))], 7)
    assert [row["ended_at"] for row in stored(tmp_path)] == [None] * 3
    letters, now = DeadLetters(tmp_path, sync=False), time.time_ns() // 1000
    letters.expire(now - 1)
    letters.conclude(8)
    ends = [row["ended_at"] for row in stored(tmp_path)]
    assert ends[0] is None
    assert all(micros(end) >= now for end in ends[1:])
    letters.expire(micros(ends[1]) + 1)
    letters.conclude(9)
    assert [row["offset"] for row in stored(tmp_path)] == [0]


def test_its_files_and_log_stay_few(tmp_path: Path, spec: EntitySpec) -> None:
    lake = Lake(tmp_path, [spec], sync=False, care=Care(roll_up=6, checkpoint_every=5, keep=0.0))
    for number in range(COUNT):
        assert lake.letters.park(letter(number)).num_rows == 1
        lake.commit(Mark(number + 1, number + 1))
        lake.tend(wait=True)
        assert lake.letters.park(letter(number)).num_rows == 0
        if number == COUNT // 2:
            lake.letters.end(names(3, timestamp=0), "replayed")
    assert lake.letters.table is not None
    assert len(lake.letters.table.files()) <= 7
    assert list((tmp_path / "bronze" / "_dead_letters" / "_delta_log").glob("*.checkpoint*"))
    lake.close()
    found = pa.concat_tables(stored_letters(tmp_path))
    assert sorted(found["offset"].to_numpy()) == list(range(COUNT))
    assert [row["offset"] for row in found.to_pylist() if row["state"] == "replayed"] == [3]

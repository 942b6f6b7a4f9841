"""The table of dead letters is tended like all others of the lake, and no letter of it is lost or doubled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from bitvelocity.changes import Mark
from bitvelocity.contracts import EntitySpec
from bitvelocity.lakehouse import (
    LETTERS_SCHEMA,
    Care,
    DeadLetters,
    Lake,
    count_parked,
    identities,
    stored_letters,
)

COUNT = 40


def letter(offset: int) -> pa.Table:
    row: dict[str, Any] = {"topic": "t", "partition": 0, "offset": offset, "timestamp": 0, "key": b"k", "state": "parked", "holds": True}
    return pa.Table.from_pylist([row], schema=LETTERS_SCHEMA)


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
            letters.end([("t", 0, 5, 1), ("t", 0, 7, 1)], "dropped")
        letters.commit(number + 1)
        letters.conclude(number + 1)
    assert count_parked(tmp_path) == 1


def test_its_files_and_log_stay_few(tmp_path: Path, spec: EntitySpec) -> None:
    lake = Lake(tmp_path, [spec], sync=False, care=Care(roll_up=6, checkpoint_every=5, keep=0.0))
    for number in range(COUNT):
        assert lake.letters.park(letter(number)).num_rows == 1
        lake.commit(Mark(number + 1, number + 1))
        lake.settle()
        assert lake.letters.park(letter(number)).num_rows == 0
        if number == COUNT // 2:
            lake.letters.end([("t", 0, 3, 0)], "replayed")
    assert lake.letters.table is not None
    assert len(lake.letters.table.files()) <= 7
    assert list((tmp_path / "bronze" / "_dead_letters" / "_delta_log").glob("*.checkpoint*"))
    lake.close()
    found = stored_letters(tmp_path)
    assert sorted(identities(found)) == [("t", 0, number, 0) for number in range(COUNT)]
    assert [row["offset"] for row in found.to_pylist() if row["state"] == "replayed"] == [3]

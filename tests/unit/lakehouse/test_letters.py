"""The table of dead letters is tended like all others of the lake, and no letter of it is lost or doubled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from bitvelocity.changes import Mark
from bitvelocity.contracts import EntitySpec
from bitvelocity.lakehouse import LETTERS_SCHEMA, Care, Lake, identities, stored_letters

COUNT = 40


def letter(offset: int) -> pa.Table:
    row: dict[str, Any] = {"topic": "t", "partition": 0, "offset": offset, "timestamp": 0, "key": b"k", "state": "parked", "holds": True}
    return pa.Table.from_pylist([row], schema=LETTERS_SCHEMA)


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

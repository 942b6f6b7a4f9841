"""Batches of several tables that wait for each other, and come out in the order of the source."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from bitvelocity.changes import Batch
from bitvelocity.flow.sluice import Sluice

ROWS = 8
Row = tuple[int, int]
CHANGES = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 40), st.sampled_from("abc"), st.integers(0, 2)), unique_by=lambda row: row[:2])


def batch(table: str, shape: int, rows: list[Row]) -> Batch:
    """`shape`: of how many columns; a table that was altered has another."""
    names = tuple(f"c{number}" for number in range(shape))
    data = {"_lsn": pa.array([lsn for lsn, _ in rows], pa.int64()), "_ordinal": pa.array([n for _, n in rows], pa.int32())}
    texts = pa.array([f"{table}{lsn}.{n}" for lsn, n in rows])
    return Batch(f"public.{table}", names, pa.table(data | dict.fromkeys(names, texts)))


@settings(max_examples=60, deadline=None)
@given(CHANGES, st.integers(1, 7))
def test_all_comes_out_once_and_in_order(changes: list[tuple[int, int, str, int]], size: int) -> None:
    with TemporaryDirectory() as folder:
        sluice = Sluice(Path(folder) / "waiting", ROWS, piece=ROWS)
        changes = sorted(changes)
        for at in range(0, len(changes), size):
            part = changes[at : at + size]
            for table, shape in dict.fromkeys((name, shape) for _, _, name, shape in part):
                mine = [(lsn, n) for lsn, n, name, _ in part if name == table]
                if shape == next(kind for _, _, name, kind in part if name == table):  # one batch of a table each time
                    sluice.add(batch(table, shape, mine))
        pieces = list(sluice.pieces())
        told = [sorted((*key, one.relation[-1]) for one in piece for key in _keys(one)) for piece in pieces]
        assert [row for piece in told for row in piece] == [row[:3] for row in changes]
        assert all(len(piece) <= 2 * ROWS for piece in told)
        for one in (one for piece in pieces for one in piece):
            assert [len(one.columns) + 2] == [one.data.num_columns]
            for name in one.columns:
                assert one.data[name].to_pylist() == [f"{one.relation[-1]}{lsn}.{n}" for lsn, n in _keys(one)]
        sluice.clear()
        assert (list(sluice.pieces()), bool(sluice), list(Path(folder).iterdir())) == ([], False, [])


def test_most_of_it_waits_on_disk(tmp_path: Path) -> None:
    sluice = Sluice(tmp_path / "waiting", ROWS, piece=ROWS)
    for ordinal in range(100):
        sluice.add(batch("ab"[ordinal % 2], 1, [(1, ordinal)]))
    assert len(list((tmp_path / "waiting").iterdir())) == 2 * (100 // ROWS)
    assert not Sluice(tmp_path / "waiting", ROWS, piece=ROWS), "what a predecessor left is dropped"
    assert not (tmp_path / "waiting").exists()


def test_what_waits_on_disk_is_not_in_memory(tmp_path: Path) -> None:
    sluice, before, most = Sluice(tmp_path / "waiting", 1_000, piece=1_000), pa.total_allocated_bytes(), 0
    for number in range(100):
        sluice.add(batch("a", 2, [(1, number * 1_000 + n) for n in range(1_000)]))
        most = max(most, pa.total_allocated_bytes() - before)
    rows = 0
    for piece in sluice.pieces():
        rows += sum(one.data.num_rows for one in piece)
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 100_000
    assert most < 1_000_000, "a hundredth of it is about 50 kB"


def _keys(one: Batch) -> list[Row]:
    rows: list[Any] = one.data.select(["_lsn", "_ordinal"]).to_pylist()
    return [(row["_lsn"], row["_ordinal"]) for row in rows]

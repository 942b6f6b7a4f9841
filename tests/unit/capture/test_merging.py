"""Changes of one table from several partitions come in one order."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.capture.debezium.merging import Piece, merged
from bitvelocity.changes import Batch


def piece(lane: str, rows: list[int], *, told: bool = True, text: bool = False) -> Piece:
    """Changes whose value is their LSN, 10 to a transaction; as numbers, or as text."""
    data = pa.table({"after_a": pa.array([str(row) for row in rows] if text else rows, pa.string() if text else pa.int64())})
    places = {"commit": [row // 10 * 10 for row in rows], "lsn": [row if told else None for row in rows]}
    return Piece(lane, Batch("public.t", ("a",), data), pl.DataFrame(places, schema={"commit": pl.Int64, "lsn": pl.Int64}))


def values(batches: list[Batch]) -> list[int]:
    return [int(str(value)) for batch in batches for value in batch.data["after_a"].to_pylist()]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(0, 40))
def test_they_come_in_the_order_of_commits(lanes: list[int], altered: int) -> None:
    """Whichever lane each stands in, and whatever their values look like from some row on."""
    stand = {lane: [row for row, other in enumerate(lanes) if other == lane] for lane in lanes}
    pieces = [
        piece(f"t/{lane}", part, text=text)
        for lane, rows in stand.items()
        for text in (False, True)
        if (part := [row for row in rows if (row >= altered) == text])
    ]
    assert values(merged(pieces)) == list(range(len(lanes)))


def test_what_does_not_tell_its_place_stays_behind_what_it_came_after() -> None:
    one, other = [piece("t/0", [1, 12]), piece("t/0", [99], told=False)], [piece("t/1", [5, 13])]
    assert values(merged([*one, *other])) == [1, 5, 12, 99, 13]
    assert values(merged([*other, *one])) == [1, 5, 12, 99, 13]


def test_a_lane_alone_is_left_as_it_is() -> None:
    only = [piece("t/0", [3, 1]), piece("t/0", [2])]
    assert merged(only) == [one.batch for one in only]

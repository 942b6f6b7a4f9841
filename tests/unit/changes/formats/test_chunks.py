"""Records as they came, in several chunks: what is read of them is what one array would give."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.changes.formats.heads import header_columns
from bitvelocity.changes.formats.texts import text_of

from .test_avro import ROWS, decoded, encoded, frame
from .test_encoder import batch

NAMES = ("a", "bb", "", "nobody's")
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES[:3]), st.none() | st.binary(max_size=3)), max_size=4)
MAP: Any = pa.map_(pa.string(), pa.binary())


@given(st.lists(HEADERS, max_size=6), st.integers(1, 3), st.booleans())
def test_headers_of_any_shape(rows: list[list[tuple[str, bytes | None]]], size: int, alike: bool) -> None:
    if alike:
        rows = [[*rows[0]] for _ in rows]
    whole: Any = pa.array(rows, MAP)
    chunks: Any = pa.chunked_array([whole.slice(at, size) for at in range(0, len(rows), size)], MAP)
    wanted = {name: [dict(row).get(name) for row in rows] for name in NAMES}
    for held in (whole, chunks):
        assert {name: column.to_list() for name, column in header_columns(held, NAMES).items()} == wanted


@pytest.mark.parametrize("form", ["debezium", "bitvelocity", "debezium-unwrapped"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_values_in_chunks_are_the_same_batches(form: str, size: int) -> None:
    ids, table = encoded(form, batch(ROWS))
    whole, parts = (decoded(form, ids, each) for each in (table.combine_chunks(), _cut(table, size)))
    assert len(whole.batches) > 0
    assert len(parts.batches) == len(whole.batches)
    assert all(frame(part).equals(frame(one)) for part, one in zip(parts.batches, whole.batches, strict=True))
    assert parts.refused == whole.refused == ()


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_a_broken_value_in_one_chunk_is_told_by_its_row(size: int) -> None:
    ids, table = encoded("debezium", batch(ROWS))
    values: list[Any] = table["value"].to_pylist()
    broken = next(row for row, value in enumerate(values) if row and value)
    values[broken] = bytes(values[broken])[:-1]
    table = table.set_column(table.schema.get_field_index("value"), "value", pa.array(values, pa.binary()))
    found = decoded("debezium", ids, _cut(table, size))
    assert [one.row for one in found.refused] == [broken]


def _cut(table: pa.Table, size: int) -> pa.Table:
    table = table.combine_chunks()
    return pa.concat_tables([table.slice(at, size) for at in range(0, len(table), size)])


@pytest.mark.parametrize(
    "clocks",
    [
        ["08:30:00.123456Z", "08:30:00.120000Z", "08:30:00.000000Z"], ["08:30:00Z", "08:30:00.5Z", "10:00:00Z"],
        ["08:30:00Z"], ["08:30:00.100000Z", None],
    ],
)  # fmt: skip
def test_moments_with_and_without_fractions(clocks: list[str | None]) -> None:
    schema = {"type": "string", "name": "io.debezium.time.ZonedTimestamp"}
    values = pl.Series([clock and f"2024-01-15T{clock}" for clock in clocks], dtype=pl.String)
    assert text_of(schema, values).to_list() == [_printed(clock) for clock in clocks]


def _printed(clock: str | None) -> str | None:
    if clock is None:
        return None
    whole, _, part = clock.removesuffix("Z").partition(".")
    part = part.rstrip("0")
    return f"2024-01-15 {whole}{'.' if part else ''}{part}+00"

"""Records as rows of the table of dead letters, and their headers back: whatever bytes they have."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.changes.formats import Decoder, SchemaText
from bitvelocity.flow.lettering import headers_from, letters_of, records_of
from bitvelocity.lakehouse import LETTERS_SCHEMA
from bitvelocity.streams import FETCHED_SCHEMA, PLACE_HEADER
from bitvelocity.streams.relay import Undecodable

PLACE = b"000000000000000a0000000181"
HEADERS = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.binary() | st.text().map(str.encode)))


def records(*rows: dict[str, Any]) -> pa.Table:
    plain = {"partition": 0, "offset": 0, "key": b"k", "value": b"v", "headers": [], "timestamp": 0}
    return pa.Table.from_pylist([{**plain, "offset": number, **row} for number, row in enumerate(rows)], schema=FETCHED_SCHEMA)


def letters(table: pa.Table) -> list[dict[str, Any]]:
    count = table.num_rows
    return letters_of(Undecodable("t", table, ("why",) * count, ("40403", *("Foreign",) * count)[:count])).to_pylist()


@given(st.lists(st.none() | HEADERS, max_size=4), st.integers(0, 2))
def test_headers_come_back(headers: list[Any], begin: int) -> None:
    found = letters(records(*({"headers": one} for one in headers)).slice(begin))
    assert [headers_from(row["headers"]) for row in found] == [list(one or ()) for one in headers[begin:]]
    back = records_of(pa.Table.from_pylist(found, schema=LETTERS_SCHEMA))
    assert back["headers"].to_pylist() == [list(one or ()) for one in headers[begin:]]


@pytest.mark.parametrize(
    ("value", "headers", "schema_id"),
    [
        (b"\0\0\0\1\2rest", [], "258"), (b"\0\0\0\1", [], None), (b"\1\0\0\1\2", [], None), (None, [], None), (b"", [], None),
        (b"\0\0\0\1\2", [("__value_schema_id", b""), ("__value_schema_id", b"\1" + b"\2" * 16), ("__value_schema_id", b"\1\3")], "02" * 16),
    ],
)  # fmt: skip
def test_what_a_letter_tells(value: bytes | None, headers: list[Any], schema_id: str | None) -> None:
    first, second = letters(records({"value": value, "headers": [*headers, (PLACE_HEADER, PLACE)]}, {"headers": [(PLACE_HEADER, b"no")]}))
    assert (first["schema_id"], first["_lsn"], first["class"], first["holds"], first["state"]) == (schema_id, 10, "undecodable", True, "parked")
    assert (second["_lsn"], second["code"], second["holds"], second["value"]) == (None, "Foreign", False, b"v")


def test_many_broken_values_are_found_among_good_ones() -> None:
    """Also where there are too many to look for each by halves."""
    schema = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "long"}]}'
    good, short, long = b"\0\0\0\0\1\x04hi\x02", b"\0\0\0\0\1\x04h", b"\0\0\0\0\1\x04hi\x02\x02"
    values = [short if number % 3 == 0 else long if number % 7 == 0 else good for number in range(300)]
    decoder = Decoder("debezium-unwrapped", lambda _: SchemaText("AVRO", schema), relation=lambda _: "public.r")
    found = decoder.decode(records(*({"value": value} for value in values)))
    assert [one.row for one in found.refused] == [number for number, value in enumerate(values) if value != good]
    assert {one.code for one in found.refused} == {"UnreadableValue"}
    assert sum(batch.data.num_rows for batch in found.batches) == values.count(good)

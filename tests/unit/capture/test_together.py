"""Rows of a few pieces are given as one batch for each table, where nothing is told by the border between two pieces."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from struct import pack
from typing import Any

from bitvelocity.capture.pgoutput import Carry, Piece, Wants
from bitvelocity.capture.pieces import StreamSet, Totals
from bitvelocity.capture.together import TOGETHER
from bitvelocity.changes import MESSAGES, Batch, Mark

ORDERS, ITEMS = 16384, 16385
NAMES = {ORDERS: b"orders", ITEMS: b"items"}


def begin(lsn: int) -> bytes:
    return b"B" + pack(">QqI", lsn, 1, 7)


def relation(oid: int, *columns: bytes) -> bytes:
    listed = b"".join(b"\1" + name + b"\0" + pack(">Ii", 25, -1) for name in columns)
    return b"R" + pack(">I", oid) + b"public\0" + NAMES[oid] + b"\0d" + pack(">H", len(columns)) + listed


def insert(oid: int, *values: bytes) -> bytes:
    told = b"".join(b"t" + pack(">I", len(value)) + value for value in values)
    return b"I" + pack(">I", oid) + b"N" + pack(">H", len(values)) + told


def message(prefix: bytes) -> bytes:
    return b"M" + pack(">BQ", 1, 99) + prefix + b"\0" + pack(">I", 0)


def piece(*messages: bytes) -> Piece:
    data, starts = bytearray(), array("q")
    for each in messages:
        starts.append(len(data))
        data += b"d" + pack(">I", len(each) + 29) + b"w" + bytes(24) + each
    return Piece(data, starts)


def given(*pieces: Piece, each: Callable[[int], None] = lambda rows: None) -> list[Batch]:
    """What a set of these pieces gives; `each` is told the rows of its mark so far."""
    made = StreamSet(pieces, Carry(), {}, mark=Mark(9, 9, 0), totals=Totals(), wants=Wants(("own",)))
    batches = []
    for batch in made:
        each(made.mark.rows)
        batches.append(batch)
    made.finish()
    return batches


def ids(batch: Batch) -> list[Any]:
    return batch.data["after_id"].to_pylist()


def test_a_table_has_one_batch_for_some_pieces_and_its_rows_are_in_order() -> None:
    told = piece(begin(5), relation(ORDERS, b"id"), relation(ITEMS, b"id"), insert(ORDERS, b"0"))
    more = [piece(insert(ITEMS, b"i%d" % number), insert(ORDERS, b"%d" % number)) for number in range(1, TOGETHER + 1)]
    counts: list[int] = []
    first, second, *last = given(told, *more, each=counts.append)
    assert (first.relation, ids(first)) == ("public.orders", [str(number) for number in range(TOGETHER)])
    assert (second.relation, ids(second)) == ("public.items", [f"i{number}" for number in range(1, TOGETHER)])
    assert first.data["_ordinal"].to_pylist() == [0, *range(2, 2 * TOGETHER, 2)]
    assert [ids(batch) for batch in last] == [[f"i{TOGETHER}"], [str(TOGETHER)]]
    assert counts == [2 * TOGETHER - 1] * 2 + [2 * TOGETHER + 1] * 2


def test_rows_of_two_shapes_stay_apart() -> None:
    batches = given(
        piece(begin(5), relation(ORDERS, b"id"), insert(ORDERS, b"1")),
        piece(relation(ORDERS, b"id", b"note"), insert(ORDERS, b"2", b"new")),
        piece(insert(ORDERS, b"3", b"too")),
    )
    assert [(batch.columns, ids(batch)) for batch in batches] == [(("id",), ["1"]), (("id", "note"), ["2", "3"])]


def test_a_message_stays_between_the_rows_before_and_behind_it() -> None:
    batches = given(
        piece(begin(5), relation(ORDERS, b"id"), insert(ORDERS, b"1")),
        piece(message(b"own"), insert(ORDERS, b"2")),
        piece(insert(ORDERS, b"3")),
    )
    told = [batch.relation if batch.relation == MESSAGES else ids(batch) for batch in batches]
    assert told == [["1"], MESSAGES, ["2"], ["3"]]

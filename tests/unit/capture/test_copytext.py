"""COPY text: every string comes back, whatever stands in it, in whatever cuts the bytes arrive."""

from __future__ import annotations

from struct import pack

from hypothesis import example, given
from hypothesis import strategies as st

from bitvelocity.capture.copytext import CopyRows, parse_copy

NASTY = st.text(st.one_of(st.sampled_from("\\\\\t\n\r\b\f\vN\\bfnrtv x\x09\x0a"), st.characters(exclude_characters="\0",
                exclude_categories=["Cs"])), max_size=30)  # fmt: skip
CELL = st.one_of(st.none(), NASTY, st.sampled_from(["\\N", "N", "\\", "\\\\", "", "\t", "\\.", "\\x00ff"]))
TABLE = st.integers(0, 4).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=6)
)
ESCAPES = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def printed(row: list[str | None]) -> bytes:
    """A row as the server prints it."""
    texts = ["\\N" if value is None else "".join(ESCAPES.get(c, c) for c in value) for value in row]
    return "\t".join(texts).encode() + b"\n"


def message(kind: bytes, body: bytes) -> bytes:
    return kind + pack(">I", len(body) + 4) + body


def read(table: list[list[str | None]], cut: int, piece: int) -> list[list[str | None]]:
    wire = message(b"H", b"\0\0\0") + b"".join(message(b"d", printed(row)) for row in table)
    wire += message(b"c", b"") + message(b"C", b"COPY\0") + message(b"Z", b"I")
    rows, found = CopyRows(), []
    for start in range(0, len(wire), cut):
        rows.feed(wire[start : start + cut])
        if (len(rows) >= piece or rows.done) and (taken := rows.cut()) is not None:
            count, width = len(taken[1]), len(table[0])
            columns = [column.to_pylist() for column in parse_copy(*taken, width)]
            found += [[column[n] for column in columns] for n in range(count)]
    assert rows.done
    assert rows.refusal is None
    return found


@given(table=TABLE, cut=st.integers(1, 200), piece=st.integers(1, 300))
@example(table=[["\\N", None, "\\\\N", "N"]], cut=7, piece=1)
@example(
    table=[["x" * 9, "y" * 10, "z" * 92]], cut=500, piece=500
)  # lengths that look like tab, newline, backslash
@example(table=[["\\"], ["\\\\"], ["\\\\\\"], ["\\\\\\\\"], ["\\t"]], cut=500, piece=500)
def test_rows_come_back_as_they_were_printed(table: list[list[str | None]], cut: int, piece: int) -> None:
    assert read(table, cut, piece) == table


def test_a_refusal_in_the_middle_is_kept() -> None:
    rows = CopyRows()
    rows.feed(
        message(b"d", b"1\n") + message(b"E", b"SERROR\0C22P05\0Mno such letter\0\0") + message(b"Z", b"I")
    )
    assert rows.done
    assert rows.refusal is not None
    assert (rows.refusal.sqlstate, rows.refusal.message) == ("22P05", "no such letter")

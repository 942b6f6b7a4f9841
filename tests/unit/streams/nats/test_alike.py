"""Messages read by column, against the same read one by one as the client reads them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bitvelocity.streams import Partition
from bitvelocity.streams.nats.alike import FEW, PAD, ROUNDS, Messages, columns
from bitvelocity.streams.nats.client import QuickClient
from bitvelocity.streams.nats.coding import fetched
from bitvelocity.streams.nats.waiting import Answer

PART = Partition("shop.orders", 3)
Made = tuple[list[bytes], bytes]
"""Lines of a header, and the content."""

PLAIN = [
    [b"bv-key: 7", b"bv-timestamp: 1700000000000001", b"ce-id: 16/3B", b"traceparent: 00-a b-01"],
    [b"bv-key-base64: AAAAAAc=", b"bv-timestamp: 17", b"ce-id: ", b"bv-place: 00000000000000000000000017", b"Nats-Msg-Id: 9"],
    [b"bv-key-base64: AAAABw==", b"bv-tombstone: true"],
    [b"bv-key-base64:", b"content-type:avro/binary", b"bv-unknown: 1", b"ce_id: 2"],
    [],
]
ODD = [
    [b"A: 1", b"a: 2", b"A: 3"], [b"x:  two blanks"], [b"x: after "], [b"x: "], [b"x:"], [b"x:1"], [b"x: \xc3\xa9"], [b"x: \xc2\xa0"],
    [b"x: \xff"], [b"x: a\tb\t"], [b"x: a\nb"], [b"x: a\rb"], [b"x: \x7f"], [b"x y: 1"], [b"no colon"], [b": no name"], [b""],
    [b"\xc3\xa9: 1"], [b"x: a:b: c"], [b"bv-headers: " + json.dumps([["a", None], ["a", "YQ=="]]).encode()], [b"bv-headers:"],
    [b"bv-key: 1", b"bv-key-base64: Mg=="], [b"bv-key:"], [b"bv-key:  1"], [b"bv-key-base64: M"], [b"bv-key-base64: =A=="],
    [b"bv-key-base64: Mg==Mg=="], [b"bv-key-base64: M!g=="], [b"bv-key-base64: MR=="], [b"bv-key-base64: Mg", b"x: 1"],
    [b"bv-timestamp:"], [b"bv-timestamp: -5"], [b"bv-timestamp: +5"], [b"bv-timestamp: 1_0"], [b"bv-timestamp: 0x10"],
    [b"bv-timestamp: 9999999999999999999"], [b"Nats-Sequence: 5"], [b"Nats-Time-Stamp: 1999-01-01T00:00:00Z"], [b"Status: 204"],
]  # fmt: skip
PAYLOADS = [b"", b"v", b"\r\n", b"a\r\n\r\nb\n", b"HMSG _INBOX.x.heap-1 1 20 30\r\nNATS/1.0\r\n", b"\r\nNATS/1.0 204 EOB\r\n\r\n", bytes(range(256))]
TIMES = [b"2026-11-29T08:40:22.853351808Z", b"2026-11-29T08:40:22Z", b"1970-01-01T00:00:00.5Z", b"2026-02-28T23:59:59.9999999Z"]


def message(number: int, lines: list[bytes], first: bytes = b"NATS/1.0") -> bytes:
    """A header as the server gives it: what was stored, and its own."""
    own = [b"Nats-Stream: s", b"Nats-Subject: shop.orders.3", b"Nats-Sequence: %d" % number, b"Nats-Time-Stamp: " + TIMES[number % 4]]
    return b"\r\n".join([first, *lines, *own, b"Nats-Num-Pending: 0", b"Nats-Last-Sequence: 0", b"", b""])


def together(made: list[tuple[bytes, bytes]]) -> Messages:
    raw, places = b"", []
    for head, content in made:
        at = len(raw) + 9
        raw += b"a line\r\nX" + head + content + b"\r\n"
        places.append((at, at + len(head), at + len(head) + len(content)))
    found = np.array(places, np.int64).reshape(-1, 3)
    return Messages(np.frombuffer(raw + PAD, np.uint8), found[:, 0], found[:, 1], found[:, 2])


def one_by_one(made: list[tuple[bytes, bytes]]) -> list[pa.Table | None]:
    """None where that fails: a number that is none, base64 that is none."""

    async def read() -> list[pa.Table | None]:
        client, found = QuickClient(), list[pa.Table | None]()
        for head, content in made:
            try:
                found.append(fetched(PART, [Answer(await client._process_headers(head) or {}, content)]))
            except (ValueError, OverflowError):
                found.append(None)
        return found

    return asyncio.run(read())


def check(made: list[tuple[bytes, bytes]]) -> list[bool]:
    """What is read by column is the same; the rest is told. Which those are."""
    table, known = columns(PART, together(made))
    wanted = [row for row, is_known in zip(one_by_one(made), known, strict=True) if is_known]
    assert all(row is not None for row in wanted)
    assert table.num_rows == len(wanted)
    assert table.to_pylist() == [row.to_pylist()[0] for row in wanted if row is not None]
    table.validate(full=True)
    return [bool(one) for one in known]


@given(
    st.lists(st.tuples(st.sampled_from(PLAIN + ODD), st.sampled_from(PAYLOADS)), min_size=FEW, max_size=40),
    st.integers(1, 10**12),
)
@example([(lines, PAYLOADS[number % 7]) for number, lines in enumerate(PLAIN * 3 + ODD)], 1)
def test_columns_are_what_is_read_one_by_one(made: list[Made], first: int) -> None:
    check([(message(first + row, lines), content) for row, (lines, content) in enumerate(made)])


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_an_odd_message_among_plain_ones_leaves_them_as_they_are(odd: list[bytes]) -> None:
    """Wherever it stands; and those before and behind it are read by column all the same."""
    for place in (0, 7, 29):
        made = [(message(row + 1, PLAIN[0]), b"v") for row in range(30)]
        made[place] = (message(place + 1, odd), b"odd")
        known = check(made)
        assert all(known[:place] + known[place + 1 :])


@pytest.mark.parametrize("odd", [[b"x: after "], [b"x: \xc3\xa9"], [b"x: a\tb"], [b"x:  1"]], ids=str)
def test_an_odd_value_of_a_known_header_is_left_alone(odd: list[bytes]) -> None:
    made = [(message(row + 1, odd if row % 10 == 3 else [b"x: %d" % row]), b"v") for row in range(40)]
    assert check(made) == [row % 10 != 3 for row in range(40)]


def test_what_the_bus_writes_is_read_by_column_wholly() -> None:
    """As many kinds of headers as there are rounds, in any order."""
    kinds = [*PLAIN, *([b"h%d: 1" % number] for number in range(ROUNDS - len(PLAIN)))]
    made = [(message(row + 1, kinds[row * 7 % ROUNDS]), b"%d" % row) for row in range(400)]
    assert all(check(made))
    more = [(message(row + 1, [b"h%d: 1" % (row % 20)]), b"") for row in range(400)]
    assert check(more) == [row % 20 < ROUNDS for row in range(400)]


@pytest.mark.parametrize("first", [b"NATS/1.0 204 EOB", b"NATS/1.0 ", b"NATS/2.0", b"NATS/1.0\r\nX"])
def test_another_first_line_is_told(first: bytes) -> None:
    made = [(message(row + 1, PLAIN[0], first if row == 5 else b"NATS/1.0"), b"v") for row in range(20)]
    check(made)


def test_few_messages_and_none() -> None:
    for count in (0, 1, FEW - 1):
        table, known = columns(PART, together([(message(row + 1, PLAIN[0]), b"v") for row in range(count)]))
        assert (table.num_rows, known.tolist()) == (0, [False] * count)


def test_lines_without_end_are_no_line_of_ours() -> None:
    made: list[Any] = [(message(row + 1, PLAIN[0]), b"v") for row in range(20)]
    made[4] = (b"NATS/1.0\r\nNats-Sequence: 5", b"\r\n\r\n")
    made[19] = (b"NATS/1.0\r\n\r\n", b"")
    _, known = columns(PART, together(made))
    assert known.tolist() == [row not in (4, 19) for row in range(20)]

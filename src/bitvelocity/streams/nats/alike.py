"""Stored messages as columns: those of one program have the same headers in the same order, so only values are looked for.

The messages that look like the first one are read together, then those like the first of the rest, and so on. What is left
after some such rounds, or has anything in its headers that a client would understand in a way of its own (other characters
than ASCII's, names that repeat, blanks around a value, more after `NATS/1.0`), is told, and read message by message.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..bus import FETCHED_SCHEMA, Partition
from ..slices import Bools, Bytes, Column, Ints, Slices, binary, has, same_names
from .coding import HEADERS, KEY, KEY_BASE64, TIMESTAMP, TOMBSTONE, header_name

FIRST_LINE = b"NATS/1.0"
ROUNDS = 8
"""So many kinds of messages are read by column, of those that are asked for at once."""
SEQUENCE, SERVER_TIME = "Nats-Sequence", "Nats-Time-Stamp"
PAD = bytes(64)
TRIES = 50
"""Where so many in a row can only be read one by one, the others are too."""
FEW = 10
"""Fewer are read quicker one by one."""
DIGITS = 18
_LF, _PADDING = ord("\n"), ord("=")
_LINE = re.compile(rb"([!-9;-~]+):( ?)[^\r\n]*")


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages as they came, in one buffer with `PAD` behind them: where the header of each begins, and its content, and
    where that ends."""

    raw: Bytes
    head: Ints
    body: Ints
    end: Ints

    def __len__(self) -> int:
        return len(self.head)

    def one(self, row: int) -> tuple[bytes, bytes]:
        """Header and content."""
        head, body, end = (int(at[row]) for at in (self.head, self.body, self.end))
        return self.raw[head:body].tobytes(), self.raw[body:end].tobytes()


@dataclass(frozen=True, slots=True)
class Shape:
    """The lines of a header: their names, and all that stands before the value of each."""

    names: Sequence[str]
    before: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Lines:
    """Where lines end: all of the buffer, the first of each message among them, and how many its header has."""

    ends: Ints
    first: Ints
    count: Ints


class OddError(Exception):
    """A value is not as a column can be read."""


def columns(partition: Partition, messages: Messages) -> tuple[pa.Table, Bools]:
    """Rows of `FETCHED_SCHEMA` in order, of those messages that could be read by column, and which those are."""
    if len(messages) < FEW:
        return _in_order([], len(messages))
    left, lines = np.arange(len(messages)), _lines(messages)
    found: list[tuple[Ints, pa.Table]] = []
    for _ in range(ROUNDS):
        left, shape = _next_shape(messages, left)
        if shape is None:
            break
        like = _like(shape, messages, lines, left)
        found += _read(partition, messages, (shape, lines), left[like])
        left = left[1:][~like[1:]]
    return _in_order(found, len(messages))


def _next_shape(messages: Messages, left: Ints) -> tuple[Ints, Shape | None]:
    """Of the first that has one, and what is left from there on."""
    for place, row in enumerate(left[:TRIES]):
        if (shape := _shape(messages.one(int(row))[0])) is not None:
            return left[place:], shape
    return left[:0], None


def _in_order(found: Sequence[tuple[Ints, pa.Table]], rows: int) -> tuple[pa.Table, Bools]:
    known = np.zeros(rows, np.bool_)
    if not found:
        return FETCHED_SCHEMA.empty_table(), known
    places = np.concatenate([at for at, _ in found])
    known[places] = True
    table = pa.concat_tables([part for _, part in found])
    return table if len(found) == 1 else table.take(np.argsort(places)), known


def _lines(messages: Messages) -> Lines:
    ends = np.flatnonzero(messages.raw == _LF)
    first, after = np.searchsorted(ends, messages.head), np.searchsorted(ends, messages.body)
    return Lines(ends, first, after - first)


def _shape(head: bytes) -> Shape | None:
    """Of one header, if it is as plain as all that we can read."""
    begin, *lines = head.split(b"\r\n")
    found = [_LINE.fullmatch(line) for line in lines[:-2]]
    if begin != FIRST_LINE or lines[-2:] != [b"", b""]:
        return None
    known = [line for line in found if line is not None]
    names = [line[1].decode("ascii") for line in known]
    if len(known) < len(found) or len(set(names)) < len(names) or not {SEQUENCE, SERVER_TIME} <= set(names) or HEADERS in names:
        return None
    return Shape(names, [line[1] + b":" + line[2] for line in known])


def _like(shape: Shape, messages: Messages, lines: Lines, rows: Ints) -> Bools:
    """Which of them have those lines and no others."""
    raw, head, body, first = messages.raw, messages.head[rows], messages.body[rows], lines.first[rows]
    like: Bools = lines.count[rows] == len(shape.names) + 2
    like &= has(raw, head, FIRST_LINE + b"\r\n") & has(raw, body - 4, b"\r\n\r\n")
    last = len(lines.ends) - 1
    for number, before in enumerate(shape.before):
        like &= has(raw, lines.ends[np.minimum(first + number, last)] - 1, b"\r\n" + before)
    return like


def _read(
    partition: Partition, messages: Messages, kind: tuple[Shape, Lines], rows: Ints
) -> list[tuple[Ints, pa.Table]]:
    """Messages of one shape, as a table, without those that have an odd value; none if they cannot be read so."""
    shape, lines = kind
    at = lines.ends[lines.first[rows][:, None] + np.arange(len(shape.names) + 1)]
    starts, ends = at[:, :-1] + np.array([len(before) + 1 for before in shape.before]), at[:, 1:] - 1
    values = {name: Slices(starts[:, n], ends[:, n], _all(rows)) for n, name in enumerate(shape.names)}
    own = [n for n, name in enumerate(shape.names) if header_name(name) is not None]
    listed = Slices(starts[:, own].ravel(), ends[:, own].ravel(), np.ones(len(rows) * len(own), np.bool_))
    try:
        key, headers = _key(messages.raw, values), binary(messages.raw, listed)
        if len(odd := np.concatenate([_odd(headers) // max(1, len(own)), _odd(key) if KEY in values else _NONE])):
            kept = _all(rows)
            kept[odd] = False
            return _read(partition, messages, kind, rows[kept]) if kept.any() else []
        content = Slices(messages.body[rows], messages.end[rows], _all(rows) & (TOMBSTONE not in values))
        found: list[Column] = [
            pa.repeat(pa.scalar(partition.number, pa.int32()), len(rows)),
            pc.subtract(_whole(binary(messages.raw, values[SEQUENCE])), 1),
            key,
            binary(messages.raw, content),
            same_names([header_name(shape.names[n]) or "" for n in own], len(rows), headers),
            _times(messages.raw, values),
        ]
    except (OddError, pa.ArrowInvalid):
        return []
    return [(rows, pa.table(found, schema=FETCHED_SCHEMA))]


def _all(rows: Ints) -> Bools:
    return np.ones(len(rows), np.bool_)


def _flat(column: Column) -> tuple[Ints, Bytes]:
    """Where each value of a column begins, with the end of the last, and all their bytes."""
    _, ends, data = (np.asarray(memoryview(one or b"")) for one in column.buffers())
    begins = ends.view(np.int32)[: len(column) + 1].astype(np.int64)
    return begins, data.view(np.uint8)[: begins[-1]]


def _odd(column: Column) -> Ints:
    """Values that have a blank at one end, or something else than ASCII's signs in them."""
    begins, data = _flat(column)
    odd = np.flatnonzero(data - np.uint8(0x21) > 0x7E - 0x21)  # below a blank, or one: it goes around
    value = np.searchsorted(begins, odd, "right") - 1
    within = (data[odd] == 0x20) & (begins[value] != odd) & (begins[value + 1] != odd + 1)
    found: Ints = value[~within]
    return found


def _whole(column: Column) -> Column:
    """Numbers in decimal digits."""
    begins, data = _flat(column)
    length = np.diff(begins)
    if ((data < 0x30) | (data > 0x39)).any() or (length < 1).any() or (length > DIGITS).any():
        raise OddError
    return column.cast(pa.string()).cast(pa.int64())


def _key(raw: Bytes, values: Mapping[str, Slices]) -> Column:
    if KEY in values:
        return binary(raw, values[KEY])
    if KEY_BASE64 in values:
        return _decoded(binary(raw, values[KEY_BASE64]))
    return pa.nulls(len(values[SEQUENCE].start), pa.binary())


def _decoded(column: Column) -> Column:
    """Of base64. All of it is decoded at once: each value has whole groups of four signs, its padding is cut off after."""
    begins, data = _flat(column)
    padded = np.concatenate([data, np.zeros(2, np.uint8)])  # so that there is something before an empty one
    last, some = begins[1:] - 1, np.diff(begins) > 0
    one = some & (padded[last] == _PADDING)
    pads = one.astype(np.int32) + (one & (padded[last - 1] == _PADDING))
    if (begins % 4).any() or np.count_nonzero(data == _PADDING) != pads.sum():
        raise OddError
    try:
        plain = binascii.a2b_base64(np.where(data == _PADDING, ord("A"), data).astype(np.uint8).tobytes())
    except binascii.Error as error:
        raise OddError from error
    if len(plain) != len(data) // 4 * 3:
        raise OddError
    start = begins.astype(np.int64) // 4 * 3
    return binary(np.frombuffer(plain + PAD, np.uint8), Slices(start[:-1], start[1:] - pads, np.ones(len(pads), np.bool_)))


def _times(raw: Bytes, values: Mapping[str, Slices]) -> Column:
    """The records' own, else the server's."""
    if TIMESTAMP in values:
        micros = _whole(binary(raw, values[TIMESTAMP]))
    else:
        nanos = binary(raw, values[SERVER_TIME]).cast(pa.string()).cast(pa.timestamp("ns", "UTC"))
        micros = pc.divide(nanos.cast(pa.int64()), 1000)
    return micros.cast(FETCHED_SCHEMA.field("timestamp").type)


_NONE = np.zeros(0, np.int64)

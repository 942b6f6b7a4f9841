"""Audit contexts read together say what each says by itself."""

from __future__ import annotations

import json
from struct import pack

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.capture.pgoutput.alike import find_values
from bitvelocity.capture.pgoutput.buffer import TAIL, Buffer, Offsets
from bitvelocity.capture.pgoutput.context import FIELDS, NOBODY, PREFIX, Context, parse_context
from bitvelocity.capture.pgoutput.contexts import Contexts

WORDS = st.sampled_from(["", "ann", "batch-7", "d2f5a1c4-0000-4000-8000-000000000000", "x" * 300])
TEXTS = WORDS | st.text(max_size=20)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A context as some program writes it."""
    names = draw(st.sampled_from([FIELDS[:1], FIELDS[:2], FIELDS, (FIELDS[0], FIELDS[2]), (*FIELDS, "traceparent"), FIELDS[1:]]))
    said = {name: draw(WORDS if draw(st.booleans()) else TEXTS) for name in names}
    separators = draw(st.sampled_from([(", ", ": "), (",", ":")]))
    return json.dumps(said, separators=separators, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


ODD = st.sampled_from(
    [b"", b"{}", b"nobody", b'{"user": null}', b'{"user": "a", "user": "b"}', b'{"user": "a"} ', b'{"user": "a",}', b'"user": "a"']
) | st.binary(max_size=30)
MESSAGES = st.lists(written() | ODD, max_size=8).flatmap(
    lambda few: st.lists(st.sampled_from(few), max_size=60) if few else st.just([])
)


def laid(contents: list[bytes]) -> tuple[Buffer, Offsets]:
    """The messages one behind another, and where their flags stand."""
    data, at = bytearray(b"...."), list[int]()
    for content in contents:
        at.append(len(data))
        data += b"\1" + bytes(8) + PREFIX + pack(">I", len(content)) + content
    return Buffer(data + bytes(TAIL)), np.array(at, np.int64)


def told(contents: list[bytes], rows: list[int], carried: Context = NOBODY) -> list[Context]:
    columns = Contexts(*laid(contents), carried).columns(np.array(rows, np.int64))
    return [
        tuple(None if value is None else value.encode() for value in row)
        for row in zip(*(column.to_pylist() for column in columns), strict=True)
    ]


@given(MESSAGES, st.data())
def test_each_row_has_what_its_message_says(contents: list[bytes], data: st.DataObject) -> None:
    carried = (b"before, and longer than a view", None, b"")
    known = [NOBODY, carried, *(parse_context(content) for content in contents)]
    rows = data.draw(st.lists(st.integers(0, len(known) - 1), max_size=80)) + list(range(len(known)))
    contexts = Contexts(*laid(contents), carried)
    assert told(contents, rows, carried) == [known[row] for row in rows]
    assert [contexts[number] for number in range(len(known))] == known


def test_messages_of_several_programs_are_read_together() -> None:
    contents = [
        b'{"user": "u%d", "correlation_id": "%036d", "source": "shop"}' % (number % 7, number)
        if number % 3
        else b'{"user":"batch-%d"}' % number
        for number in range(202)
    ]
    contents[50] = '{"user": "Zoë"}'.encode()
    buffer, at = laid(contents)
    begin = at + 9 + len(PREFIX) + 4
    found = find_values(buffer, begin, buffer.u32(begin - 4))
    assert np.flatnonzero(~found.done).tolist() == [50, 201], "the last lies too near to the buffer's end"
    assert told(contents, list(range(2, 204))) == [parse_context(content) for content in contents]

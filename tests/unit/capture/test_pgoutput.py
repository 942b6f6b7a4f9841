"""Decoding hand-made pgoutput bytes: every message kind, every kind of value, and random transactions."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitvelocity.capture.pgoutput import EPOCH, Carry, Decoded, Piece, Relations, decode
from bitvelocity.changes import SYSTEM_COLUMNS, Batch
from bitvelocity.errors import CaptureError

UNCHANGED = b"\0unchanged"
"""Stands for a value that the source held back."""
Value = bytes | None
Row = Sequence[Value]
T, T2, EMPTY = 16384, 16385, 16386


def values(row: Row, kind: bytes = b"t") -> bytes:
    out = pack(">H", len(row))
    for value in row:
        if value is None:
            out += b"n"
        elif value is UNCHANGED:
            out += b"u"
        else:
            out += kind + pack(">I", len(value)) + value
    return out


@dataclass
class Stream:
    """Writes messages as a server would. `xid` set: inside a streamed transaction."""

    data: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("q"))
    xid: int | None = None

    def add(self, message: bytes, sent: int = 0) -> None:
        if self.xid is not None:
            message = message[:1] + pack(">I", self.xid) + message[1:]
        self.starts.append(len(self.data))
        self.data += b"d" + pack(">I", len(message) + 29) + b"w" + pack(">QQQ", len(self.starts), 0, sent) + message

    def relation(
        self, oid: int, columns: str, *, name: str = "orders", types: Sequence[int] = (), sent: int = 0
    ) -> None:
        """`columns`: names by spaces, with a star for those of the key."""
        message = (
            b"R" + pack(">I", oid) + b"public\0" + name.encode() + b"\0d" + pack(">H", len(columns.split()))
        )
        for number, column in enumerate(columns.split()):
            kind = types[number] if types else 25
            message += (
                pack(">B", column.endswith("*")) + column.rstrip("*").encode() + b"\0" + pack(">Ii", kind, -1)
            )
        self.add(message, sent)

    def begin(self, lsn: int, xid: int = 7, at: int = 1) -> None:
        self.add(b"B" + pack(">QqI", lsn, at, xid))

    def commit(self, lsn: int, at: int = 1) -> None:
        self.add(b"C\0" + pack(">QQq", lsn, lsn + 8, at))

    def insert(self, new: Row, oid: int = T, kind: bytes = b"t") -> None:
        self.add(b"I" + pack(">I", oid) + b"N" + values(new, kind))

    def update(self, new: Row, old: Row | None = None, tag: bytes = b"O", oid: int = T) -> None:
        before = tag + values(old) if old is not None else b""
        self.add(b"U" + pack(">I", oid) + before + b"N" + values(new))

    def delete(self, old: Row, tag: bytes = b"O", oid: int = T) -> None:
        self.add(b"D" + pack(">I", oid) + tag + values(old))

    def truncate(self, *oids: int) -> None:
        self.add(b"T" + pack(">IB", len(oids), 0) + b"".join(pack(">I", oid) for oid in oids))

    def message(self, content: bytes, prefix: bytes = b"bv.audit", transactional: int = 1) -> None:
        self.add(b"M" + pack(">BQ", transactional, 99) + prefix + b"\0" + pack(">I", len(content)) + content)

    def decode(self, carry: Carry | None = None, relations: Relations | None = None) -> Decoded:
        known: Relations = {} if relations is None else relations
        return decode(Piece(bytearray(self.data), array("q", self.starts)), carry or Carry(), known)


def rows(batch: Batch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = batch.data.to_pylist()
    return found


def only(decoded: Decoded) -> Batch:
    assert len(decoded.batches) == 1
    return decoded.batches[0]


def images(batch: Batch, side: str) -> list[tuple[Any, ...]]:
    return [tuple(row[f"{side}_{name}"] for name in batch.columns) for row in rows(batch)]


@pytest.fixture
def stream() -> Stream:
    started = Stream()
    started.relation(T, "id* name note")
    return started


def test_a_batch_has_the_promised_columns_and_types(stream: Stream) -> None:
    stream.begin(100, xid=5, at=2_000_000)
    stream.insert([b"1", b"a", None])
    stream.commit(100)
    batch = only(stream.decode())
    images_ = [f"{side}_{name}" for side in ("after", "before") for name in ("id", "name", "note")]
    assert batch.data.column_names == [*SYSTEM_COLUMNS, *images_]
    assert batch.relation == "public.orders"
    assert batch.columns == ("id", "name", "note")
    fields = {f.name: f.type for f in batch.data.schema}
    assert (fields["_lsn"], fields["_ordinal"], fields["_xid"]) == (pa.int64(), pa.int32(), pa.int64())
    assert fields["_committed_at"] == pa.timestamp("us", "UTC")
    text = {pa.string(), pa.string_view()}
    assert all(fields[name] in text for name in batch.data.column_names if fields[name] not in
               (pa.int64(), pa.int32(), pa.timestamp("us", "UTC")))  # fmt: skip
    row = rows(batch)[0]
    assert (row["_op"], row["_lsn"], row["_ordinal"], row["_xid"]) == ("c", 100, 0, 5)
    assert batch.data["_committed_at"].cast(pa.int64()).to_pylist() == [EPOCH + 2_000_000]
    batch.data.validate(full=True)


def test_old_rows_come_whole_by_key_or_not_at_all(stream: Stream) -> None:
    stream.begin(1)
    stream.update([b"1", b"new", b"n"], old=[b"1", b"old", None])
    stream.update([b"3", b"x", None], old=[b"2", None, None], tag=b"K")
    stream.update([b"4", b"y", None])
    stream.delete([b"5", None, None], tag=b"K")
    stream.delete([b"6", b"six", b""])
    stream.commit(1)
    batch = only(stream.decode())
    assert [row["_op"] for row in rows(batch)] == ["u", "u", "u", "d", "d"]
    assert images(batch, "after") == [
        ("1", "new", "n"),
        ("3", "x", None),
        ("4", "y", None),
        (None,) * 3,
        (None,) * 3,
    ]
    assert images(batch, "before") == [
        ("1", "old", None), ("2", None, None), (None,) * 3, ("5", None, None), ("6", "six", ""),
    ]  # fmt: skip


def test_unchanged_toast_is_filled_from_the_old_row_or_named_absent(stream: Stream) -> None:
    stream.begin(1)
    stream.update([b"1", UNCHANGED, UNCHANGED], old=[b"1", b"long", b"longer than twelve bytes"])
    stream.update([b"2", b"x", UNCHANGED])
    stream.update([b"3", UNCHANGED, UNCHANGED], old=[b"9", None, None], tag=b"K")
    stream.insert([b"4", b"y", b"z"])
    stream.update([UNCHANGED, b"w", None], old=[b"key that was moved out of line", None, None], tag=b"K")
    stream.commit(1)
    batch = only(stream.decode())
    assert images(batch, "after") == [
        ("1", "long", "longer than twelve bytes"),
        ("2", "x", None),
        ("3", None, None),
        ("4", "y", "z"),
        ("key that was moved out of line", "w", None),
    ]
    assert [row["_absent"] for row in rows(batch)] == [None, '["note"]', '["name","note"]', None, None]
    batch.data.validate(full=True)


def test_a_column_nobody_sent_is_absent_in_every_row(stream: Stream) -> None:
    stream.begin(1)
    stream.update([b"1", UNCHANGED, b"n"])
    stream.update([b"2", UNCHANGED, b"n"])
    stream.commit(1)
    assert [row["_absent"] for row in rows(only(stream.decode()))] == ['["name"]'] * 2


def test_truncate_gives_one_row_per_table_in_the_one_count_of_the_transaction(stream: Stream) -> None:
    stream.relation(T2, "id*", name="items")
    stream.begin(1)
    stream.insert([b"1", b"a", b"b"])
    stream.truncate(T2, T)
    stream.insert([b"9"], oid=T2)
    stream.commit(1)
    orders, items = stream.decode().batches
    assert [(row["_op"], row["_ordinal"]) for row in rows(orders)] == [("c", 0), ("t", 2)]
    assert [(row["_op"], row["_ordinal"]) for row in rows(items)] == [("t", 1), ("c", 3)]
    assert images(orders, "after")[1] == images(orders, "before")[1] == (None, None, None)


def test_ordinals_count_over_all_tables_and_start_anew_in_each_transaction(stream: Stream) -> None:
    stream.relation(T2, "id*", name="items")
    for lsn in (10, 20):
        stream.begin(lsn, xid=lsn)
        stream.insert([b"1"], oid=T2)
        stream.insert([b"1", b"a", b"b"])
        stream.insert([b"2"], oid=T2)
        stream.commit(lsn)
    items, orders = stream.decode().batches
    assert [(row["_lsn"], row["_ordinal"], row["_xid"]) for row in rows(items)] == [
        (10, 0, 10), (10, 2, 10), (20, 0, 20), (20, 2, 20),
    ]  # fmt: skip
    assert [(row["_lsn"], row["_ordinal"]) for row in rows(orders)] == [(10, 1), (20, 1)]


def test_a_new_shape_begins_a_new_batch(stream: Stream) -> None:
    stream.begin(1)
    stream.insert([b"1", b"a", b"b"])
    stream.commit(1)
    stream.begin(2)
    stream.relation(T, "id* name note extra")
    stream.insert([b"2", b"a", b"b", b"c"])
    stream.commit(2)
    relations: Relations = {}
    old, new = stream.decode(relations=relations).batches
    assert (old.columns, new.columns) == (("id", "name", "note"), ("id", "name", "note", "extra"))
    assert images(new, "after") == [("2", "a", "b", "c")]
    assert relations[T].columns == new.columns
    again = Stream()
    again.begin(3)
    again.insert([b"3", b"a", b"b", b"c"])
    again.commit(3)
    assert images(only(again.decode(relations=relations)), "after") == [("3", "a", "b", "c")]


def test_a_table_described_again_stays_in_one_batch(stream: Stream) -> None:
    stream.begin(1)
    stream.insert([b"1", b"a", b"b"])
    stream.relation(T, "id* name note", sent=5)
    stream.insert([b"2", b"a", b"b"])
    stream.commit(1)
    assert only(stream.decode()).data.num_rows == 2


def test_a_table_without_columns_has_rows() -> None:
    stream = Stream()
    stream.relation(EMPTY, "", name="empty")
    stream.begin(1)
    stream.insert([], oid=EMPTY)
    stream.insert([], oid=EMPTY)
    stream.commit(1)
    batch = only(stream.decode())
    assert (batch.columns, batch.data.num_rows) == ((), 2)
    assert batch.data.column_names == list(SYSTEM_COLUMNS)


def test_rows_after_a_context_carry_it_and_only_in_its_transaction(stream: Stream) -> None:
    stream.begin(1)
    stream.insert([b"0", b"", b""])
    stream.message(b'{"user":"ann","correlation_id":"c-1"}')
    stream.insert([b"1", b"", b""])
    stream.message(b'{"user":"bob","source":"import","more":[1]}')
    stream.insert([b"2", b"", b""])
    stream.commit(1)
    stream.begin(2)
    stream.insert([b"3", b"", b""])
    stream.commit(2)
    decoded = stream.decode()
    said = [(r["_operation_user"], r["_correlation_id"], r["_source"]) for r in rows(only(decoded))]
    assert said == [(None, None, None), ("ann", "c-1", None), ("bob", None, "import"), (None, None, None)]
    assert decoded.ignored_messages == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"no json", b"[1]", b'"x"', b"null", b"\xff\xfe", b"{", b'{"user":"a"} {}', b"[" * 5000],
)  # fmt: skip
def test_a_context_that_is_no_json_object_names_nobody_and_breaks_nothing(
    stream: Stream, content: bytes
) -> None:
    stream.begin(1)
    stream.message(b'{"user":"ann"}')
    stream.insert([b"1", b"", b""])
    stream.message(content)
    stream.insert([b"2", b"", b""])
    stream.message(b'{"user":"bob"}')
    stream.insert([b"3", b"", b""])
    stream.commit(1)
    assert [row["_operation_user"] for row in rows(only(stream.decode()))] == ["ann", None, "bob"]


def test_only_transactional_messages_of_our_prefix_count(stream: Stream) -> None:
    stream.begin(1)
    for prefix in (b"bv.audit2", b"bv.audi", b"x", b"Bv.audit", b""):
        stream.message(b'{"user":"eve"}', prefix=prefix)
    stream.message(b'{"user":"eve"}', transactional=0)
    stream.insert([b"1", b"", b""])
    stream.commit(1)
    decoded = stream.decode()
    assert rows(only(decoded))[0]["_operation_user"] is None
    assert decoded.ignored_messages == 6


def test_other_messages_are_stepped_over(stream: Stream) -> None:
    stream.begin(1)
    stream.add(b"O" + pack(">Q", 5) + b"origin\0")
    stream.add(b"Y" + pack(">I", 99999) + b"public\0mood\0")
    stream.insert([b"1", b"a", b"b"])
    stream.commit(1)
    assert only(stream.decode()).data.num_rows == 1


def test_a_streamed_transaction_counts_only_what_was_not_rolled_back() -> None:
    stream = Stream(xid=50)
    stream.relation(T, "id*")
    stream.message(b'{"user":"ann"}')
    stream.insert([b"1"])
    stream.xid = 51  # a savepoint, rolled back
    stream.message(b'{"user":"eve"}')
    stream.insert([b"2"])
    stream.relation(T2, "id*", name="items")
    stream.truncate(T, T2)
    stream.xid = 50
    stream.insert([b"3"])
    stream.insert([b"4"], oid=T2)
    carry = Carry(lsn=900, committed_at=EPOCH, xid=50, streamed=True, aborted=frozenset({51}))
    orders, items = stream.decode(carry).batches
    assert [(r["after_id"], r["_ordinal"], r["_operation_user"], r["_xid"], r["_lsn"]) for r in rows(orders)] == [
        ("1", 0, "ann", 50, 900), ("3", 1, "ann", 50, 900),
    ]  # fmt: skip
    assert [(r["after_id"], r["_ordinal"]) for r in rows(items)] == [("4", 2)]


def test_pieces_of_one_transaction_join_without_seam(stream: Stream) -> None:
    stream.begin(1, xid=3, at=77)
    stream.message(b'{"user":"ann"}')
    for number in range(5):
        stream.insert([b"%d" % number, None, None])
    stream.commit(1)
    whole = rows(only(stream.decode()))
    for cut in range(1, len(stream.starts)):
        first, second = Stream(stream.data, stream.starts[:cut]), Stream(stream.data, stream.starts[cut:])
        relations: Relations = {}
        before = first.decode(relations=relations)
        after = second.decode(before.carry, relations)
        assert [row for part in (before, after) for batch in part.batches for row in rows(batch)] == whole


def test_binary_values_are_taken_only_where_they_are_text() -> None:
    stream = Stream()
    stream.relation(T, "id* name", types=[25, 1043])
    stream.begin(1)
    stream.insert([b"1", b"abc"], kind=b"b")
    stream.insert([b"2", b"def"])
    stream.commit(1)
    assert images(only(stream.decode()), "after") == [("1", "abc"), ("2", "def")]
    stream.relation(T, "id* name", types=[25, 23])
    stream.begin(2)
    stream.insert([b"3", b"\0\0\0\1"], kind=b"b")
    stream.commit(2)
    with pytest.raises(CaptureError, match="name came in PostgreSQL's binary form"):
        stream.decode()


def test_an_undescribed_table_and_a_wrong_width_are_refused(stream: Stream) -> None:
    stream.begin(1)
    stream.insert([b"1"])
    with pytest.raises(CaptureError, match="does not have the columns"):
        stream.decode()
    other = Stream()
    other.begin(1)
    other.insert([b"1"])
    with pytest.raises(CaptureError, match="without having described it"):
        other.decode()


def test_many_columns_and_odd_names() -> None:
    names = [f"c{n}" for n in range(1600)]
    stream = Stream()
    stream.relation(T, " ".join(names), name='Odd "Täble"')
    stream.begin(1)
    stream.delete([b"x"] * 1600)
    stream.insert([None] * 1599 + [b"last"])
    stream.commit(1)
    batch = only(stream.decode())
    assert batch.relation == 'public.Odd "Täble"'
    assert images(batch, "after")[1][-1] == "last"
    assert images(batch, "before") == [("x",) * 1600, (None,) * 1600]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
CELL = st.one_of(st.none(), TEXT)


@dataclass
class Expected:
    """What the random transactions must become."""

    changes: list[tuple[str, int, int, str | None, tuple[str | None, ...], tuple[str | None, ...]]] = field(
        default_factory=list
    )


def cells(row: Sequence[str | None]) -> list[Value]:
    return [None if value is None else value.encode() for value in row]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_transactions_come_back_as_they_went_in(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 5))
    stream, expected = Stream(), Expected()
    stream.relation(T, " ".join(f"c{n}" for n in range(width)))
    row = st.lists(CELL, min_size=width, max_size=width)
    nothing: tuple[None, ...] = (None,) * width
    for lsn in range(100, 100 + data.draw(st.integers(1, 4))):
        stream.begin(lsn)
        user: str | None = None
        for ordinal in range(data.draw(st.integers(0, 4))):
            if data.draw(st.booleans()):
                user = data.draw(st.one_of(st.none(), TEXT))
                stream.message(json.dumps({"user": user}, ensure_ascii=data.draw(st.booleans())).encode())
            op = data.draw(st.sampled_from("cudt"))
            old, new = tuple(data.draw(row)), tuple(data.draw(row))
            if op == "c":
                stream.insert(cells(new))
            elif op == "u":
                stream.update(cells(new), old=cells(old))
            elif op == "d":
                stream.delete(cells(old))
            else:
                stream.truncate(T)
            expected.changes.append(
                (op, lsn, ordinal, user, new if op in "cu" else nothing, old if op in "ud" else nothing)
            )
        stream.commit(lsn)
    decoded = stream.decode()
    found = [
        (r["_op"], r["_lsn"], r["_ordinal"], r["_operation_user"], after, before)
        for batch in decoded.batches
        for r, after, before in zip(rows(batch), images(batch, "after"), images(batch, "before"), strict=True)
    ]
    assert found == expected.changes
    for batch in decoded.batches:
        batch.data.validate(full=True)


@pytest.mark.parametrize("held_back", [None, UNCHANGED])
def test_many_tables_are_read_together_and_each_gets_its_own(stream: Stream, held_back: Value) -> None:
    """As they are when each is read alone; tables of one width differ in names, kinds of change and old images."""
    tables = {oid: 1 + oid % 3 for oid in range(20_000, 20_040)}
    lone = {oid: Stream() for oid in tables}
    for oid, width in tables.items():
        for target in (stream, lone[oid]):
            target.relation(oid, " ".join(f"c{oid}_{n}" for n in range(width)), name=f"t{oid}")
            target.begin(oid)
            for number in range(oid % 4 + 1):
                row: list[Value] = [b"%d of %d" % (number, oid)] * (width - 1)
                target.insert([*row, b"x" * number * 9], oid)
                if oid % 2:
                    target.update([*row, held_back], [*row, b"old"] if oid % 5 else None, oid=oid)
                if oid % 7 == 0:
                    target.truncate(oid)
            target.commit(oid)
    together = stream.decode().batches
    alone = [only(one.decode()) for one in lone.values()]
    assert [(b.relation, b.columns, b.shape) for b in together] == [(b.relation, b.columns, b.shape) for b in alone]
    assert [rows(batch) for batch in together] == [rows(batch) for batch in alone]
    assert [b.data.column_names for b in together] == [b.data.column_names for b in alone]
    for batch in together:
        batch.data.validate(full=True)


def test_with_many_tables_a_refusal_names_the_right_one(stream: Stream) -> None:
    stream.begin(1)
    for oid in range(20_000, 20_020):
        stream.relation(oid, "n", name=f"t{oid}", types=[23])
        stream.insert([b"1"], oid, kind=b"b" if oid == 20_007 else b"t")
    with pytest.raises(CaptureError) as refused:
        stream.decode()
    assert refused.value.entity == "public.t20007"


def test_a_transaction_of_more_rows_than_there_are_ordinals_for(stream: Stream) -> None:
    stream.insert([b"1", b"a", None])
    assert rows(only(stream.decode(Carry(lsn=900, ordinal=(1 << 31) - 2))))[0]["_ordinal"] == (1 << 31) - 2
    with pytest.raises(CaptureError, match="more than 2,147,483,647 rows") as caught:
        stream.decode(Carry(lsn=900, ordinal=(1 << 31) - 1))
    assert (caught.value.code, caught.value.position) == ("TooManyRows", "0/384")

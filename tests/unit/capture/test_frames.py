"""Frames are found, cut and spilled alike, however the bytes are cut into receives."""

from __future__ import annotations

import errno
from itertools import pairwise
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.capture.frames import (
    Commit,
    Ended,
    Event,
    Frames,
    Keepalive,
    Refusal,
    Segment,
    Splitter,
    StreamAbort,
    StreamCommit,
    frame_starts,
)
from bitvelocity.capture.spill import SpillFolder
from bitvelocity.errors import CaptureError


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + pack(">I", len(body) + 4) + body


def frame(payload: bytes) -> bytes:
    return message(b"d", b"w" + bytes(24) + payload)


def keepalive(wal_end: int, reply: int = 0) -> bytes:
    return message(b"d", b"k" + pack(">QQB", wal_end, 0, reply))


def begin(lsn: int) -> bytes:
    return frame(b"B" + pack(">QqI", lsn, 0, lsn))


def row(text: bytes) -> bytes:
    return frame(b"I" + text)


def commit(lsn: int) -> bytes:
    return frame(b"C\0" + pack(">QQq", lsn, lsn + 8, lsn * 10))


def segment(xid: int, *frames: bytes) -> bytes:
    return frame(b"S" + pack(">IB", xid, 1)) + b"".join(frames) + frame(b"E")


def stream_commit(xid: int, lsn: int) -> bytes:
    return frame(b"c" + pack(">IBQQq", xid, 0, lsn, lsn + 8, lsn * 10))


def stream_abort(xid: int, subxid: int) -> bytes:
    return frame(b"A" + pack(">II", xid, subxid))


GRANTED = message(b"W", b"\0\0\0")
STRAY = frame(b"M\0" + bytes(8) + b"heartbeat\0" + bytes(4))


def read(stream: bytes, cuts: list[int]) -> tuple[list[Event], list[bytes], Splitter]:
    """Feed in the given cuts; the events without segments, and the payloads in the order of commits."""
    splitter = Splitter()
    events: list[Event] = []
    committed: list[bytes] = []
    spilled: dict[int, bytes] = {}

    def take() -> None:
        if (frames := splitter.cut()) is not None:
            committed.extend(payloads(frames))

    bounds = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, stop in pairwise(bounds):
        for event in splitter.feed(stream[start:stop]):
            match event:
                case Segment():
                    spilled[event.xid] = spilled.get(event.xid, b"") + event.data
                case StreamCommit():
                    take()
                    committed.append(b"streamed " + b"".join(texts(spilled.pop(event.xid))))
                    events.append(event)
                case _:
                    events.append(event)
    take()
    return events, committed, splitter


def payloads(frames: Frames) -> list[bytes]:
    ends = [*frames.starts[1:], len(frames.data)]
    return [bytes(frames.data[start + 30 : end]) for start, end in zip(frames.starts, ends, strict=True)]


def texts(raw: bytes) -> list[bytes]:
    """The texts of the rows in spilled frames."""
    return [part.split(b"<")[1].split(b">")[0] for part in raw.split(b"I<")[1:] for part in [b"<" + part]]


STREAM = b"".join([
    GRANTED, STRAY, begin(1), row(b"<a>"), commit(1), keepalive(5),
    segment(70, row(b"<s1>"), keepalive(6, reply=1), row(b"<s2>")),
    begin(2), row(b"<b>"), row(b"<c>"), commit(2),
    segment(71, row(b"<x>")), stream_abort(71, 71), segment(70, row(b"<s3>")), stream_abort(70, 72),
    begin(3), row(b"<d>"), commit(3), stream_commit(70, 4), begin(5), row(b"<e>"), commit(5), STRAY, keepalive(99),
    message(b"N", b"notice\0"), begin(6), row(b"<open>"),
])  # fmt: skip


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_however_the_bytes_are_cut_the_same_comes_out(cuts: list[int]) -> None:
    events, committed, splitter = read(STREAM, cuts)
    assert [payload[1:] for payload in committed if payload[:1] in (b"I", b"s")] == [
        b"<a>", b"<b>", b"<c>", b"<d>", b"treamed s1s2s3", b"<e>",
    ]  # fmt: skip
    ends = [event for event in events if not isinstance(event, Keepalive)]
    assert ends == [StreamAbort(71, 71), StreamAbort(70, 72), StreamCommit(70, Commit(4, 12, 40))]
    assert [(event.wal_end, event.reply) for event in events if isinstance(event, Keepalive)] == [
        (5, False), (6, True), (99, False),
    ]  # fmt: skip
    assert splitter.stray_messages == 2


def test_every_single_byte_may_come_alone() -> None:
    assert read(STREAM, list(range(len(STREAM))))[1] == read(STREAM, [])[1]


def test_a_keepalive_says_whether_it_stands_between_transactions() -> None:
    stream = (
        keepalive(1)
        + begin(1)
        + keepalive(2)
        + commit(1)
        + keepalive(3)
        + segment(9, keepalive(4))
        + keepalive(5)
    )
    found = [event for event in Splitter().feed(stream) if isinstance(event, Keepalive)]
    assert [event.wal_end for event in found if event.between] == [1, 3, 5]


def test_a_cut_takes_whole_transactions_and_leaves_the_open_one() -> None:
    splitter = Splitter()
    assert list(splitter.feed(begin(1) + row(b"a") + commit(1) + begin(2) + row(b"b"))) == []
    first = splitter.cut()
    assert first is not None
    assert (first.transactions, first.last_commit()) == (1, Commit(1, 9, 10))
    assert splitter.cut() is None
    assert list(splitter.feed(row(b"c") + commit(2))) == []
    second = splitter.cut()
    assert second is not None
    assert [payload[1:] for payload in payloads(second)[1:3]] == [b"b", b"c"]


def test_errors_and_the_end_of_the_stream_are_events() -> None:
    refused = message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0Dsee log\0\0")
    assert list(Splitter().feed(refused)) == [Refusal("57P01", "terminating connection (see log)")]
    assert list(Splitter().feed(message(b"c"))) == [Ended()]


def test_nothing_is_kept_of_a_quiet_stream() -> None:
    splitter = Splitter()
    for number in range(100):
        assert len(list(splitter.feed(keepalive(number)))) == 1
    assert len(splitter) == 0


def _segment(xid: int, data: bytes) -> Segment:
    return Segment(xid, data, frame_starts(data)[0])


def test_spilled_transactions_come_back_in_pieces_and_leave_nothing(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path / "spill")
    frames = [row(b"%04d" % n) for n in range(1000)]
    for n in range(0, 1000, 100):
        folder.keep(_segment(5, b"".join(frames[n : n + 100])))
        folder.keep(_segment(6, b"".join(frames[:3]) + keepalive(1)))
    folder.abort(StreamAbort(5, 55))
    folder.abort(StreamAbort(6, 6))
    spilled = folder.commit(StreamCommit(5, Commit(9, 10, 0)))
    assert spilled.aborted == {55}
    pieces = list(spilled.pieces(3000))
    assert len(pieces) > 10
    found = [bytes(piece.buffer.raw[at + 1 : at + 5]) for piece in pieces for at in piece.at.tolist()]
    assert found == [b"%04d" % n for n in range(1000)]
    spilled.remove()
    assert list((tmp_path / "spill").iterdir()) == []
    folder.close()
    assert not (tmp_path / "spill").exists()


def test_what_a_crash_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("77.frames", "77.starts"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    folder = SpillFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    folder.keep(_segment(77, row(b"new")))
    spilled = folder.commit(StreamCommit(77, Commit(9, 10, 0)))
    assert [len(piece.starts) for piece in spilled.pieces(100)] == [1]
    folder.close()
    assert (tmp_path / "notes.txt").exists()


def test_an_id_may_come_round_while_its_last_transaction_is_still_read(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path)
    folder.keep(_segment(5, row(b"1")))
    first = folder.commit(StreamCommit(5, Commit(1, 2, 0)))
    folder.keep(_segment(5, row(b"2") + row(b"3")))
    second = folder.commit(StreamCommit(5, Commit(3, 4, 0)))
    assert [len(p.starts) for item in (first, second) for p in item.pieces(1 << 20)] == [1, 2]
    folder.close()


def test_a_full_disk_is_told_with_its_remedy(tmp_path: Path) -> None:
    folder = SpillFolder(tmp_path)
    (tmp_path / "8.frames").symlink_to("/dev/full")
    with pytest.raises(CaptureError, match="cannot be kept") as caught:
        folder.keep(_segment(8, row(b"x")))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert caught.value.remedy is not None
    folder.close()

"""Topics of one message for each record, read by column from a real server: the same as read one by one, in every odd case."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.buses import (
    assert_once,
    column,
    new_topic,
    numbered,
    placed,
    polled,
    rows,
    total,
    whole,
)

from bitvelocity.errors import BusError, BusLostError
from bitvelocity.streams import RECORD_SCHEMA, Partition
from bitvelocity.streams.nats import NatsBus, reading
from bitvelocity.streams.nats.client import Parser
from bitvelocity.streams.nats.coding import fetched
from bitvelocity.streams.nats.frames import Frames
from bitvelocity.streams.servers import LocalServer

pytest.importorskip("nats")

PAYLOADS = [b"", b"v", b"\r\n", b"HMSG _INBOX.x.heap-1 1 20 30\r\nNATS/1.0\r\n", b"\r\nNATS/1.0 204 EOB\r\n\r\n", bytes(range(256)), None]
HEADERS: list[Any] = [
    [], None, [("ce_id", b"16/3"), ("traceparent", b"00-1")], [("a", b"1"), ("A", b"2"), ("a", b"3")], [("x", None)],
    [("x", b" blanks ")], [("x", b"")], [("x", "\u00e9".encode())], [("bv-user", b"u17"), ("bv-change", b"c/1/2")],
    [("bv-key", b"other")], [("Nats-Rollup", b"all")], [("x", b"1\r\nNats-Sequence: 7")], [("Status", b"204")],
]  # fmt: skip
KEYS = [b"7", None, b"", b"\x00\x00\x00\x07", b"k\r\n", b" k", "\u00e9".encode()]
FOREIGN = [
    b"NATS/1.0\r\nx:1\r\ny:  2 \r\n\r\n", b"NATS/1.0\r\nTwice: 1\r\nTwice: 2\r\n\r\n", b"NATS/1.0 204 EOB\r\n\r\n",
    b"NATS/1.0 404 mine\r\nx: 1\r\n\r\n", b"NATS/1.0\r\nx: \xc3\xa9\r\n\r\n", b"NATS/1.0\r\nx: \xff\r\n\r\n", b"NATS/1.0\r\nno colon\r\nx: 1\r\n\r\n",
    b"NATS/1.0\r\nx y: 1\r\n\r\n", b"NATS/1.0\r\nbv-key: 9\r\nbv-key-base64: Mg==\r\n\r\n", b"NATS/1.0\r\nNats-Sequence: 3\r\nStatus: 503\r\n\r\n",
]  # fmt: skip


@pytest.fixture
def bus(nats_server: LocalServer) -> Iterator[NatsBus]:
    bus = NatsBus(nats_server.address, lease=2)
    yield bus
    bus.close()


def place_of(server: LocalServer) -> tuple[str, int]:
    host, _, port = server.address.removeprefix("nats://").rpartition(":")
    return host, int(port)


def odd_records(count: int) -> pa.Table:
    made = [
        {"key": KEYS[n % 7], "value": PAYLOADS[n // 3 % 7], "headers": HEADERS[n // 5 % len(HEADERS)], "timestamp": n} for n in range(count)
    ]
    return pa.Table.from_pylist(made, schema=RECORD_SCHEMA)


def send_foreign(server: LocalServer, topic: str, times: int) -> None:
    """As programs of others could, by the protocol itself: headers that no library would write, and none at all."""
    with socket.create_connection(place_of(server)) as line:
        said = b'CONNECT {"verbose":false,"headers":true}\r\n'
        for head in FOREIGN * times:
            for content in (b"", b"content"):
                said += b"HPUB %s.0 %d %d\r\n" % (topic.encode(), len(head), len(head) + len(content)) + head + content + b"\r\n"
            said += b"PUB %s.0 5\r\nplain\r\n" % topic.encode()
        line.sendall(said + b"PING\r\n")
        got = b""
        while b"PONG" not in got:
            got += line.recv(4096)
        assert b"-ERR" not in got


def one_by_one(bus: NatsBus, topic: str, offset: int, limit: int) -> pa.Table:
    partition, layout = Partition(topic, 0), bus._layout(topic)
    answers = bus._line.run(reading._messages(bus._line, layout, partition, layout.sequence(offset), limit=limit))
    return fetched(partition, answers)


def assert_same(bus: NatsBus, topic: str, end: int) -> None:
    for limit in (1, 7, 10, 50, end):
        offset = 0
        while offset < end:
            got = bus.read(Partition(topic, 0), offset, limit=limit, timeout=0)
            wanted = one_by_one(bus, topic, offset, limit)
            assert got.to_pylist() == wanted.to_pylist()
            got.validate(full=True)
            offset = got["offset"][-1].as_py() + 1


def test_odd_records_and_those_of_others_are_as_one_by_one(bus: NatsBus, nats_server: LocalServer) -> None:
    topic = new_topic(bus)
    bus.append(topic, odd_records(150))
    send_foreign(nats_server, topic, 2)
    bus.publisher("p").publish({topic: placed(1, 60)})
    bus.append(topic, odd_records(13))
    assert_same(bus, topic, bus.spans(topic)[0].end)
    got = [row for row in whole(bus, topic, 150).to_pylist() if row["offset"] < 150 + 1]
    for row, record in zip(got, odd_records(150).to_pylist(), strict=False):
        assert (row["key"], row["value"], row["headers"]) == (record["key"], record["value"], record["headers"] or [])


def test_what_the_bus_wrote_is_read_by_column_wholly(bus: NatsBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails also if the client's library no longer calls what stands before its parser."""
    topic = new_topic(bus)
    headers = [("ce_id", b"1"), ("bv-change", b"c/1"), ("bv-user", b"u")]
    table = pa.Table.from_pylist([{"key": b"\0\1", "value": b"v" * n, "headers": headers, "timestamp": n} for n in range(500)], schema=RECORD_SCHEMA)
    bus.append(topic, table)

    def forbidden(*_: object) -> pa.Table:
        raise AssertionError("read one by one")

    monkeypatch.setattr(reading, "fetched", forbidden)
    assert whole(bus, topic, 500).select(["key", "value", "headers"]).to_pylist() == table.select(["key", "value", "headers"]).to_pylist()


def test_heaps_of_several_partitions_come_at_once_with_calls_between(bus: NatsBus) -> None:
    """A member asks all its partitions together; bells ring, and others ask meanwhile on the same line."""
    topic = new_topic(bus, 4)
    bus.append(topic, numbered(0, 4000, keys=40))
    member, stop = bus.member("g", [topic]), threading.Event()

    def others() -> None:
        while not stop.is_set():
            bus.append(topic, rows([b"-1"], [b"beside"]))
            bus.spans(topic)

    beside = threading.Thread(target=others)
    beside.start()
    try:
        got = polled([member], lambda got: total(got) >= 4000, limit=800)
    finally:
        stop.set()
        beside.join()
    table = pa.concat_tables([one.records for one in got])
    ours = [value != b"-1" for value in column(table, "value")]
    assert_once(table.filter(pa.array(ours)), range(4000))
    member.close()


def test_without_what_stands_before_the_parser_all_is_as_it_was(bus: NatsBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a later version of the client's library not call it: answers to heaps come as objects."""
    topic = new_topic(bus)
    bus.append(topic, odd_records(60))
    wanted = whole(bus, topic, 60).to_pylist()
    monkeypatch.setattr(Frames, "parse", Parser.parse)
    other = NatsBus(bus._line.servers)
    assert whole(other, topic, 60).to_pylist() == wanted
    with pytest.raises(BusError, match="no such topic"):
        other.read(Partition("nowhere", 0), 0)
    other.close()


class Cutting:
    """Someone between us and the server, who ends a connection after so many bytes of answers to a heap. Once."""

    def __init__(self, server: LocalServer, after: int) -> None:
        self._server, self._after, self.has_cut = place_of(server), after, False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(self._server)
                self._sockets += [ours, theirs]
                for work in (partial(self._hand_on, ours, theirs, 0), partial(self._hand_on, theirs, ours, self._after)):
                    self._threads.append(threading.Thread(target=work))
                    self._threads[-1].start()

    def _hand_on(self, source: socket.socket, target: socket.socket, left: int) -> None:
        begun = False
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                begun = begun or (left > 0 and not self.has_cut and b".heap-" in data)
                target.sendall(data[:left] if begun else data)
                if begun and (left := left - len(data)) <= 0:
                    self.has_cut = True
                    break
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            one.close()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("after", [1, 50, 70, 300, 1000, 60_000])
def test_a_connection_lost_in_the_middle_of_a_frame_is_told_and_nothing_is_read_by_half(
    bus: NatsBus, nats_server: LocalServer, after: int
) -> None:
    topic = new_topic(bus)
    bus.append(topic, numbered(0, 1000))
    cutting = Cutting(nats_server, after)
    other = NatsBus(cutting.address)
    try:
        with pytest.raises(BusLostError):
            other.read(Partition(topic, 0), 0)
        assert cutting.has_cut
        assert other.read(Partition(topic, 0), 0).to_pylist() == bus.read(Partition(topic, 0), 0).to_pylist()
    finally:
        other.close()
        cutting.close()


def test_errors_of_reading_are_told(bus: NatsBus) -> None:
    topic = new_topic(bus)
    assert bus.read(Partition(topic, 0), 0, timeout=0).num_rows == 0
    bus._layout(topic)
    bus._line.run(bus._line.api(f"STREAM.DELETE.{topic}-0"))
    with pytest.raises(BusError, match="no such topic"):
        bus.read(Partition(topic, 0), 0, timeout=0)

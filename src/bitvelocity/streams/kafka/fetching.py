"""Reading a partition by asking its leader for batches as they are kept, and taking them apart by column.

The client (librdkafka) makes an object for each record and each header, which costs more than all that the lake does with
them. Only what is asked over and over goes this way: everything that is out of the ordinary (an error, a leader that has
moved, a format from before 2017, Kerberos) is left to the client, which knows what to do and what to say.

Source: Kafka's protocol guide, Fetch version 10 (brokers from 2.1 on; asked in version 11, followers answer too, and later),
and KIP-98 for committed records.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import BusError, SettingsError
from ..bus import Partition
from ..tls import trusting
from .batches import Aborted, Taken, records_of
from .login import Login, login_of

_FETCH, _VERSION = 1, 10
_SIZE = 4 << 20
"""Bytes of one answer; a batch that is larger comes whole."""
_LARGEST = 128 << 20
_WAIT_S = 1.0
_GRACE_S = 5.0
_AWAY_S = 10.0
"""After something out of the ordinary the client reads alone, for so long."""
_TRUSTED_S = 60.0
"""So long a leader is asked: one that is cut off from the others does not know that it leads no more."""
_KEPT = 32
_COMMITTED = 1
_US = b"bitvelocity"
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_FILES = frozenset({"ssl.ca.location", "ssl.certificate.location", "ssl.key.location"})

Leader = tuple[str, int]
Leaders = Callable[[str], Mapping[int, Leader]]
"""Host and port of the leader of each partition of a topic."""


class UnusualError(Exception):
    """This is for the client."""


_UNUSUAL = (UnusualError, BusError, OSError, ValueError, LookupError, struct.error)


class Fetching:
    """Reads by offset for all threads of a bus, from the leaders that `leaders` tells."""

    def __init__(
        self, leaders: Leaders, tls: ssl.SSLContext | None = None, login: Login | None = None
    ) -> None:
        self._tell, self._tls, self._login = leaders, tls, login
        self._leaders: dict[Partition, Leader] = {}
        self._idle: dict[Leader, list[_Line]] = {}
        self._left: dict[tuple[Partition, int], pa.Table] = {}
        self._lock = threading.Lock()
        self._away = self._told = 0.0
        self._closed = False

    def read(self, partition: Partition, offset: int, limit: int, timeout: float) -> pa.Table | None:
        """Up to `limit` records; waits for the first of them. None: let the client read."""
        with self._lock:
            left = self._left.pop((partition, offset), None)
        if left is None:
            if time.monotonic() < self._away:
                return None
            try:
                left = self._fetched(partition, offset, timeout)
            except _UNUSUAL:
                self._turn_away()
                return None
        found, rest = left.slice(0, limit), left.slice(limit)
        if rest.num_rows:
            self._keep(partition, rest)
        return found

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            self._closed = True
            lines, self._idle, self._left = [line for each in self._idle.values() for line in each], {}, {}
        for line in lines:
            line.close()

    def _fetched(self, partition: Partition, offset: int, timeout: float) -> pa.Table:
        """What one answer has; waits for records in turns, so that a leader that falls silent is noticed."""
        began, end = time.monotonic(), offset
        deadline = began + timeout
        with self._lock:
            if began > self._told + _TRUSTED_S:
                self._leaders.clear()
                self._told = began
            leader = self._leaders.get(partition)
        if leader is None:
            told = {Partition(partition.topic, number): each for number, each in self._tell(partition.topic).items()}
            with self._lock:
                self._leaders |= told
            leader = told[partition]
        while True:
            left = max(0.0, deadline - time.monotonic())
            line = self._line(leader)
            taken = self._asked(line, partition, end, min(left, _WAIT_S))
            self._give_back(leader, line)
            if taken.records.num_rows or (taken.end == end and left == 0):
                return taken.records
            end = taken.end  # what was there is for no reader: marks of transactions, and what was given up

    def _asked(self, line: _Line, partition: Partition, offset: int, wait: float) -> Taken:
        try:
            data, aborted = line.ask(partition, offset, wait)
            return records_of(data, partition.number, offset, aborted)
        except BaseException:
            line.close()
            raise

    def _line(self, leader: Leader) -> _Line:
        with self._lock:
            if self._closed:
                raise UnusualError
            idle = self._idle.get(leader, [])
            while idle:
                if (line := idle.pop()).holds:
                    return line
                line.close()
        return _Line(leader, self._tls, self._login)

    def _give_back(self, leader: Leader, line: _Line) -> None:
        with self._lock:
            if not self._closed:
                self._idle.setdefault(leader, []).append(line)
                return
        line.close()

    def _turn_away(self) -> None:
        """The client reads for a while; then all leaders are looked up anew: when one has moved, others have."""
        with self._lock:
            self._away = time.monotonic() + _AWAY_S
            self._leaders.clear()
            lines, self._idle = [line for each in self._idle.values() for line in each], {}
        for line in lines:
            line.close()

    def _keep(self, partition: Partition, rest: pa.Table) -> None:
        """For whoever reads on; what was not asked for the longest is given up."""
        with self._lock:
            self._left[partition, int(rest["offset"][0].as_py())] = rest
            if len(self._left) > _KEPT:
                self._left.pop(next(iter(self._left)))


class _Line:
    """A connection to one broker: a question, and its answer."""

    def __init__(self, leader: Leader, tls: ssl.SSLContext | None, login: Login | None) -> None:
        plain = socket.create_connection(leader, timeout=_GRACE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket = tls.wrap_socket(plain, server_hostname=leader[0]) if tls is not None else plain
        except BaseException:
            plain.close()
            raise
        self._numbers = itertools.count(1)
        self._until: float | None = None
        if login is not None:
            self._enter(login)

    @property
    def holds(self) -> bool:
        """Its login goes on for a while, or needs none."""
        return self._until is None or time.monotonic() < self._until

    def ask(self, partition: Partition, offset: int, wait: float) -> tuple[memoryview, list[Aborted]]:
        """The batches from an offset on, and the transactions among them that were given up. Any error is `UnusualError`."""
        self._socket.settimeout(wait + _GRACE_S)
        return _answer(self._told(_FETCH, _VERSION, _question(partition, offset, int(wait * 1000))))

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def _enter(self, login: Login) -> None:
        began = time.monotonic()
        try:
            if (seconds := login.enter(self._told)) is not None:
                self._until = began + seconds * 0.8
        except BaseException:
            self.close()
            raise

    def _told(self, command: int, version: int, fields: bytes) -> memoryview:
        """The fields of the answer to a command."""
        number = next(self._numbers)
        head = struct.pack("!hhih", command, version, number, len(_US)) + _US
        self._socket.sendall(struct.pack("!i", len(head) + len(fields)) + head + fields)
        size, told = struct.unpack("!ii", self._exactly(8))
        if told != number or not 4 < size < _LARGEST:
            raise UnusualError
        return self._exactly(size - 4)

    def _exactly(self, size: int) -> memoryview:
        found = bytearray(size)
        rest = memoryview(found)
        while rest:
            got = self._socket.recv_into(rest)
            if not got:
                raise UnusualError
            rest = rest[got:]
        return memoryview(found)


def directly(config: Mapping[str, Any], leaders: Leaders) -> Fetching | None:
    """For brokers that take a name and a password, or nobody's. None: only the client knows how to speak to them."""
    protocol = str(config.get("security.protocol", "plaintext")).lower()
    asked = {name for name in config if name.startswith(("ssl.", "enable.ssl")) or name.endswith(".proxy")}
    if protocol not in _PROTOCOLS or not asked <= _FILES:
        return None
    files = [Path(str(config[name])) if name in config else None for name in sorted(_FILES)]
    try:
        return Fetching(leaders, trusting(*files) if "ssl" in protocol else None, login_of(config))
    except (SettingsError, LookupError):
        return None


def _question(partition: Partition, offset: int, wait_ms: int) -> bytes:
    name = partition.topic.encode()
    how = struct.pack("!iiiibii", -1, wait_ms, 1, _SIZE, _COMMITTED, 0, -1)
    what = struct.pack("!ih", 1, len(name)) + name + struct.pack("!iiiqqi", 1, partition.number, -1, offset, -1, _SIZE)
    return how + what + struct.pack("!i", 0)  # nothing to forget


def _answer(data: memoryview) -> tuple[memoryview, list[Aborted]]:
    _, error, _, topics, length = struct.unpack_from("!ihiih", data)
    if error or topics != 1:
        raise UnusualError
    at = struct.calcsize("!ihiih") + length
    parts, _, error, _, _, _, count = struct.unpack_from("!iihqqqi", data, at)
    if parts != 1 or error:
        raise UnusualError
    at += struct.calcsize("!iihqqqi")
    aborted = [Aborted(*struct.unpack_from("!qq", data, at + 16 * each)) for each in range(max(0, count))]
    at += 16 * len(aborted)
    (size,) = struct.unpack_from("!i", data, at)
    return data[at + 4 : at + 4 + max(0, size)], aborted


__all__ = ["Fetching", "Leader", "directly"]

"""RabbitMQ's stream protocol, free of I/O: what is sent, and what comes back.

Source: `deps/rabbitmq_stream/docs/PROTOCOL.adoc` of rabbitmq-server. All numbers are big-endian. A frame is its size,
a command, a version, and the command's fields; an answer has the command's number with its highest bit set, the number of
the question, and a code.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from ...errors import BusError, BusLostError
from .rights import RIGHTS

ANSWER = 0x8000
OK = 1


class Command(IntEnum):
    """Numbers of the commands that we use."""

    DECLARE_PUBLISHER = 1
    PUBLISH = 2
    CONFIRM = 3
    PUBLISH_ERROR = 4
    PUBLISHER_SEQUENCE = 5
    DELETE_PUBLISHER = 6
    SUBSCRIBE = 7
    DELIVER = 8
    CREDIT = 9
    UNSUBSCRIBE = 12
    METADATA = 15
    METADATA_UPDATE = 16
    PEER_PROPERTIES = 17
    SASL_HANDSHAKE = 18
    SASL_AUTHENTICATE = 19
    TUNE = 20
    OPEN = 21
    CLOSE = 22
    HEARTBEAT = 23
    PARTITIONS = 25


class Code(IntEnum):
    """Codes of refusals that we tell apart."""

    NO_STREAM = 2
    NOT_AVAILABLE = 6
    NO_ACCESS = 16
    NO_PUBLISHER = 18


CODES = {
    2: "the stream is not there", 6: "the stream is not available now", 7: "the server has no PLAIN login",
    8: "the login failed", 10: "the server asks for another login", 11: "this user may log in on loopback only",
    12: "this user has no access to the virtual host", 14: "the frame is too large", 15: "an error inside the server",
    16: "access refused", 17: "the settings differ", 18: "the publisher is not there",
}  # fmt: skip


class Seek(IntEnum):
    """Where a subscription begins."""

    FIRST = 1
    LAST = 2
    NEXT = 3
    OFFSET = 4
    TIMESTAMP = 5


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the server keeps and delivers as one: `entries` in `data`, the first of them at `offset`.

    `time` is when it was appended, in milliseconds. An entry may hold several records (`records` counts them).
    """

    offset: int
    time: int
    entries: int
    records: int
    data: memoryview

    @property
    def end(self) -> int:
        return self.offset + self.records


def frame(command: Command, *fields: bytes) -> bytes:
    """One frame, of version 1."""
    size = 4 + sum(map(len, fields))
    return b"".join((struct.pack("!IHH", size, command, 1), *fields))


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


def pairs(values: Mapping[str, str]) -> bytes:
    return struct.pack("!I", len(values)) + b"".join(text(name) + text(value) for name, value in values.items())


def where(seek: Seek, value: int | None = None) -> bytes:
    """The beginning of a subscription: an offset, or milliseconds since 1970."""
    return struct.pack("!H", seek) + (b"" if value is None else struct.pack("!q", value))


class Fields:
    """The fields of a frame, read one after another."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = memoryview(data)
        self._at = 0

    def take(self, form: str) -> Any:
        """One number."""
        shape = struct.Struct("!" + form)
        (value,) = shape.unpack_from(self._data, self._at)
        self._at += shape.size
        return value

    def text(self) -> str:
        length = self.take("H")
        self._at += length
        return bytes(self._data[self._at - length : self._at]).decode()

    def texts(self) -> Sequence[str]:
        return [self.text() for _ in range(self.take("I"))]

    def pairs(self) -> Mapping[str, str]:
        return {self.text(): self.text() for _ in range(self.take("I"))}

    def rest(self) -> memoryview:
        return self._data[self._at :]


def brokers(answer: Fields) -> Mapping[str, tuple[str, int] | int]:
    """The address of each stream's leader, or the code that tells why there is none."""
    hosts: dict[int, tuple[str, int]] = {}
    for _ in range(answer.take("I")):
        reference, host = answer.take("H"), answer.text()
        hosts[reference] = (host, answer.take("I"))
    found: dict[str, tuple[str, int] | int] = {}
    for _ in range(answer.take("I")):
        name, code, leader = answer.text(), answer.take("H"), answer.take("H")
        for _ in range(answer.take("I")):
            answer.take("H")
        found[name] = code if code != OK else hosts.get(leader, Code.NOT_AVAILABLE)
    return found


def chunk(fields: Fields) -> Chunk:
    """A delivery's chunk, after the number of its subscription."""
    head = struct.Struct("!bBHIqQQIIII")
    body = fields.rest()
    _, _, entries, records, time, _, offset, _, length, _, _ = head.unpack_from(body)
    return Chunk(offset, time, entries, records, body[head.size : head.size + length])


def refusal(code: int, what: str) -> BusError:
    """The error for a code. That a stream has no leader passes by; the others do not."""
    why = CODES.get(code, f"code {code}")
    if code in (Code.NOT_AVAILABLE, Code.NO_PUBLISHER):
        return BusLostError(f"RabbitMQ cannot {what} now: {why}.", remedy="Try again when the stream has a leader.")
    remedy = "See RabbitMQ's log, and the rights of this user."
    if code == Code.NO_STREAM:
        remedy = "Make the topic first."
    elif code == Code.NO_ACCESS:
        remedy = RIGHTS
    return BusError(f"RabbitMQ does not {what}: {why}.", remedy=remedy, code=_SAID.get(code))


_SAID = {int(Code.NO_STREAM): "TopicMissing", int(Code.NO_ACCESS): "AccessRefused", 8: "AccessRefused"}

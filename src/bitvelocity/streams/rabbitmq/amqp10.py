"""One message of AMQP 1.0 as a record: what other clients wrote, in whatever layout.

Source: OASIS AMQP 1.0, part 1 (types) and part 3 (messaging format).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .encoding import AGAIN, KEY

NUMBERS = {
    0x50: "B", 0x51: "b", 0x52: "B", 0x53: "B", 0x54: "b", 0x55: "b", 0x56: "?", 0x60: "H", 0x61: "h", 0x70: "I",
    0x71: "i", 0x72: "f", 0x73: "I", 0x80: "Q", 0x81: "q", 0x82: "d", 0x83: "q",
}  # fmt: skip
CONSTANTS: Mapping[int, Any] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0, 0x45: []}
PROPERTIES, APPLICATION, DATA, VALUE = 0x73, 0x74, 0x75, 0x77
CONTENT_TYPE, CREATED = 6, 9


@dataclass(slots=True)
class Foreign:
    """A record, as it is put together."""

    millis: int
    key: bytes | None = None
    value: bytes | None = None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


def read_message(message: bytes, time: int) -> Foreign:
    """The record in a message; what is no message of AMQP 1.0 is a record with those bytes as its value.

    `time` (milliseconds) is its timestamp if it names none.
    """
    try:
        return _read(message, time)
    except (IndexError, ValueError, KeyError, struct.error):
        return Foreign(time, value=message)


def _read(message: bytes, time: int) -> Foreign:
    record, at, body = Foreign(time), 0, False
    while at < len(message):
        if message[at] != 0:
            raise ValueError("a section begins with a descriptor")
        section, at = _value(message, at + 1)
        content, at = _value(message, at)
        if section == PROPERTIES:
            _take_properties(record, content)
        elif section == APPLICATION:
            _take_headers(record, content)
        elif section in (DATA, VALUE):
            body = True
            record.value = _bytes(content) if record.value is None else record.value + (_bytes(content) or b"")
    if not body:
        raise ValueError("a message has a body")
    return record


def _take_properties(record: Foreign, content: Sequence[Any]) -> None:
    if len(content) > CREATED and content[CREATED] is not None:
        record.millis = int(content[CREATED])
    if len(content) > CONTENT_TYPE and content[CONTENT_TYPE] is not None:
        record.headers.append(("content-type", _bytes(content[CONTENT_TYPE])))


def _take_headers(record: Foreign, content: Mapping[Any, Any]) -> None:
    for name, value in content.items():
        word = name if isinstance(name, str) else str(name)
        if word == KEY:
            record.key = _bytes(value)
        else:
            record.headers.append((word.split(":", 2)[2] if word.startswith(AGAIN) else word, _bytes(value)))


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return (str(value).lower() if isinstance(value, bool) else str(value)).encode()


def _value(data: bytes, at: int) -> tuple[Any, int]:
    """One value, and where the next begins."""
    kind, at = data[at], at + 1
    if kind in CONSTANTS:
        return CONSTANTS[kind], at
    if kind in NUMBERS:
        shape = struct.Struct("!" + NUMBERS[kind])
        return shape.unpack_from(data, at)[0], at + shape.size
    if kind == 0x98:
        return uuid.UUID(bytes=data[at : at + 16]), at + 16
    if kind & 0xF0 in (0xA0, 0xB0):
        return _sized(data, at, kind)
    if kind & 0xF0 in (0xC0, 0xD0):
        return _compound(data, at, kind)
    raise ValueError(f"no constructor {kind:#x}")


def _sized(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    form = "!B" if kind < 0xB0 else "!I"
    (length,) = struct.unpack_from(form, data, at)
    at += struct.calcsize(form)
    if at + length > len(data):
        raise ValueError("cut off")
    raw = data[at : at + length]
    return raw if kind & 0x0F == 0 else raw.decode("utf-8", "replace"), at + length


def _compound(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    form = "!BB" if kind < 0xD0 else "!II"
    _, count = struct.unpack_from(form, data, at)
    at += struct.calcsize(form)
    items = []
    for _ in range(count):
        item, at = _value(data, at)
        items.append(item)
    if kind & 0x0F == 1:
        return dict(zip(items[::2], items[1::2], strict=True)), at
    return items, at

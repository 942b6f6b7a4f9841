"""Records as messages of AMQP 0.9.1, one at a time as that protocol has them, and back.

| record | message |
|---|---|
| `key` | header `bv-key` |
| `headers` | headers, in their order; text where it is UTF-8. The later ones of a repeated name go under `bv-again:<n>:<name>` |
| `timestamp` | property `timestamp` in whole seconds, and exactly, in microseconds, in header `bv-time` |
| `value` | the body; a tombstone has the header `bv-tombstone` |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pika
import pyarrow as pa

from ..bus import FETCHED_SCHEMA
from .amqp import Message
from .encoding import AGAIN, KEY

TIME = "bv-time"
TOMBSTONE = "bv-tombstone"


def published(topic: str, records: pa.Table) -> list[Message]:
    """A message for each record, to the topic's exchange."""
    stamps = records["timestamp"].cast(pa.int64()).to_pylist()
    columns = (records[name].to_pylist() for name in ("key", "value", "headers"))
    return [
        Message(topic, "", _properties(key, value, headers, stamp), value or b"", mandatory=True)
        for key, value, headers, stamp in zip(*columns, stamps, strict=True)
    ]


def _properties(key: bytes | None, value: bytes | None, headers: Any, stamp: int | None) -> Any:
    table: dict[str, Any] = {} if key is None else {KEY: key}
    if value is None:
        table[TOMBSTONE] = True
    if stamp is not None:
        table[TIME] = stamp
    seen: dict[str, int] = {}
    for name, content in headers or ():
        again = seen.get(name, 0)
        seen[name] = again + 1
        table[f"{AGAIN}{again}:{name}" if again else name] = _text(content)
    whole = None if stamp is None else max(0, stamp // 1_000_000)
    return pika.BasicProperties(delivery_mode=2, headers=table, timestamp=whole)


def _text(content: bytes | None) -> str | bytes | None:
    """Text where it is one, which every client can show."""
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def fetched(deliveries: Sequence[tuple[int, Any, bytes]]) -> pa.Table:
    """Deliveries (offset, properties, body) as rows of `FETCHED_SCHEMA`."""
    rows = [_record(offset, properties, body) for offset, properties, body in deliveries]
    return pa.Table.from_pylist(rows, schema=FETCHED_SCHEMA)


def _record(offset: int, properties: Any, body: bytes) -> dict[str, Any]:
    table = dict(properties.headers or {})
    key, stamp, tombstone = table.pop(KEY, None), table.pop(TIME, None), table.pop(TOMBSTONE, False)
    if stamp is None and properties.timestamp is not None:
        stamp = int(properties.timestamp) * 1_000_000
    return {
        "partition": 0, "offset": offset, "key": _bytes(key), "value": None if tombstone else body,
        "headers": [(_name(name), _bytes(value)) for name, value in table.items()], "timestamp": stamp,
    }  # fmt: skip


def _name(name: str) -> str:
    return name.split(":", 2)[2] if name.startswith(AGAIN) else name


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return bytes(value) if isinstance(value, bytearray) else str(value).encode()

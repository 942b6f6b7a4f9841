"""Records as messages: one in each, which any NATS client can read, or many packed in one.

| header | what |
|---|---|
| `bv-key` | the key, where it is plain text; `bv-key-base64` where it is not; neither: no key |
| `bv-timestamp` | the record's own time, in microseconds since 1970; without it the server's time counts |
| `bv-tombstone` | `true`: the value is NULL, not empty |
| `bv-headers` | all headers as JSON, `[[name, base64 or null], ...]`, where plain NATS headers could not say the same |
| `bv-packed` | the number of records; the content is one Arrow IPC stream of them |

Other headers are the record's own, those that begin with `bv-` too. Those of CloudEvents are called `ce_...` on our side, as in Kafka, and `ce-...` here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import BusError
from ..bus import FETCHED_SCHEMA, RECORD_SCHEMA, Partition
from .waiting import Answer

KEY, KEY_BASE64, TIMESTAMP, TOMBSTONE = "bv-key", "bv-key-base64", "bv-timestamp", "bv-tombstone"
HEADERS, PACKED = "bv-headers", "bv-packed"
ROOM = 1024
"""Bytes of a message that the transport's own headers may need, and the names of things."""
PACK_BITS = 16
"""A packed message has up to `2 ** PACK_BITS` records: an offset is the message's number and the record's in it."""
ATOMS = 1 << PACK_BITS
PACK_BYTES = 1 << 20
"""Of one packed message, unless it has one record only."""

Content = tuple[dict[str, str], bytes]
Pairs = Sequence[tuple[str, bytes | None]]

_PLAIN = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
OURS = frozenset({KEY, KEY_BASE64, TIMESTAMP, TOMBSTONE, HEADERS, PACKED})
_NAME = re.compile(rf"(?!nats-|ce-|(?:{'|'.join(sorted(OURS))})$)[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.IGNORECASE)


def singles(records: pa.Table, greatest: int, topic: str) -> list[Content]:
    """One message for each row of `RECORD_SCHEMA`."""
    stamps = records["timestamp"].cast(pa.int64()).to_pylist()
    columns = [records[name].to_pylist() for name in ("key", "value", "headers")]
    found = [
        (_head(key, value, pairs, stamp), value or b"")
        for key, value, pairs, stamp in zip(*columns, stamps, strict=True)
    ]
    for row, (head, value) in enumerate(found):
        if _length(head) + len(value) + ROOM > greatest:
            raise _too_long(topic, row, _length(head) + len(value), greatest)
    return found


def packs(records: pa.Table, greatest: int, topic: str) -> list[Content]:
    """As few messages as hold all rows, in order."""
    found: list[Content] = []
    waiting = [(0, records)]
    while waiting:
        row, part = waiting.pop()
        if not part.num_rows:
            continue
        most = greatest if part.num_rows == 1 else min(greatest, PACK_BYTES)
        payload = _packed(part) if part.num_rows <= ATOMS and part.nbytes < 8 * most else None
        if payload is not None and len(payload) + ROOM <= most:
            found.append(({PACKED: str(part.num_rows)}, payload))
            continue
        if part.num_rows == 1:
            raise _too_long(topic, row, part.nbytes, greatest)
        half = part.num_rows // 2
        waiting += [(row + half, part.slice(half)), (row, part.slice(0, half))]
    return found


def fetched(partition: Partition, answers: Sequence[Answer]) -> pa.Table:
    """Messages that are not packed, as a table; the offset is the message's number less one."""
    heads = [answer.headers for answer in answers]
    offsets = [int(head["Nats-Sequence"]) - 1 for head in heads]
    columns: list[Any] = [
        pa.array([partition.number] * len(heads), pa.int32()),
        pa.array(offsets, pa.int64()),
        pa.array([_key(head) for head in heads], pa.binary()),
        pa.array([None if TOMBSTONE in one.headers else one.payload for one in answers], pa.binary()),
        pa.array([_pairs(head) for head in heads], RECORD_SCHEMA.field("headers").type),
        pa.array([_time(head) for head in heads], pa.int64()).cast(RECORD_SCHEMA.field("timestamp").type),
    ]
    return pa.table(columns, schema=FETCHED_SCHEMA)


def unpacked(partition: Partition, answer: Answer) -> pa.Table:
    """The records of one packed message."""
    if PACKED not in answer.headers:
        raise BusError(
            "A message in a packed topic is not packed: somebody else has written to its subject.",
            entity=partition.topic, position=answer.headers["Nats-Sequence"], safe="It stays where it is.",
            remedy="Delete that message (`nats stream rmm`), and let other clients write to topics that are not packed.",
        )  # fmt: skip
    table = pa.ipc.open_stream(answer.payload).read_all()
    first = (int(answer.headers["Nats-Sequence"]) - 1) << PACK_BITS
    stamps = table["timestamp"]
    if stamps.null_count:
        stamps = pc.fill_null(stamps, pa.scalar(_time(answer.headers), pa.int64()).cast(stamps.type))
    rows = table.num_rows
    columns: list[Any] = [
        pa.repeat(pa.scalar(partition.number, pa.int32()), rows),
        pa.array(range(first, first + rows), pa.int64()),
        table["key"], table["value"], table["headers"], stamps,
    ]  # fmt: skip
    return pa.table(columns, schema=FETCHED_SCHEMA)


def _packed(records: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, RECORD_SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(records.combine_chunks())
    return bytes(sink.getvalue())


def _head(key: bytes | None, value: bytes | None, pairs: Pairs | None, stamp: int | None) -> dict[str, str]:
    head: dict[str, str] = {}
    if key is not None:
        if _PLAIN.fullmatch(key):
            head[KEY] = key.decode("ascii")
        else:
            head[KEY_BASE64] = base64.b64encode(key).decode("ascii")
    if stamp is not None:
        head[TIMESTAMP] = str(stamp)
    if value is None:
        head[TOMBSTONE] = "true"
    if pairs:
        _add_pairs(head, pairs)
    return head


def _add_pairs(head: dict[str, str], pairs: Pairs) -> None:
    """Plain ones as headers of the message, for others to read; when that is not all of it, the whole list as well."""
    whole = True
    for name, value in pairs:
        if value is not None and _NAME.fullmatch(name) and name not in head and _PLAIN.fullmatch(value):
            head["ce-" + name[3:] if name.startswith("ce_") else name] = value.decode("ascii")
        else:
            whole = False
    if not whole or len({name.lower() for name, _ in pairs}) < len(pairs):
        listed = [
            [name, None if value is None else base64.b64encode(value).decode("ascii")]
            for name, value in pairs
        ]
        head[HEADERS] = json.dumps(listed, separators=(",", ":"))


def _key(head: Any) -> bytes | None:
    if (plain := head.get(KEY)) is not None:
        return bytes(plain, "utf-8")
    coded = head.get(KEY_BASE64)
    return None if coded is None else base64.b64decode(coded)


def _pairs(head: Any) -> list[tuple[str, bytes | None]]:
    if listed := head.get(HEADERS):
        return [
            (name, None if value is None else base64.b64decode(value)) for name, value in json.loads(listed)
        ]
    return [
        (own, bytes(value, "utf-8")) for name, value in head.items() if (own := header_name(name)) is not None
    ]


def header_name(name: str) -> str | None:
    """As the record has it; None: it is the server's, or tells what is no header of the record."""
    if name in OURS or name[:5].lower() == "nats-":
        return None
    return "ce_" + name[3:] if name.startswith("ce-") else name


def _time(head: Any) -> int:
    """Microseconds: the record's own, else the server's, which has up to nine digits after the second."""
    if own := head.get(TIMESTAMP):
        return int(own)
    second, _, fraction = head["Nats-Time-Stamp"].removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(second + "+00:00").timestamp()) * 1_000_000 + int(
        fraction[:6].ljust(6, "0")
    )


def _length(head: dict[str, str]) -> int:
    return sum(map(len, head)) + sum(map(len, head.values())) + 4 * len(head)


def _too_long(topic: str, row: int, size: int, greatest: int) -> BusError:
    return BusError(
        f"Record {row} has {size} bytes; a message on this server may have {greatest}, {ROOM} of them for itself.",
        entity=topic, safe="Nothing of this table was written.", code="RecordTooLong",
        remedy="Raise `max_payload` in the server's configuration (NATS advises 8 MB at most), "
        "or send a reference to the content.",
    )  # fmt: skip


def total(parts: Iterable[pa.Table]) -> pa.Table:
    """Fetched tables, one after the other."""
    found = list(parts)
    return pa.concat_tables(found) if found else FETCHED_SCHEMA.empty_table()

"""Records as blobs: Arrow IPC messages, compressed, each with a checksum over what it holds and where it belongs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from bitvelocity.streams.bus import FETCHED_SCHEMA, RECORD_SCHEMA, Partition

PIECE_RECORDS = 10_000
PIECE_BYTES = 8 << 20
"""A piece is read whole, so it stays small; one record may be larger, and is a piece of its own then."""

OFFSET_SCHEMA: pa.Schema = pa.schema([("offset", pa.int64()), *RECORD_SCHEMA])
"""Of blobs whose offsets have gaps, after compaction."""

_SIZE_LIMIT = 900 << 20
"""SQLite takes no blob above 1e9 bytes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Records of one partition as they are stored. `crc` is of the data alone: `sealed` joins it to their place."""

    partition: int
    records: int
    earliest: int
    latest: int
    crc: int
    data: bytes


def shaped(records: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema, in its order and types. A cast of nothing to cast still takes its time."""
    columns = records.select(schema.names)
    return columns if columns.schema.equals(schema) else columns.cast(schema)


def pieces_of(partition: int, records: pa.Table, *, archived: bool = False) -> Iterator[Piece]:
    """Rows of one partition, cut to pieces and compressed."""
    begin = 0
    while begin < records.num_rows:
        part = records.slice(begin, PIECE_RECORDS)
        while part.num_rows > 1 and part.nbytes > PIECE_BYTES:
            part = part.slice(0, max(1, int(part.num_rows * PIECE_BYTES / part.nbytes * 0.9)))
        yield _piece(partition, part, archived=archived)
        begin += part.num_rows


def _piece(partition: int, records: pa.Table, *, archived: bool) -> Piece:
    times = pc.min_max(records["timestamp"].cast(pa.int64()))
    data = _encode(records, archived=archived)
    return Piece(partition, records.num_rows, times["min"].as_py(), times["max"].as_py(), crc32(data), data)


def _encode(records: pa.Table, *, archived: bool) -> bytes:
    """One record batch message. The schema is known, and left out: it would be the larger half of a small batch."""
    (batch,) = records.combine_chunks().to_batches()
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, records.schema, options=_options(records, archived=archived)) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue()[_HEADS[records.schema.names[0]] : -_TAIL])


# Arrow's threads would do a buffer each: for pieces of this size, handing them over costs more than the work.
_AS_IT_IS, _LZ4, _ZSTD = (ipc.IpcWriteOptions(compression=name, use_threads=False) for name in (None, "lz4", "zstd"))
_SMALL_BYTES = 4 << 10


def _options(records: pa.Table, *, archived: bool) -> ipc.IpcWriteOptions:
    return _ZSTD if archived else _AS_IT_IS if records.nbytes < _SMALL_BYTES else _LZ4


_TAIL = 8
"""The mark of a stream's end."""


def _measured(schema: pa.Schema) -> int:
    """How many bytes a stream's schema takes."""
    sink = pa.BufferOutputStream()
    ipc.new_stream(sink, schema, options=_LZ4).close()
    return int(sink.tell()) - _TAIL


_HEADS = {schema.names[0]: _measured(schema) for schema in (RECORD_SCHEMA, OFFSET_SCHEMA)}


def too_large(piece: Piece) -> bool:
    return len(piece.data) > _SIZE_LIMIT


def sealed(crc: int, partition: int, base: int, *, next: int) -> int:
    """The checksum of a stored piece: a blob that ended in another row is found out too."""
    return crc32(struct.pack("<iqqI", partition, base, next, crc))


def decode(data: bytes, partition: Partition, base: int, *, compacted: bool) -> pa.Table:
    """A stored piece as rows of `FETCHED_SCHEMA`."""
    schema = OFFSET_SCHEMA if compacted else RECORD_SCHEMA
    batch = ipc.read_record_batch(ipc.read_message(data), schema)
    rows = batch.num_rows
    offsets: pa.Array[Any] = batch.column("offset") if compacted else pa.array(np.arange(base, base + rows))
    numbers = pa.repeat(pa.scalar(partition.number, pa.int32()), rows)
    columns = [batch.column(name) for name in RECORD_SCHEMA.names]
    return pa.Table.from_arrays([numbers, offsets, *columns], schema=FETCHED_SCHEMA)

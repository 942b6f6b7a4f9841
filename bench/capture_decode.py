"""CPU of decoding pgoutput frames to Arrow batches, per row of 12 columns. Needs no server.

    python bench/capture_decode.py [--rows 60000] [--rounds 15]

The frames are made in memory, as a walsender would send them, and decoded in one piece of that size. The best
round counts, since everything else on the machine only adds to it. "casts to Polars" is what the next station
pays to have the first image as a frame, for comparison. Goal: <= 1.5 us per row.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import uuid
from array import array
from dataclasses import dataclass, field
from struct import pack

import polars as pl

from bitvelocity.capture.pgoutput import Carry, Piece, decode

COLUMNS = (
    "order_id customer_id status total_amount currency created_at created_by updated_at updated_by version "
    "deleted_at deleted_by"
).split()
SHAPES = {
    "inserts, 1000 in a transaction": (1000, 0.0, False),
    "updates with both images, 1000": (1000, 1.0, False),
    "updates, unchanged TOAST, 1000": (1000, 1.0, True),
    "half and half, 10": (10, 0.5, False),
    "inserts, 1": (1, 0.0, False),
}
Row = list[bytes | None]


@dataclass
class Frames:
    data: bytearray = field(default_factory=bytearray)
    starts: array[int] = field(default_factory=lambda: array("q"))

    def add(self, message: bytes) -> None:
        self.starts.append(len(self.data))
        self.data += b"d" + pack(">I", len(message) + 29) + b"w" + bytes(24) + message


def order() -> Row:
    stamp = b"2024-01-%02d 08:30:%02d.123456+00" % (random.randint(1, 28), random.randint(0, 59))
    amount, status = b"%.2f" % (random.random() * 1000), random.choice([b"PENDING", b"SHIPPED", b"DELIVERED"])
    ids = [str(uuid.uuid4()).encode() for _ in range(2)]
    return [
        *ids,
        status,
        amount,
        b"USD",
        stamp,
        b"app",
        stamp,
        b"ops",
        b"%d" % random.randint(1, 20),
        None,
        None,
    ]


def printed(row: Row, unchanged: int | None = None) -> bytes:
    values = [b"n" if value is None else b"t" + pack(">I", len(value)) + value for value in row]
    if unchanged is not None:
        values[unchanged] = b"u"
    return b"N" + pack(">H", len(row)) + b"".join(values)


def make(rows: int, size: int, updates: float, *, toast: bool) -> Frames:
    frames = Frames()
    described = b"".join(b"\1" + name.encode() + b"\0" + pack(">Ii", 25, -1) for name in COLUMNS)
    frames.add(b"R" + pack(">I", 7) + b"public\0orders\0f" + pack(">H", len(COLUMNS)) + described)
    for number in range(rows // size):
        frames.add(b"B" + pack(">QqI", 1000 + number, 5, number))
        context = b'{"user":"u%d","correlation_id":"%s"}' % (number % 50, str(uuid.uuid4()).encode())
        frames.add(b"M\1" + pack(">Q", 5) + b"bv.audit\0" + pack(">I", len(context)) + context)
        for _ in range(size):
            if random.random() < updates:
                old = b"O" + printed(order())[1:]
                frames.add(b"U" + pack(">I", 7) + old + printed(order(), 1 if toast else None))
            else:
                frames.add(b"I" + pack(">I", 7) + printed(order()))
        frames.add(b"C\0" + pack(">QQq", 1000 + number, 1001 + number, 5))
    return frames


def measure(frames: Frames, rows: int, rounds: int) -> dict[str, float]:
    decoding, casting = [], []
    for _ in range(rounds):
        data = bytearray(frames.data)
        began = time.thread_time()
        decoded = decode(Piece(data, frames.starts), Carry(), {})
        decoding.append(time.thread_time() - began)
        assert decoded.rows == rows
        began = time.process_time()
        cast(pl.DataFrame(pl.from_arrow(decoded.batches[0].data)))
        casting.append(time.process_time() - began)
    micro = 1e6 / rows
    return {
        "decode_us": min(decoding) * micro,
        "cast_us": min(casting) * micro,
        "bytes_per_row": len(frames.data) / rows,
    }


def cast(frame: pl.DataFrame) -> pl.DataFrame:
    stamps = [pl.col(f"after_{name}").str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", time_zone="UTC", time_unit="us")
              for name in ("created_at", "updated_at")]  # fmt: skip
    return frame.select(
        pl.col("after_total_amount").cast(pl.Decimal(10, 2)), pl.col("after_version").cast(pl.Int32), *stamps
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    random.seed(1)
    results = {}
    for name, (size, updates, toast) in SHAPES.items():
        rows = options.rows // size * size
        results[name] = measure(make(rows, size, updates, toast=toast), rows, options.rounds)
    if options.json:
        print(json.dumps(results, indent=1))
        return
    print(
        f"{'CPU us per row of 12 columns':32} {'decode':>8} {'of goal':>8} {'casts to Polars':>16} {'bytes':>7}"
    )
    for name, result in results.items():
        share = result["decode_us"] / 1.5
        print(
            f"{name:32} {result['decode_us']:8.2f} {share:8.2f} {result['cast_us']:16.2f} {result['bytes_per_row']:7.0f}"
        )


if __name__ == "__main__":
    main()

"""CPU of encoding changes as records, per row of 12 columns, beside json.dumps row by row. Needs no server.

    python bench/encode_change.py [--rows 30000] [--rounds 7]

Frames are made in memory, as a walsender would send them, and decoded; the encoders get the decoded batches. The best
round counts. "json per row" makes the same envelope from a dict of each row, values as they were printed, which is
less than the formats do; "decode" is what the rows cost before, for comparison.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from array import array
from struct import pack

from capture_decode import COLUMNS, Frames, order, printed  # type: ignore[import-not-found]

from bitvelocity.capture.pgoutput import Carry, Piece, Wants, decode
from bitvelocity.changes import Batch
from bitvelocity.changes.formats import FORMATS, ColumnFacts, Described, Encoder, Options, TableFacts

TYPES = (2950, 2950, 1043, 1700, 1042, 1184, 1043, 1184, 1043, 23, 1184, 1043)
MODIFIERS = (-1, -1, 24, (10 << 16 | 2) + 4, 7, -1, 54, -1, 54, -1, -1, 54)
DESCRIBED = Described(
    "shop",
    {"public.orders": TableFacts("public.orders", {n: ColumnFacts(t, m, not_null=i == 0) for i, (n, t, m) in
                                 enumerate(zip(COLUMNS, TYPES, MODIFIERS, strict=True))}, ("order_id",))},
)  # fmt: skip


def frames(rows: int, share: float) -> Frames:
    made = Frames()
    described = b"".join(b"\1" + n.encode() + b"\0" + pack(">Ii", t, m) for n, t, m in zip(COLUMNS, TYPES, MODIFIERS, strict=True))
    made.add(b"R" + pack(">I", 7) + b"public\0orders\0f" + pack(">H", len(COLUMNS)) + described)
    for number in range(rows // 1000):
        made.add(b"B" + pack(">QqI", 1000 + number, 5, number + 1))
        for _ in range(1000):
            row = order()
            if random.random() < share:
                made.add(b"U" + pack(">I", 7) + b"O" + printed(row)[1:] + printed(row))
            else:
                made.add(b"I" + pack(">I", 7) + printed(row))
        made.add(b"C\0" + pack(">QQq", 1000 + number, 1001 + number, 5))
    return made


def per_row(batch: Batch) -> int:
    size = 0
    for row in batch.data.to_pylist():
        after = {name: row[f"after_{name}"] for name in COLUMNS}
        before = {name: row[f"before_{name}"] for name in COLUMNS}
        source = {"lsn": row["_row_lsn"], "txId": row["_xid"], "table": "orders", "ts_ms": 5}
        event = {"before": before, "after": after, "source": source, "op": row["_op"]}
        size += len(json.dumps(event, separators=(",", ":")).encode())
    return size


def best(rounds: int, rows: int, work: object) -> float:
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()  # type: ignore[operator]
        found.append(time.process_time() - began)
    return min(found) * 1e6 / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    random.seed(1)
    print(f"{'CPU us per row of 12 columns':28} {'inserts':>9} {'updates, both images':>21}")
    results: dict[str, list[float]] = {}
    for share in (0.0, 1.0):
        made = frames(options.rows, share)
        batches = decode(Piece(bytearray(made.data), array("q", made.starts)), Carry(), {}, Wants(detail=True)).batches

        def decoding() -> None:
            decode(Piece(bytearray(made.data), array("q", made.starts)), Carry(), {}, Wants(detail=True))  # noqa: B023

        results.setdefault("decode", []).append(best(options.rounds, options.rows, decoding))
        for form in FORMATS:
            for schemas in (False, True) if form == "debezium" else (False,):

                def encoding() -> None:
                    encoder = Encoder(form, DESCRIBED, Options(schemas_enable=schemas))  # noqa: B023
                    rows = sum(table.num_rows for table in encoder.encode(batches))  # noqa: B023
                    assert rows == options.rows

                name = form + (", with schemas" if schemas else "")
                results.setdefault(name, []).append(best(options.rounds, options.rows, encoding))
        results.setdefault("json per row", []).append(best(2, options.rows, lambda: per_row(batches[0])))  # noqa: B023
    for name, figures in results.items():
        print(f"{name:28} {figures[0]:9.2f} {figures[1]:21.2f}")


if __name__ == "__main__":
    main()

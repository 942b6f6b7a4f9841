"""CPU of records in Avro and JSON, both ways, per record of 12 columns, beside fastavro and Confluent's serializer.

    python bench/wire.py [--rows 20000] [--rounds 5]

The batches are those of `encode_change.py`. "exact" has the headers that a batch needs to come back, and CloudEvents'.
"values" reads the columns of the envelope and makes no batch of them: what fastavro and the deserializer are held against.
The best round counts; fastavro and Confluent's client go record by record over a tenth of the rows.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from array import array
from collections.abc import Callable
from typing import Any

import fastavro
import pyarrow as pa
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from encode_change import DESCRIBED, best, frames  # type: ignore[import-not-found]

from bitvelocity.capture.pgoutput import Carry, Piece, Wants, decode
from bitvelocity.changes import Batch
from bitvelocity.changes.formats import Decoder, Encoder, Options, SchemaText, in_order
from bitvelocity.changes.formats.avro import AvroNotation
from bitvelocity.changes.formats.avro.reading import AvroReader
from bitvelocity.changes.formats.jsonnotation import JsonNotation
from bitvelocity.changes.formats.notation import Registered, SchemaUse

VALUE = SerializationContext("orders", MessageField.VALUE)


class Ids:
    """A registry of a few lines."""

    def __init__(self) -> None:
        self.uses: dict[str, SchemaUse] = {}

    def register(self, use: SchemaUse) -> Registered:
        self.uses.setdefault(use.text, use)
        return Registered(frame=b"\0" + list(self.uses).index(use.text).to_bytes(4, "big"))

    def look_up(self, name: bytes) -> SchemaText:
        use = list(self.uses.values())[int.from_bytes(name, "big")]
        return SchemaText(use.kind, use.text)


def ours(batches: list[Batch], measure: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, form, kind in (
        ("avro", "debezium", AvroNotation), ("avro", "bitvelocity", AvroNotation), ("avro", "debezium-unwrapped", AvroNotation),
        ("json", "debezium", JsonNotation),
    ):  # fmt: skip
        for exact in (False, True):
            ids, options = Ids(), Options(keep_exact=exact, cloudevents=exact)

            def encode() -> pa.Table:
                return in_order(Encoder(form, DESCRIBED, options, notation=kind(ids.register)).encode(batches))  # type: ignore[arg-type] # noqa: B023

            title = f"{name} {form}{', exact' if exact else ''}"
            table = encode()
            found[f"encode {title}"] = measure(encode)
            decoder = Decoder(form, ids.look_up)
            found[f"decode {title}, to a batch"] = measure(lambda: decoder.decode(table))  # noqa: B023
    return found


def values(batches: list[Batch]) -> tuple[str, pa.Array[Any]]:
    """The schema of the envelope, and framed values."""
    ids = Ids()
    table = in_order(Encoder("debezium", DESCRIBED, Options(), notation=AvroNotation(ids.register)).encode(batches))
    return next(use.text for use in ids.uses.values() if not use.is_key), table["value"].combine_chunks()


def peers(text: str, framed: pa.Array[Any], measure: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    few: list[bytes] = framed[: len(framed) // 10].to_pylist()  # type: ignore[assignment]
    schema = fastavro.parse_schema(json.loads(text))
    rows: list[Any] = [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in few]
    client: Any = SchemaRegistryClient.new_client({"url": "mock://bench"})
    writer = AvroSerializer(client, Schema(text, "AVRO"))
    reader, written = AvroDeserializer(client), [writer(row, VALUE) for row in rows]
    return {
        "encode fastavro": 10 * measure(lambda: [fastavro.schemaless_writer(io.BytesIO(), schema, row) for row in rows]),
        "encode Confluent's AvroSerializer": 10 * measure(lambda: [writer(row, VALUE) for row in rows]),
        "decode fastavro": 10 * measure(lambda: [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in few]),
        "decode Confluent's AvroDeserializer": 10 * measure(lambda: [reader(value, VALUE) for value in written]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    random.seed(1)
    results: dict[str, list[float]] = {}
    for share in (0.0, 1.0):
        made = frames(options.rows, share)
        batches = decode(Piece(bytearray(made.data), array("q", made.starts)), Carry(), {}, Wants(detail=True)).batches

        def measure(work: Callable[[], object]) -> float:
            return float(best(options.rounds, options.rows, work))

        text, framed = values(batches)
        avro = AvroReader.of(text)
        found = ours(batches, measure)
        found["decode avro debezium, values"] = measure(lambda: avro.read(framed, 5))  # noqa: B023
        for name, figure in (found | peers(text, framed, measure)).items():
            results.setdefault(name, []).append(figure)
    print(f"{'CPU us per record of 12 columns':46} {'inserts':>9} {'updates, both images':>21}")
    for name in sorted(results, reverse=True):
        print(f"{name:46} {results[name][0]:9.2f} {results[name][1]:21.2f}")


if __name__ == "__main__":
    main()

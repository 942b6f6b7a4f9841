"""Numbers of Protobuf's fields over a table's life: the registry takes each version, and old bytes are read by new classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka.schema_registry.confluent import meta_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from bitvelocity.changes import SYSTEM_FIELDS, Batch
from bitvelocity.changes.formats import (
    ColumnFacts,
    Decoder,
    Described,
    Encoder,
    Options,
    TableFacts,
    TypeFacts,
    in_order,
)
from bitvelocity.errors import RegistryError
from bitvelocity.streams.registry import SqliteStore, StoreCaller
from bitvelocity.streams.registry.protobuf import read_proto
from bitvelocity.streams.wire import Registrar, notation

INT, BIG, TEXT, TEXTS = 23, 20, 25, 1009
SUBJECT = "bv.public.things-value"
ROW = {"debezium": "after", "debezium-unwrapped": "", "bitvelocity": "payload"}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[StoreCaller]:
    """It holds each version against all before it."""
    store = SqliteStore(tmp_path / "registry.db")
    caller = StoreCaller(store)
    caller.ask("PUT", "config", {"compatibility": "BACKWARD_TRANSITIVE"})
    yield caller
    store.close()


def written(registry: StoreCaller, form: Any, row: Mapping[str, tuple[int, str | None]], **named: Any) -> dict[str, Any]:
    """The record of a row that was inserted, by a process of its own; `row`: types and values of its columns."""
    facts = {name: ColumnFacts(kind, not_null=name == "id") for name, (kind, _) in row.items()}
    told = Described("shop", {"public.things": TableFacts("public.things", facts, ("id",))}, {TEXTS: TypeFacts("_text", "array", TEXT)})
    said: dict[str, Any] = {"_op": ["c"], "_lsn": [100], "_ordinal": [0], "_xid": [9], "_committed_at": [1_000_000]}
    data = {name: pa.array(said.get(name, [None]), kind) for name, kind in SYSTEM_FIELDS}
    data |= {f"after_{name}": pa.array([value]) for name, (_, value) in row.items()}
    data |= {f"before_{name}": pa.nulls(1, pa.string()) for name in row}
    registrar = Registrar(registry, **{"register": True, **named})
    encoder = Encoder(form, told, Options(), notation=notation("protobuf", registrar.register))
    table = in_order(encoder.encode([Batch("public.things", tuple(row), pa.table(data))]))
    decoded = Decoder(form, Registrar(registry).look_up, relation=lambda _: "public.things").decode(table)
    assert decoded.refused == ()
    (back,) = decoded.batches
    assert {name: back.data[f"after_{name}"][0].as_py() for name in row} == {name: value for name, (_, value) in row.items()}
    (record,) = table.to_pylist()
    return dict(record)


def versions(registry: StoreCaller) -> list[int]:
    found: list[int] = registry.ask("GET", f"subjects/{SUBJECT}/versions")
    return found


def read_by(registry: StoreCaller, form: str, version: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a class that was compiled from that version reads it, whatever version wrote it."""
    file = read_proto(registry.ask("GET", f"subjects/{SUBJECT}/versions/{version}")["schema"]).file
    file.name = "things.proto"
    pool = DescriptorPool()
    for one in (descriptor_pb2, meta_pb2):
        pool.AddSerializedFile(one.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    value: Any = GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{file.message_type[0].name}"))()
    value.ParseFromString(record["value"][6:])
    row = getattr(value, ROW[form]) if ROW[form] else value
    return {field.name: getattr(row, field.name) for field, _ in row.ListFields()}


@pytest.mark.parametrize("form", list(ROW))
def test_a_tables_life(registry: StoreCaller, form: str) -> None:
    """Drop in the middle, rename, add, come again: no number is another column's, and old readers and records stay right."""
    first = written(registry, form, {"id": (INT, "1"), "a": (TEXT, "a"), "tags": (TEXTS, "{x,y}"), "z": (INT, "26")})
    dropped = written(registry, form, {"id": (INT, "2"), "z": (INT, "27")})
    renamed = written(registry, form, {"id": (INT, "3"), "zed": (INT, "28"), "new": (BIG, "9")})
    again = written(registry, form, {"id": (INT, "4"), "zed": (INT, "29"), "new": (BIG, "10"), "a": (TEXT, "b")})
    assert versions(registry) == [1, 2, 3, 4]
    assert read_by(registry, form, 4, first) == {"id": 1, "a": "a"}
    assert read_by(registry, form, 4, dropped) == {"id": 2}
    assert read_by(registry, form, 4, renamed) == {"id": 3, "zed": 28, "new": 9}
    assert read_by(registry, form, 4, again) == {"id": 4, "zed": 29, "new": 10, "a": "b"}
    assert read_by(registry, form, 1, again) == {"id": 4, "a": "b"}
    assert read_by(registry, form, 2, first) == {"id": 1, "z": 26}


def test_dropped_numbers_are_reserved(registry: StoreCaller) -> None:
    written(registry, "debezium-unwrapped", {"id": (INT, "1"), "a": (TEXT, "a"), "z": (INT, "26")})
    written(registry, "debezium-unwrapped", {"id": (INT, "1"), "z": (INT, "26")})
    text = registry.ask("GET", f"subjects/{SUBJECT}/versions/2")["schema"]
    assert "optional int32 z = 3;" in text
    assert "reserved 2;" in text
    assert 'reserved "a";' in text
    written(registry, "debezium-unwrapped", {"id": (INT, "1"), "z": (INT, "26"), "more": (TEXT, None)})
    text = registry.ask("GET", f"subjects/{SUBJECT}/versions/3")["schema"]
    assert "more = 4;" in text
    assert "reserved 2;" in text


def test_all_processes_say_the_same(registry: StoreCaller) -> None:
    """In whatever order the columns stand, whichever version came last, and whether or not it may register."""
    first = written(registry, "debezium", {"id": (INT, "1"), "a": (TEXT, "a"), "z": (INT, "26")})
    second = written(registry, "debezium", {"z": (INT, "26"), "new": (TEXT, None), "id": (INT, "1")})
    for _ in range(2):
        late = written(registry, "debezium", {"z": (INT, "26"), "a": (TEXT, "a"), "id": (INT, "1")}, register=False)
        assert late["value"][:6] == first["value"][:6]
        now = written(registry, "debezium", {"id": (INT, "1"), "z": (INT, "26"), "new": (TEXT, None)}, register=False)
        assert now["value"][:6] == second["value"][:6]
    assert versions(registry) == [1, 2]
    assert first["key"] == second["key"]
    with pytest.raises(RegistryError, match="no such schema"):
        written(registry, "debezium", {"id": (INT, "1"), "other": (TEXT, None)}, register=False)


def test_a_type_that_changes(registry: StoreCaller) -> None:
    """A wider one keeps the number; another is refused where the column stands, and gets a new number where it comes again."""
    narrow = written(registry, "debezium", {"id": (INT, "1"), "n": (INT, "-5"), "a": (TEXT, "a")})
    written(registry, "debezium", {"id": (INT, "1"), "n": (BIG, "-5"), "a": (TEXT, "a")})
    assert read_by(registry, "debezium", 2, narrow) == {"id": 1, "n": -5, "a": "a"}
    with pytest.raises(RegistryError, match="incompatible"):
        written(registry, "debezium", {"id": (INT, "1"), "n": (TEXT, "five"), "a": (TEXT, "a")})
    written(registry, "debezium", {"id": (INT, "1"), "a": (TEXT, "a")})
    another = written(registry, "debezium", {"id": (INT, "1"), "n": (TEXT, "five"), "a": (TEXT, "a")})
    assert versions(registry) == [1, 2, 3, 4]
    assert read_by(registry, "debezium", 4, narrow) == {"id": 1, "a": "a"}
    assert read_by(registry, "debezium", 2, another) == {"id": 1, "a": "a"}


def test_a_version_that_was_numbered_by_its_order(registry: StoreCaller) -> None:
    """As it was before numbers were kept, and registered by hand after a column was dropped."""
    registry.ask("PUT", "config", {"compatibility": "NONE"})
    written(registry, "debezium-unwrapped", {"id": (INT, "1"), "a": (TEXT, "a"), "z": (INT, "26")})
    text = registry.ask("GET", f"subjects/{SUBJECT}/versions/1")["schema"].replace("  optional string a = 2;\n", "").replace("z = 3", "z = 2")
    registry.ask("POST", f"subjects/{SUBJECT}/versions", {"schema": text, "schemaType": "PROTOBUF"})
    back = written(registry, "debezium-unwrapped", {"id": (INT, "1"), "z": (INT, "26"), "a": (TEXT, "a"), "b": (TEXT, "b")})
    assert read_by(registry, "debezium-unwrapped", 3, back) == {"id": 1, "z": 26, "a": "a", "b": "b"}
    assert "z = 2;" in registry.ask("GET", f"subjects/{SUBJECT}/versions/3")["schema"]
    assert "a = 4;" in registry.ask("GET", f"subjects/{SUBJECT}/versions/3")["schema"]

"""Silver's types keep every value and are known to every reader of Delta."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.contracts.arrow import silver_schema, silver_type
from bitvelocity.contracts.types import Kind

PRINTED: tuple[Kind, ...] = ("text", "char", "uuid", "json", "jsonb", "time", "timetz", "interval")
MOMENT = pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("of", "stored"),
    [
        (Type("boolean"), pa.bool_()),
        (Type("int16"), pa.int16()),
        (Type("int32"), pa.int32()),
        (Type("int64"), pa.int64()),
        (Type("float32"), pa.float32()),
        (Type("float64"), pa.float64()),
        (Type("decimal", precision=10, scale=2), pa.decimal128(10, 2)),
        (Type("decimal", precision=38, scale=0), pa.decimal128(38, 0)),
        (Type("decimal", precision=39, scale=2), pa.string()),
        (Type("decimal", precision=2, scale=-3), pa.string()),
        (Type("decimal", precision=2, scale=5), pa.string()),
        (Type("decimal"), pa.string()),
        (Type("date"), pa.date32()),
        (Type("timestamp"), MOMENT),
        (Type("timestamptz"), MOMENT),
        (Type("bytes"), pa.binary()),
        *((Type(kind), pa.string()) for kind in PRINTED),
        (Type("enum", native="mood", choices=("a",)), pa.string()),
        (Type("array", item=Type("int64")), pa.list_(pa.int64())),
        (Type("array", item=Type("uuid")), pa.list_(pa.string())),
        (Type("array", item=Type("array", item=Type("int64"))), pa.string()),
        (Type("array", item=Type("other", native="box")), pa.string()),
        (Type("other", native="oid"), pa.int64()),
        (Type("other", native="tsvector"), pa.string()),
    ],
    ids=str,
)
def test_stored_types(of: Type, stored: pa.DataType) -> None:
    assert silver_type(of) == stored


def test_a_delta_table_of_it_needs_no_table_feature(tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("boolean", "int16", "int64", "float32", "text", "date", "timestamp", "timestamptz", "bytes", "uuid")
    columns = [Column(name=f"The {kind}", type=Type(kind)) for kind in kinds]
    spec = EntitySpec(name="t", table="t", columns=(*columns, Column(name="n", type=Type("decimal", precision=9, scale=3))), key=())
    schema = silver_schema(spec)
    assert schema.names[0] == "The_boolean"
    assert all(field.nullable for field in schema)
    write_deltalake(tmp_path / "t", schema.empty_table())
    table = DeltaTable(tmp_path / "t")
    protocol = table.protocol()
    assert (protocol.min_reader_version, protocol.reader_features) == (1, None)
    assert table.schema().fields[-1].metadata == {"pg": "decimal(9,3)"}

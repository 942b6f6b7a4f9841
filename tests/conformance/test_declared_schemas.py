"""What `schema register` makes of declared entities is, byte for byte, what the encoder registers with the first record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.capture.catalog import describe_source
from bitvelocity.changes import SYSTEM_FIELDS, Batch
from bitvelocity.changes.formats import Encoder, Options
from bitvelocity.changes.formats.declared import declared_schemas
from bitvelocity.changes.formats.notation import Registered, SchemaUse, unregistered
from bitvelocity.contracts import EntitySpec, load_specs
from bitvelocity.oltp import apply, plan
from bitvelocity.streams.wire import NOTATIONS, notation
from bitvelocity.templates import project_folder

WIDE = '''
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID
from bitvelocity.contracts import Bits, Default, Entity, Identity, Json, Key, Length, Naive, Native, Numeric, Zoned

class Wide(Entity, table="wide", audit=False):
    """Every type, and every kind of default."""

    id: Annotated[int, Key(), Identity()]
    boolean: bool
    int16: Annotated[int, Bits(16)]
    float32: Annotated[float, Bits(32)] | None
    float64: float
    decimal: Annotated[Decimal, Numeric()]
    whole: Annotated[Decimal, Numeric(20)]
    varchar: Annotated[str, Length(5)]
    char: Annotated[str, Length(3, fixed=True)]
    clock: time
    clock_zone: Annotated[time, Zoned()]
    json: Annotated[list[int], Json(binary=False)]
    amounts: list[Annotated[Decimal, Numeric(9, 4)]]
    state: Literal["NEW", "PAID"] = "NEW"
    search: Annotated[Any, Native("tsvector")]
    address: Annotated[str, Native("inet")]
    flag: bool = True
    count: int = -1
    amount: Annotated[Decimal, Numeric(6, 2)] = Decimal("1.50")
    said: str = "it's"
    day: date = date(2026, 1, 2)
    naive: Annotated[datetime, Naive()] = datetime(2026, 1, 2, 3, 4)
    moment: Annotated[datetime, Default("now()")]
    span: timedelta = timedelta(days=1, hours=27, seconds=61.5)
    ago: timedelta = timedelta(seconds=-1)
    blob: bytes = b"\\x01\\xff"
    document: Annotated[Any, Json()] = {"a": [1, None]}
    tags: list[str] = []
    uuid: UUID = UUID(int=1)
'''
TOLD = Options(topic_prefix="shop", skipped_operations=(), cloudevents=True, keep_exact=True)


@pytest.fixture
def specs(tmp_path: Path) -> Sequence[EntitySpec]:
    (tmp_path / "wide.py").write_text(WIDE)
    return [*load_specs(project_folder("commerce") / "entities.py"), *load_specs(tmp_path / "wide.py")]


def test_every_entity_in_every_format_and_notation(database: str, specs: Sequence[EntitySpec]) -> None:
    """Over the catalog of the tables as they were made, with their defaults, enums and audit columns."""
    apply(database, plan(database, specs))
    described = describe_source(database)
    for way in NOTATIONS:
        for form in ("debezium", "debezium-unwrapped", "bitvelocity"):
            asked: list[SchemaUse] = []

            def register(use: SchemaUse, told: list[SchemaUse] = asked) -> Registered:
                told.append(use)
                return Registered()

            encoder = Encoder(form, described, TOLD, notation=notation(way, register))
            for spec in specs:
                list(encoder.encode([_empty_row(spec)]))
            settled = notation(way, unregistered)
            assert settled is not None
            declared = [use for _, use in declared_schemas(specs, form, way, settled.settle(TOLD))]
            assert declared == list(dict.fromkeys(asked)), (way, form)
            assert len(declared) > len(specs)


def _empty_row(spec: EntitySpec) -> Batch:
    names = [column.name for column in spec.columns]
    facts: dict[str, Any] = {"_op": ["c"], "_lsn": [100], "_ordinal": [0], "_xid": [9], "_committed_at": [1_000_000]}
    data = {name: pa.array(facts.get(name, [None]), kind) for name, kind in SYSTEM_FIELDS}
    data |= {f"{image}_{name}": pa.nulls(1, pa.string()) for image in ("after", "before") for name in names}
    return Batch(spec.qualified, tuple(names), pa.table(data))

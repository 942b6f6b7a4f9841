"""What `schema register` makes of declared entities is, byte for byte, what the encoder registers with the first record."""

from __future__ import annotations

from collections.abc import Sequence
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

TOLD = Options(topic_prefix="shop", skipped_operations=(), cloudevents=True, keep_exact=True)


@pytest.fixture(scope="module")
def specs() -> Sequence[EntitySpec]:
    return load_specs(project_folder("commerce") / "entities.py")


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

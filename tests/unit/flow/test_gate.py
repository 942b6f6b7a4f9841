"""The gate of changed entities: what the topics, the lake and the models say, all at once, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.changes import SYSTEM_FIELDS, Batch, Mark
from bitvelocity.contracts import load_specs
from bitvelocity.flow import Wished, check_entities, open_registry, register_entities
from bitvelocity.lakehouse import Lake
from bitvelocity.settings import Settings, load_settings
from bitvelocity.streams.registry import Caller

ENTITIES = '''
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Numeric

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
    name: str | None
    price: Annotated[Decimal, Numeric(9, 2)]
'''
MODEL = """-- model: {name}
-- key: name
-- columns:
--   name  text
--   n     bigint
select name, count(*) as n from silver.things group by name
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project whose lake has one thing."""
    (tmp_path / "models").mkdir()
    (tmp_path / "entities.py").write_text(ENTITIES)
    for name in ("counted", "counted_again"):
        (tmp_path / "models" / f"{name}.sql").write_text(MODEL.format(name=name))
    (tmp_path / "bitvelocity.toml").write_text("")
    found = load_settings(tmp_path)
    facts: dict[str, Any] = {"_op": "c", "_lsn": 100, "_ordinal": 0, "_xid": 9, "_committed_at": 1_000_000}
    row = {"id": "1", "name": "n", "price": "1.50"}
    data = {name: pa.array([facts.get(name)], kind) for name, kind in SYSTEM_FIELDS}
    data |= {f"after_{name}": pa.array([value]) for name, value in row.items()}
    data |= {f"before_{name}": pa.nulls(1, pa.string()) for name in row}
    lake = Lake(found.lake_folder, load_specs(found.entities_file), sync=False)
    lake.stage(Batch("public.things", tuple(row), pa.table(data)))
    lake.commit(Mark(100, 100))
    lake.close()
    return found


@pytest.fixture
def registry(settings: Settings) -> Iterator[Caller]:
    with open_registry(settings) as caller:
        yield caller


def test_all_reasons_at_once(settings: Settings, registry: Caller) -> None:
    wished = Wished()
    subjects = [subject for subject, _ in register_entities(settings, registry, wished)]
    assert subjects == ["bv.public.things-key", "bv.public.things-value"]
    assert register_entities(settings, registry, wished) == [("bv.public.things-key", "1"), ("bv.public.things-value", "2")]
    assert check_entities(settings, registry, wished) == []
    changed = ENTITIES.replace("name: str | None", "title: str | None").replace("Numeric(9, 2)", "Numeric(9, 3)")
    settings.entities_file.write_text(changed)
    found = check_entities(settings, registry, wished)
    assert {one.where for one in found} == {"topic", "table", "model"}
    topic = next(one for one in found if one.where == "topic")
    assert topic.at == "bv.public.things-value"
    assert "decimal(9,3)" in topic.what
    assert [one.at for one in found if one.where == "table"] == ["silver.things", "silver.things"]
    assert len([one for one in found if one.where == "model"]) == 2
    assert registry.ask("GET", "subjects/bv.public.things-value/versions") == [1]


def test_a_column_that_may_be_null_comes_in(settings: Settings, registry: Caller) -> None:
    for way in ("avro", "json"):
        for form in ("debezium", "debezium-unwrapped", "bitvelocity"):
            wished = Wished(form, way, prefix=f"{way}.{form}")
            settings.entities_file.write_text(ENTITIES)
            register_entities(settings, registry, wished)
            settings.entities_file.write_text(ENTITIES + "    note: str | None = None\n")
            assert [one for one in check_entities(settings, registry, wished) if one.where == "topic"] == [], wished

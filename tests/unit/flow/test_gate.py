"""The gate of changed entities: what the topics, the lake and the models say, all at once, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.changes import SYSTEM_FIELDS, Batch, Mark
from bitvelocity.changes.formats import Options
from bitvelocity.contracts import load_specs
from bitvelocity.errors import SettingsError
from bitvelocity.flow import Wished, check_entities, open_registry, register_entities
from bitvelocity.lakehouse import Lake, in_stored_order
from bitvelocity.settings import CONSUMED, Settings, load_settings
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
TOLD = """
[streams]
route = "bus"
wire = "protobuf"
prefix = "lake"

[[routes]]
name = "rows"
format = "debezium-unwrapped"
wire = "json-schema"
prefix = "out"
subjects = "record"

[[routes]]
name = "plain"
wire = "json"
prefix = "plain"
"""
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
    subjects = [subject for subject, _ in register_entities(settings, registry)]
    assert subjects == ["bv.public.things-key", "bv.public.things-value"]
    assert register_entities(settings, registry) == [("bv.public.things-key", "1"), ("bv.public.things-value", "2")]
    assert check_entities(settings, registry) == []
    changed = ENTITIES.replace("name: str | None", "title: str | None").replace("Numeric(9, 2)", "Numeric(9, 3)")
    settings.entities_file.write_text(changed)
    found = check_entities(settings, registry)
    assert {one.where for one in found} == {"topic", "table", "model"}
    topic = next(one for one in found if one.where == "topic")
    assert topic.at == "bv.public.things-value"
    assert "decimal(9,3)" in topic.what
    assert [one.at for one in found if one.where == "table"] == ["silver.things", "silver.things"]
    assert len([one for one in found if one.where == "model"]) == 2
    assert registry.ask("GET", "subjects/bv.public.things-value/versions") == [1]


@pytest.mark.parametrize("way", ["avro", "json", "protobuf"])
def test_a_change_in_every_notation_and_format(settings: Settings, registry: Caller, way: str) -> None:
    """A column that may be NULL comes in; an amount whose point moves is told, also where its bytes look the same."""
    for form in ("debezium", "debezium-unwrapped", "bitvelocity"):
        wished = Wished(form, way, Options(topic_prefix=f"{way}.{form}"))
        settings.entities_file.write_text(ENTITIES)
        register_entities(settings, registry, wished)
        settings.entities_file.write_text(ENTITIES + "    note: str | None = None\n")
        assert [one for one in check_entities(settings, registry, wished) if one.where == "topic"] == [], wished
        if way != "json":  # its objects are closed: a field more is refused
            settings.entities_file.write_text(ENTITIES.replace("    name: str | None\n", ""))
            assert [one for one in check_entities(settings, registry, wished) if one.where == "topic"] == [], wished
        settings.entities_file.write_text(ENTITIES.replace("Numeric(9, 2)", "Numeric(9, 3)"))
        told = [one.what for one in check_entities(settings, registry, wished) if one.where == "topic"]
        if form == "bitvelocity":  # an amount is text there
            assert told == []
        else:
            assert told
            assert all("LOGICAL_TYPE_MISMATCH" in what and "decimal(9,3)" in what for what in told), told


def test_what_the_project_writes(settings: Settings, registry: Caller) -> None:
    """Over the bus and each route, as bitvelocity.toml says it; plain JSON has no schemas."""
    (settings.root / "bitvelocity.toml").write_text(TOLD)
    told = load_settings(settings.root)
    subjects = [subject for subject, _ in register_entities(told, registry)]
    assert subjects == [
        "lake.public.things-key", "lake.public.things-value", "out.public.things.Key", "out.public.things.Value",
    ]  # fmt: skip
    held = {one["subject"]: one.get("schemaType", "AVRO") for one in registry.ask("GET", "schemas")}
    assert held == dict.fromkeys(subjects[:2], "PROTOBUF") | dict.fromkeys(subjects[2:], "JSON")
    settings.entities_file.write_text(ENTITIES.replace("Numeric(9, 2)", "Numeric(9, 3)"))
    found = check_entities(told, registry)
    assert {one.at for one in found if one.where == "topic"} == {"lake.public.things-value", "out.public.things.Value"}


def test_columns_stand_as_the_table_has_them(settings: Settings) -> None:
    """One that was declared between two others is added behind them: fields of Protobuf are numbered by it."""
    settings.entities_file.write_text(ENTITIES.replace("    name: str | None\n", "    note: str | None\n    name: str | None\n"))
    (spec,) = in_stored_order(settings.lake_folder, load_specs(settings.entities_file))
    assert [column.name for column in spec.columns] == ["id", "name", "price", "note"]


CONSUMERS = """
[[consumers]]
name = "billing"
entity = "things"
fields = ["id", "price: decimal(12,2) not null", "name: text"]

[[consumers]]
name = "search"
entity = "things"
topic = "out.public.things"
fields = ["id: int64", "name"]

[[routes]]
name = "rows"
prefix = "out"
"""


def told_by(settings: Settings, registry: Caller, toml: str, entities: str) -> list[tuple[str, str]]:
    (settings.root / "bitvelocity.toml").write_text(toml)
    settings.entities_file.write_text(entities)
    found = check_entities(load_settings(settings.root), registry)
    return [(one.at, one.what) for one in found if one.where == "consumer"]


def test_consumers_are_named_with_what_would_break_them(settings: Settings, registry: Caller) -> None:
    assert told_by(settings, registry, CONSUMERS, ENTITIES) == []
    wider = ENTITIES.replace("Numeric(9, 2)", "Numeric(12, 2)")
    assert told_by(settings, registry, CONSUMERS, wider) == []
    changed = ENTITIES.replace("name: str | None", "title: str | None").replace("Numeric(9, 2)]", "Numeric(9, 3)] | None")
    assert told_by(settings, registry, CONSUMERS, changed) == [
        ("billing", "things.price: it reads this as decimal(12,2), and it is decimal(9,3)"),
        ("billing", "things.price: it cannot do without a value, and there may be none"),
        ("billing", "things.name: it reads this column, and there is none of that name"),
        ("search", "things.name: it reads this column, and there is none of that name"),
    ]
    less = CONSUMERS + '[routes.options]\n"column.exclude.list" = "public.things.name"\n'
    assert told_by(settings, registry, less, ENTITIES) == [
        ("search", "things.name: it reads this column, and the records on out.public.things leave it out"),
    ]
    elsewhere = CONSUMERS.replace('prefix = "out"', 'prefix = "new"').replace('name = "billing"\nentity = "things"', 'name = "billing"\nentity = "gone"')
    assert told_by(settings, registry, elsewhere, ENTITIES) == [
        ("billing", "it reads gone, and there is no such entity"),
        ("search", "it reads things on out.public.things, and no record of it goes there"),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [('fields = []', "fields"), ('fields = [": text"]', "fields"), ('fields = ["a"]\nreads = 1', "reads"), ('fields = ["a"]\nentity = ""', "entity")],
)  # fmt: skip
def test_a_consumer_that_says_nothing(tmp_path: Path, line: str, says: str) -> None:
    entity = "" if "entity" in line else 'entity = "things"\n'
    (tmp_path / "bitvelocity.toml").write_text(f'[[consumers]]\nname = "billing"\n{entity}{line}\n')
    with pytest.raises(SettingsError, match=says):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("told", "parts"),
    [("a", ("a", None, None)), ("a: text", ("a", "text", None)), ("a : decimal(12, 2) not null", ("a", "decimal(12, 2)", "not null")),
     ("a: not null", ("a", None, "not null")), ("order id: enum:public.mood", ("order id", "enum:public.mood", None))],
)  # fmt: skip
def test_how_a_field_is_written(told: str, parts: tuple[str | None, ...]) -> None:
    match = CONSUMED.fullmatch(told)
    assert match
    assert match.group("name", "type", "needed") == parts

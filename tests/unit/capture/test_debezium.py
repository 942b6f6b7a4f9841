"""Configurations for Debezium: what is written, what is refused. Debezium itself judges them in tests/conformance."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.capture.debezium import (
    FORMS,
    Endpoint,
    Form,
    Plan,
    connector_options,
    endpoint,
    render,
    secret,
)
from bitvelocity.contracts import Default, Entity, EntitySpec, Key, Partition, spec_of
from bitvelocity.errors import SettingsError

Monthly = Partition(column="at", step="month")


class Generated(Entity, table="generated", audit=False, partition=Monthly):
    id: Annotated[UUID, Key(), Default("gen_random_uuid()")]
    at: datetime


class Given(Entity, table="given", audit=False, partition=Monthly):
    """Its numbers come from elsewhere: two months may have the same."""

    id: Annotated[int, Key()]
    at: datetime


class Several(Entity, table="several", audit=False, partition=Monthly):
    device: Annotated[UUID, Key(), Default("gen_random_uuid()")]
    sensor: Annotated[str, Key()]
    at: Annotated[datetime, Key()]


class Plain(Entity, table="plain", audit=False):
    id: Annotated[UUID, Key(), Default("gen_random_uuid()")]


def plan(*specs: EntitySpec, **more: Any) -> Plan:
    facts: dict[str, Any] = {
        "endpoint": Endpoint("db.example", 5432, "shop", "debezium"), "specs": specs or (spec_of(Plain),),
        "publication": "bitvelocity", "slot": "debezium", "topic_prefix": "shop", "password": secret("env:SECRET"),
    }  # fmt: skip
    return Plan(**{**facts, **more})


def options(*specs: EntitySpec, **more: Any) -> dict[str, str]:
    return {option.name: option.value for option in connector_options(plan(*specs, **more), "${env:SECRET}")}


def test_a_key_is_shortened_only_where_one_column_is_unique_by_how_it_is_made() -> None:
    made = options(*map(spec_of, (Generated, Given, Several, Plain)))
    assert made["message.key.columns"] == "public[.]generated:id"
    assert "message.key.columns" not in options(spec_of(Plain))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.text(min_size=1))
def test_a_table_is_meant_alone(name: str, other: str) -> None:
    """Whatever its name: the expression is that of Java and, but for `\\x{...}`, of Python."""
    pattern = options(EntitySpec(name="t", table=name, columns=(), key=()))["table.include.list"]
    assert not set(pattern) & set(",:;$\n")
    expression = re.sub(r"\\x\{([0-9a-f]+)\}", lambda match: re.escape(chr(int(match[1], 16))), pattern)
    assert re.fullmatch(expression, f"public.{name}")
    assert name == other or not re.fullmatch(expression, f"public.{other}")


def test_what_is_set_wins() -> None:
    more = {"decimal.handling.mode": "double", "provide.transaction.metadata": "true", "tasks.max": "1"}
    assert options(more=more).items() >= more.items()
    document = json.loads(render(plan(more={"value.converter.schemas.enable": "true"}), "connect"))
    assert document["config"]["value.converter.schemas.enable"] == "true"
    assert options(snapshot=False)["snapshot.mode"] == "no_data"


@pytest.mark.parametrize("form", FORMS)
def test_no_password_in_any_form(form: Form) -> None:
    text = render(plan(), form)
    assert "${SECRET}" in text or "${env:SECRET}" in text
    with pytest.raises(SettingsError, match="may not stand") as refused:
        render(plan(more={"database.password": "s3cret"}), form)
    assert "s3cret" not in str(refused.value)


def test_places_of_a_password() -> None:
    assert secret("env:DB_PASSWORD").for_connect == "${env:DB_PASSWORD}"
    assert secret("env:DB_PASSWORD").for_server == "${DB_PASSWORD}"
    assert secret("file:/etc/db.properties:password").for_connect == "${file:/etc/db.properties:password}"
    assert secret("secrets:shop/db:password").for_connect == "${secrets:shop/db:password}"
    with pytest.raises(SettingsError, match="Debezium Server cannot"):
        assert secret("file:/etc/db.properties:password").for_server
    for wrong in ("hunter2", "env:", "env:A B", "file:only", "secrets:db:password", "env:A}${env:B"):
        with pytest.raises(SettingsError) as refused:
            secret(wrong)
        assert "hunter2" not in str(refused.value)


def test_topics_need_a_name_that_kafka_takes() -> None:
    with pytest.raises(SettingsError, match="topic prefix 'a b'"):
        options(topic_prefix="a b")


def test_several_hosts_are_refused() -> None:
    with pytest.raises(SettingsError, match="takes one"):
        endpoint("host=a,b port=1,2 dbname=d")
    with pytest.raises(SettingsError, match="cannot be read") as refused:
        endpoint("postgresql://u:s3cret@[bad/d")
    assert "s3cret" not in str(refused.value)


def test_properties_are_ascii() -> None:
    """Java reads them as Latin-1 here and as UTF-8 there."""
    text = render(plan(more={"heartbeat.action.query": "select 'naïve 🙂\\'\n"}), "server")
    assert text.isascii()
    assert "select 'na\\u00efve \\ud83d\\ude42\\\\'\\n" in text


def test_every_line_of_strimzi_is_flat() -> None:
    """Names and quoted strings, one a line; reasons beside them as comments."""
    text = render(plan(unwrap=True), "strimzi")
    lines = [line for line in text.partition("  config:\n")[2].splitlines() if not line.startswith("    #")]
    assert all(re.fullmatch(r'    [\w.]+: "[^\n]*"', line) for line in lines)
    assert "  tasksMax: 1\n" in text
    assert "database.server.name" not in text.replace("(before: database.server.name)", "")

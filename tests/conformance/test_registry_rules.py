"""Rules of a contract: kept here, run by Confluent's client. A rule of our own kind shows what it is given, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    Metadata,
    MetadataProperties,
    Rule,
    RuleKind,
    RuleMode,
    RuleParams,
    RuleSet,
    Schema,
    SchemaRegistryClient,
    ServerConfig,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.rule_registry import RuleRegistry
from confluent_kafka.schema_registry.serde import RuleContext, RuleExecutor
from confluent_kafka.serialization import MessageField, SerializationContext, SerializationError

from .registry_server import running

VALUE = SerializationContext("orders", MessageField.VALUE)
LATEST = {"auto.register.schemas": False, "use.latest.version": True}


def record(field: str) -> str:
    return '{"type": "record", "name": "Order", "fields": [{"name": "%s", "type": "string"}]}' % field  # noqa: UP031 - braces


class Ours(RuleExecutor):
    """`upper <field>`, `some <field>` and `move <from> <to>`."""

    def type(self) -> str:
        return "OURS"

    def transform(self, ctx: RuleContext, message: Any) -> Any:
        word, *names = (ctx.rule.expr or "").split()
        if word == "some":
            return bool(message[names[0]])
        if word == "upper":
            return {**message, names[0]: message[names[0]].upper()}
        return {names[1]: message[names[0]]}


def rule(name: str, expr: str, mode: RuleMode = RuleMode.WRITE, kind: RuleKind = RuleKind.TRANSFORM) -> Rule:
    return Rule(name, None, kind, mode, "OURS", None, RuleParams({"k": "v"}), expr, None, "ERROR", disabled=False)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[SchemaRegistryClient]:
    with running(tmp_path / "registry.db") as served, SchemaRegistryClient({"url": served.url}) as one:
        yield one


@pytest.fixture
def known() -> RuleRegistry:
    rules = RuleRegistry()  # type: ignore[no-untyped-call]
    rules.register_executor(Ours())
    return rules


def test_rules_of_values(client: SchemaRegistryClient, known: RuleRegistry) -> None:
    """A transformation and a condition; a value that does not fulfil it is not written."""
    rules = RuleSet(None, [rule("loud", "upper id"), rule("some", "some id", kind=RuleKind.CONDITION)])
    client.register_schema("orders-value", Schema(record("id"), "AVRO", rule_set=rules))
    held = client.get_latest_version("orders-value").schema.rule_set
    assert held is not None
    assert held.to_dict()["domainRules"] == rules.to_dict()["domainRules"]
    write = AvroSerializer(client, record("id"), conf=LATEST, rule_registry=known)
    assert AvroDeserializer(client)(write({"id": "a"}, VALUE), VALUE) == {"id": "A"}
    with pytest.raises(SerializationError):
        write({"id": ""}, VALUE)


def test_rules_between_versions(client: SchemaRegistryClient, known: RuleRegistry) -> None:
    """A field gets another name in a new major version; old records are read as new ones, by its own migration rule."""
    client.set_config("orders-value", ServerConfig(compatibility_group="major"))
    for major, field in ("1", "id"), ("2", "number"):
        moves = RuleSet([rule("up", "move id number", RuleMode.UPGRADE)], None) if major == "2" else None
        about = Metadata(None, MetadataProperties({"major": major}), None)
        client.register_schema("orders-value", Schema(record(field), "AVRO", metadata=about, rule_set=moves))
    first = {"auto.register.schemas": False, "use.latest.with.metadata": {"major": "1"}}
    old = AvroSerializer(client, record("id"), conf=first, rule_registry=known)({"id": "a"}, VALUE)
    second = {"use.latest.with.metadata": {"major": "2"}}
    assert AvroDeserializer(client, conf=second, rule_registry=known)(old, VALUE) == {"number": "a"}


def test_rules_of_a_subject(client: SchemaRegistryClient, known: RuleRegistry) -> None:
    """What a subject prescribes: by default, and whatever the schema says; a rule's name stands once."""
    config = ServerConfig(
        default_rule_set=RuleSet(None, [rule("loud", "upper id"), rule("mine", "some id", kind=RuleKind.CONDITION)]),
        override_rule_set=RuleSet(None, [rule("last", "upper id")]),
    )
    client.set_config("orders-value", config)
    number = client.register_schema("orders-value", Schema(record("id"), "AVRO", rule_set=RuleSet(None, [rule("mine", "upper id")])))
    held = client.get_latest_version("orders-value").schema.rule_set
    assert held is not None
    assert held.domain_rules is not None
    assert [(one.name, one.expr) for one in held.domain_rules] == [("loud", "upper id"), ("mine", "upper id"), ("last", "upper id")]
    assert client.register_schema("orders-value", Schema(record("id"), "AVRO")) == number
    written = AvroSerializer(client, record("id"), conf=LATEST, rule_registry=known)({"id": "a"}, VALUE)
    assert AvroDeserializer(client)(written, VALUE) == {"id": "A"}

"""The three forms in which Debezium is configured: Debezium Server, Kafka Connect, Strimzi."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Literal

from .options import CONNECTOR, GIVEN, Option, Plan, connector_options, converters

Form = Literal["server", "connect", "strimzi"]

WIDTH = 110
SERVER_OWN = ("format.", "sink.")
"""How options begin that are Debezium Server's, and not the connector's."""
SERVER_HEAD = "Debezium Server's config/application.properties. Made by `bitvelocity debezium-config`."
STRIMZI_HEAD = (
    "A connector for Strimzi's operator. Made by `bitvelocity debezium-config`. The KafkaConnect resource that runs it "
    "needs Debezium's PostgreSQL plugin, the annotation strimzi.io/use-connector-resources, and in its config: "
)


def render(plan: Plan, form: Form) -> str:
    """The configuration as the text of a file."""
    return FORMS[form](plan)


def server_properties(plan: Plan) -> str:
    """`application.properties` of Debezium Server, with Kafka as its sink."""
    lines = [*_comment(SERVER_HEAD), ""]
    own = {name: value for name, value in plan.more.items() if name.startswith(SERVER_OWN)}
    of_connector = {name: value for name, value in plan.more.items() if name not in own}
    for option in connector_options(replace(plan, more=of_connector), plan.password.for_server):
        is_transform = option.name.startswith("transforms")
        lines += _properties(option, "debezium." if is_transform else "debezium.source.")
    lines += ["", *_comment("Where it stands after a restart. Keep this file: without it the snapshot begins anew.")]
    for option in _offsets():
        lines += _properties(option, "debezium.source.")
    lines += ["", *_comment("What it writes, and where to.")]
    sink = {option.name: option for option in _sink()} | {name: Option(name, value, GIVEN) for name, value in own.items()}
    for option in sink.values():
        lines += _properties(option, "debezium.")
    return "\n".join(lines) + "\n"


def connect_json(plan: Plan) -> str:
    """The document that one POSTs to /connectors of a Kafka Connect worker. JSON has no room for reasons."""
    config = {option.name: option.value for option in _connector(plan)}
    return json.dumps({"name": _name(plan), "config": config}, indent=2, ensure_ascii=False) + "\n"


def strimzi_yaml(plan: Plan) -> str:
    """A `KafkaConnector` of Strimzi."""
    provider = f"config.providers: {plan.password.kind}, config.providers.{plan.password.kind}.class: {plan.password.provider}"
    lines = [*_comment(STRIMZI_HEAD + provider), "apiVersion: kafka.strimzi.io/v1", "kind: KafkaConnector", "metadata:"]
    lines += [f"  name: {_quoted(_name(plan))}", "  labels:", "    # The name of your KafkaConnect."]
    lines += ['    strimzi.io/cluster: "connect"', "spec:", f"  class: {CONNECTOR}"]
    lines += [*_comment("A slot has one reader: more tasks would stay idle.", "  "), "  tasksMax: 1", "  config:"]
    for option in _connector(plan):
        if option.name not in ("connector.class", "tasks.max"):
            lines += [*_comment(option.why, "    "), f"    {option.name}: {_quoted(option.value)}"]
    return "\n".join(lines) + "\n"


FORMS: dict[str, Callable[[Plan], str]] = {"server": server_properties, "connect": connect_json, "strimzi": strimzi_yaml}


def _connector(plan: Plan) -> list[Option]:
    """What Kafka Connect is told: the connector's options and the converters, of which --set may change any."""
    made = {option.name: option for option in connector_options(plan, plan.password.for_connect)}
    own = [Option("tasks.max", "1"), *converters("")]
    return [*made.values(), *(option for option in own if option.name not in made)]


def _offsets() -> Iterator[Option]:
    yield Option("offset.storage", "org.apache.kafka.connect.storage.FileOffsetBackingStore")
    yield Option("offset.storage.file.filename", "data/offsets.dat")
    yield Option("offset.flush.interval.ms", "0", "after every batch: what comes twice after a crash is little")


def _sink() -> Iterator[Option]:
    yield Option("format.key", "json")
    yield Option("format.value", "json")
    yield Option("format.schemas.enable", "false", "schemas make an event six times as long")
    why = "the converter's default puts the column's default where the row has NULL"
    yield Option("format.value.replace.null.with.default", "false", why)
    yield Option("sink.type", "kafka")
    yield Option("sink.kafka.producer.bootstrap.servers", "${KAFKA_BOOTSTRAP_SERVERS:localhost:9092}")
    for part in ("key", "value"):
        yield Option(f"sink.kafka.producer.{part}.serializer", "org.apache.kafka.common.serialization.StringSerializer")


def _name(plan: Plan) -> str:
    """A name that both Connect and Kubernetes take."""
    plain = re.sub(r"[^a-z0-9]+", "-", plan.topic_prefix.lower()).strip("-") or "bitvelocity"
    return f"{plain[:200]}-postgres"


def _properties(option: Option, prefix: str) -> Iterable[str]:
    value = option.value.replace("\\", "\\\\").replace("\n", "\\n")
    return [*_comment(option.why), f"{prefix}{option.name}={_latin(value)}"]


def _latin(text: str) -> str:
    """Java reads properties as Latin-1 here and as UTF-8 there: escapes are the same in both."""
    return "".join(c if 31 < ord(c) < 127 else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _comment(text: str, indent: str = "") -> list[str]:
    """A reason as lines of comment; none for none."""
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ") if text else []


def _quoted(text: str) -> str:
    """A string of YAML: JSON's are its own."""
    return json.dumps(text, ensure_ascii=False)

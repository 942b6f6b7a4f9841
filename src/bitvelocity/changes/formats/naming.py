"""Names of topics and schemas, as Debezium makes them valid."""

from __future__ import annotations

import re

from .options import Options

_TOPIC = re.compile(r"[^a-zA-Z0-9._\-]")
_AVRO = re.compile(r"[^a-zA-Z0-9_.]")
_AVRO_FIELD = re.compile(r"[^a-zA-Z0-9_]")


def topic_of(relation: str, options: Options) -> str:
    """The topic of a table."""
    schema, _, table = relation.partition(".")
    return sanitized(options.topic_delimiter.join((options.topic_prefix, schema, table)))


def sanitized(topic: str) -> str:
    """Every sign that a topic's name must not have is an underscore."""
    return _TOPIC.sub("_", topic)


def adjusted(name: str, mode: str) -> str:
    """A schema's name under `schema.name.adjustment.mode`."""
    return _adjust(name, mode, _AVRO)


def adjusted_field(name: str, mode: str) -> str:
    """A field's name under `field.name.adjustment.mode`."""
    return _adjust(name, mode, _AVRO_FIELD)


def _adjust(name: str, mode: str, invalid: re.Pattern[str]) -> str:
    if mode == "none" or not name:
        return name
    if mode == "avro":
        return invalid.sub("_", "_" + name if name[0].isdigit() else name)
    escaped = re.sub(f"{invalid.pattern}|_", lambda found: f"_u{ord(found[0]):04x}", name)
    return f"_u{ord(name[0]):04x}{escaped[1:]}" if name[0].isdigit() else escaped

"""The options of a Debezium connector for a project's tables, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...contracts import EntitySpec
from ...errors import SettingsError
from .endpoint import Endpoint
from .secret import Secret

CONNECTOR = "io.debezium.connector.postgresql.PostgresConnector"
JSON = "org.apache.kafka.connect.json.JsonConverter"
UNWRAP = "io.debezium.transforms.ExtractNewRecordState"
TOPIC_PREFIX = re.compile(r"[A-Za-z0-9._-]+")
GIVEN = "given with --set"
OWN_MESSAGES = ("bv.heartbeat", "bv.watermark")


@dataclass(frozen=True, slots=True)
class Option:
    """One line of a configuration. An empty `why` needs none."""

    name: str
    value: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a Debezium shall capture, and in which form."""

    endpoint: Endpoint
    specs: Sequence[EntitySpec]
    publication: str
    slot: str
    topic_prefix: str
    password: Secret
    snapshot: bool = True
    """Read the tables as they are first; False begins where the slot begins."""
    unwrap: bool = False
    """Flat rows instead of envelopes."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Options that win over ours, by name."""


def connector_options(plan: Plan, password: str) -> list[Option]:
    """The connector's options in the order in which a reader wants them; `password` is the reference to it."""
    if not TOPIC_PREFIX.fullmatch(plan.topic_prefix):
        raise SettingsError(
            f"The topic prefix {plan.topic_prefix!r} cannot be part of a topic's name.",
            remedy="Use letters, digits, dots, hyphens and underscores.",
        )
    if not plan.more.get("database.password", "${").startswith("${"):
        raise SettingsError(
            "A password may not stand in the configuration.", remedy="Say where it is found: --password-from env:NAME"
        )
    parts = (_where(plan, password), _what(plan), _how(plan), _unwrap() if plan.unwrap else ())
    made = {option.name: option for part in parts for option in part}
    for name, value in plan.more.items():
        made[name] = Option(name, value, GIVEN)
    return list(made.values())


def _where(plan: Plan, password: str) -> Iterator[Option]:
    at = plan.endpoint
    yield Option("connector.class", CONNECTOR)
    yield Option("database.hostname", at.host)
    yield Option("database.port", str(at.port))
    yield Option("database.dbname", at.database)
    yield Option("database.user", at.user, "needs LOGIN, REPLICATION, and SELECT on the tables for the snapshot")
    yield Option("database.password", password, "a reference, resolved where the connector runs")
    yield Option("database.sslmode", at.sslmode)
    if at.sslrootcert:
        yield Option("database.sslrootcert", at.sslrootcert, "a path on the machine that runs the connector")


def _what(plan: Plan) -> Iterator[Option]:
    yield Option("topic.prefix", plan.topic_prefix, "required since Debezium 2 (before: database.server.name)")
    yield Option("plugin.name", "pgoutput", "PostgreSQL's own; the default, decoderbufs, is an extension of its own")
    yield Option("slot.name", plan.slot, "its own: a slot has one reader, and bitvelocity up reads another")
    yield Option(
        "publication.name", plan.publication, "made by bitvelocity apply, with publish_via_partition_root: partitioned tables come as one"
    )  # fmt: skip
    yield Option("publication.autocreate.mode", "disabled", "Debezium's own would send partitions under their own names")
    tables = ",".join(_pattern(spec.qualified) for spec in plan.specs)
    yield Option("table.include.list", tables, "regular expressions, anchored: no partition is read beside its root")
    if keys := _message_keys(plan.specs):
        why = "the partition column is in the primary key only because PostgreSQL wants it there"
        yield Option("message.key.columns", keys, why)


def _how(plan: Plan) -> Iterator[Option]:
    if plan.snapshot:
        yield Option("snapshot.mode", "initial", "the tables as they are, then their changes")
    else:
        yield Option("snapshot.mode", "no_data", "[capture] snapshot is never: changes only")
    yield Option("skipped.operations", "none", "the default leaves TRUNCATE out")
    yield Option("decimal.handling.mode", "string", "exact and readable; precise is base64 in JSON, double loses money")
    yield Option("heartbeat.interval.ms", "10000", "a quiet table must not hold the WAL of its busy neighbours")
    beat = f"select pg_logical_emit_message(false, '{OWN_MESSAGES[0]}', '')"
    yield Option("heartbeat.action.query", beat, "gives the slot something to confirm, without a table of heartbeats")
    excluded = ",".join(map(_pattern, OWN_MESSAGES))
    yield Option("message.prefix.exclude.list", excluded, "bv.audit, who changed what, stays: topic <prefix>.message")


def _unwrap() -> Iterator[Option]:
    yield Option("transforms", "unwrap")
    yield Option("transforms.unwrap.type", UNWRAP, "the row as it is now instead of the envelope; TRUNCATE does not pass")
    yield Option(
        "transforms.unwrap.delete.tombstone.handling.mode", "rewrite-with-tombstone",
        "a delete is a row with __deleted, then a tombstone for compaction (3.2 removed drop.tombstones)",
    )  # fmt: skip
    why = "its default puts the column's default where the row has NULL, as the converter's does"
    yield Option("transforms.unwrap.replace.null.with.default", "false", why)
    yield Option("transforms.unwrap.add.fields", "op,table,lsn,txId,source.ts_ms", "what the envelope said, as __op, ...")


def converters(prefix: str) -> Iterator[Option]:
    """Keys and values as plain JSON, for a form that names its converters."""
    for part in ("key", "value"):
        yield Option(f"{prefix}{part}.converter", JSON)
    for part in ("key", "value"):
        why = "schemas make an event six times as long" if part == "key" else ""
        yield Option(f"{prefix}{part}.converter.schemas.enable", "false", why)
    why = "the converter's default puts the column's default where the row has NULL"
    yield Option(f"{prefix}value.converter.replace.null.with.default", "false", why)


def _message_keys(specs: Sequence[EntitySpec]) -> str:
    """`message.key.columns` for tables whose key says more than it needs."""
    short = ((spec, _short_key(spec)) for spec in specs)
    return ";".join(f"{_pattern(spec.qualified)}:{key}" for spec, key in short if key)


def _short_key(spec: EntitySpec) -> str | None:
    """The column that tells rows apart when the column of the time partitions is taken from the key.

    Only one that is unique by how it is made, a number that PostgreSQL counts or a generated UUID, may stand alone:
    with any other, two rows would be one to a compacted topic.
    """
    partition = spec.partition
    if partition is None or partition.by != "time":
        return None
    rest = [name for name in spec.key if name != partition.column]
    if len(rest) != 1:
        return None
    column = spec.by_name[rest[0]]
    generated = column.default is not None and "uuid" in column.default
    return column.name if column.identity or generated else None


def _pattern(name: str) -> str:
    """A regular expression of Java for exactly this name, safe in lists, properties and YAML."""
    return "".join(c if c.isalnum() or c in "_- " else "[.]" if c == "." else f"\\x{{{ord(c):x}}}" for c in name)

"""What a project says about itself: `bitvelocity.toml` and the environment, typed and checked.

Every value may be `"${NAME}"`, taken from the environment: that is where secrets belong. `BITVELOCITY_DSN` wins over
`[database] dsn`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from .errors import SettingsError

FILE_NAME = "bitvelocity.toml"
SNAPSHOTS = ("initial", "never")
SOURCES = ("postgres", "debezium")
FEEDS = ("auto", "walsender", "copy")
TRANSPORTS = ("kafka", "nats", "rabbitmq")
"""Servers that have topics."""
BUSES = ("embedded", *TRANSPORTS, "rabbitmq-queues")
ROUTES, WIRES, DEAD_LETTERS = ("direct", "bus"), ("avro", "json", "protobuf"), ("stop", "table", "topic")
PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")
ROUTE_FORMATS = ("debezium", "debezium-unwrapped", "bitvelocity")
ROUTE_WIRES = ("avro", "json", "json-schema", "protobuf")
ROUTE_NAME = re.compile(r"[a-z0-9_-]{1,63}")
SLOT_NAME = re.compile(r"[a-z0-9_]{1,63}")


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    name: str = "project"
    entities: str = "entities.py"
    models: str = "models"


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """An empty `dsn` means: the embedded PostgreSQL, in `.bitvelocity/pg`."""

    dsn: str = ""
    port: int = 0
    """TCP port of the embedded server on 127.0.0.1; 0 takes a free one and keeps it."""


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    source: str = "postgres"
    """`postgres`: the WAL of [database]. `debezium`: the topics that a Debezium writes to the transport of [streams], in its
    envelope, in Avro or in JSON with schemas. A lake is filled by one of them for good."""
    topics: str = ""
    """Of Debezium: its `topic.prefix`. The topics of its tables are read: `<prefix>.<schema>.<table>`."""
    slot: str = "bitvelocity"
    publication: str = "bitvelocity"
    ddl_markers: bool = True
    """Of managed databases: an event trigger tells the stream of each change of a table, where the role may make one."""
    heal_altered: bool = True
    """Where an ALTER wrote values that the stream does not send (a default, USING), read the table again by itself."""
    cycle_ms: int = 25
    """Shortest time between two commits to the lake while the stream is level: freshness against CPU."""
    snapshot: str = "initial"
    """`initial`: an empty lake begins with the tables as they are. `never`: it begins where the slot stands, which
    must exist; for tables whose whole history is in the slot."""
    feed: str = "auto"
    """`auto`: a backlog is read through COPY, then the walsender goes on. `walsender`, `copy`: only so; where COPY cannot
    be had (standby, TLS, no free replication slot) it is the walsender in any case."""
    backlog_mb: int = 64
    """WAL that waits for us, in MB, from which on it is a backlog: at a start, or when `up` falls behind."""
    failover: bool = False
    """PostgreSQL 17 or newer: make the slot one that follows to the standby, so that capture goes on after a failover."""
    primary: str = ""
    """When [database] dsn is a standby: the DSN of its primary, for what a standby cannot do (apply, heartbeats, and the
    snapshot of running transactions that a new slot waits for)."""
    heartbeat_seconds: int = 0
    """Write a logical message this often, and measure how long the lake takes to pass it; 0 writes none."""
    silence_seconds: int = 60
    """A server that says nothing for so long, though it was asked to, is taken for lost, and a new connection is made."""
    warn_retained_mb: int = 1024
    """WAL that the source keeps for the slot, in MB: from here on `status` and `doctor` warn."""
    bad_retained_mb: int = 16_384
    """From here on they call it bad."""
    warn_lag_mb: int = 256
    """WAL that was written and is not yet in the lake, in MB: from here on they warn."""
    warn_left_mb: int = 4096
    """WAL that may still be written before the server gives the slot up (max_slot_wal_keep_size): below, they warn."""
    bad_left_mb: int = 1024
    """Below this they call it bad."""
    snapshot_readers: int = 2
    """Connections that read the first snapshot, all at one point of the source."""


@dataclass(frozen=True, slots=True)
class LakeSettings:
    path: str = ".bitvelocity/lake"
    sync: bool = True
    """fsync every commit. Without it a power cut may lose what the source was told to forget."""


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """The schema registry. Tokens stand in the environment only: `BITVELOCITY_REGISTRY_TOKEN` for those who write,
    `BITVELOCITY_REGISTRY_READ_TOKEN` for those who read."""

    url: str = ""
    """Address of a registry that serves instead of ours, such as `http://registry:8081`."""
    store: str = ""
    """DSN of a PostgreSQL that keeps the schemas; empty: the file `.bitvelocity/registry.db`."""
    port: int = 8081
    """TCP port on 127.0.0.1; 0 takes a free one."""
    register: bool = True
    """Whether who writes records may register their schemas; `false`: they must be there already."""


@dataclass(frozen=True, slots=True)
class EmbeddedBusSettings:
    """Topics in files of this machine."""

    path: str = ".bitvelocity/streams"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """An empty `bootstrap` means: the server that `bitvelocity up --with kafka` runs."""

    bootstrap: str = ""
    """Brokers to begin with, such as `kafka-1:9092,kafka-2:9092`."""
    patience_seconds: int = 30
    """A call that gets no answer for so long fails; what heals by itself is tried again."""
    client: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Settings of Kafka's C client (librdkafka) by their names, such as those of SASL and TLS: a table of its own. Its
    secrets are taken from the environment: `sasl.password = "${KAFKA_PASSWORD}"`."""


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """An empty `url` means: the server that `bitvelocity up --with nats` runs."""

    url: str = field(default="", repr=False)
    """Servers to begin with, such as `nats://nats-1:4222`; user and password go in, from the environment."""


@dataclass(frozen=True, slots=True)
class RabbitmqSettings:
    """An empty `url` means: the server that `bitvelocity up --with rabbitmq` runs."""

    url: str = field(default="", repr=False)
    """A server, such as `amqp://shop:${RABBITMQ_PASSWORD}@rabbit:5672`."""


@dataclass(frozen=True, slots=True)
class StreamsSettings:
    """Topics: which transport has them, and where it is."""

    bus: str = "embedded"
    """`embedded`: files of this machine. `kafka`, `nats`, `rabbitmq` (its streams), `rabbitmq-queues`: a server."""
    route: str = "direct"
    """`direct`: changes go from the source to the lake. `bus`: they go to topics first, and the lake reads those. It may be
    changed between two runs: nothing is lost or doubled."""
    prefix: str = "bv"
    """What the names of the topics begin with, such as `shop` in `shop.public.orders`; one project has it alone."""
    wire: str = "avro"
    """How records are written: `avro` or `protobuf`, with their schemas in the registry, or `json`."""
    dead_letters: str = "stop"
    """A record that is no change: `stop` before it, or set it apart in `bronze._dead_letters` (`table`), and on
    `<topic>.dlq` too (`topic`). Later records of its key wait with it."""
    partitions: int = 1
    """Of topics that are made; a topic that is there keeps its number."""
    replicas: int = 1
    """Copies of topics that are made, where the transport has several servers."""
    retention_hours: int = 168
    """How long topics keep records; 0 keeps all. The lake has them for good."""
    run: tuple[str, ...] = ()
    """Servers that `up` starts beside itself, as `up --with` does: `["kafka"]`."""
    embedded: EmbeddedBusSettings = field(default_factory=EmbeddedBusSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    nats: NatsSettings = field(default_factory=NatsSettings)
    rabbitmq: RabbitmqSettings = field(default_factory=RabbitmqSettings)


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Changes that go to topics beside the lake; as many `[[routes]]` as are wanted, each with a name of its own."""

    name: str = ""
    """Under which it keeps how far it is: another name begins anew."""
    entities: tuple[str, ...] = ("*",)
    """Which entities, by their names; `"*"`: all."""
    bus: str = ""
    """The transport, if it is not that of [streams]."""
    format: str = "debezium"
    """`debezium`, `debezium-unwrapped` or `bitvelocity`."""
    wire: str = "avro"
    """`avro`, `protobuf` and `json-schema` have their schemas in the registry; `json` is plain."""
    prefix: str = ""
    """Topics are called `<prefix>.<schema>.<table>`; empty: the project's name."""
    topic: str = ""
    """One topic of this name for all entities instead."""
    subjects: str = "topic"
    """What schemas are called in the registry: by `topic`, `record` or `topic-record`."""
    partitions: int = 1
    """Of topics that are made; a topic that is there keeps its number."""
    replicas: int = 1
    """Copies of topics that are made, where the transport has several servers."""
    retention_hours: int = 168
    """How long topics keep records; 0 keeps all. The lake has them for good."""
    compacted: bool = False
    """Topics keep the last record of each key, and a deletion ends it: a table's state, for as long as it lives."""
    operations: tuple[str, ...] = ("c", "u", "d", "r")
    """Which changes: inserts `c`, updates `u`, deletes `d`, truncates `t`, rows as they stood when they were read `r`."""
    start: str = "bronze"
    """A new route begins with all that `bronze` has, or with what commits from `now` on."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of the format by Debezium's names, such as `time.precision.mode = "connect"`: a table, `[routes.options]`."""
    order: str = "key"
    """`key`: changes of a row stay in their order, each once. `none`: work that may be handed out in any order, and again
    after a crash (RabbitMQ's queues)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole of `bitvelocity.toml`. `root` is the folder that it lies in."""

    root: Path
    project: ProjectSettings = field(default_factory=ProjectSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    lake: LakeSettings = field(default_factory=LakeSettings)
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    streams: StreamsSettings = field(default_factory=StreamsSettings)
    routes: tuple[RouteSettings, ...] = ()

    @property
    def entities_file(self) -> Path:
        return self.root / self.project.entities

    @property
    def models_folder(self) -> Path:
        return self.root / self.project.models

    @property
    def state_folder(self) -> Path:
        """Where the project keeps what it makes itself: the embedded server, the lake, run files."""
        return self.root / ".bitvelocity"

    @property
    def lake_folder(self) -> Path:
        return self.root / self.lake.path


def load_settings(start: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the project that holds `start`, found as git finds its folder: upwards."""
    file = find_project(start)
    try:
        raw = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: {error}", remedy="Correct the file; it is TOML.") from error
    sections = _sections(raw, file, environment)
    settings = Settings(root=file.parent, **sections)
    _check_values(settings, file)
    if dsn := environment.get("BITVELOCITY_DSN"):
        database = DatabaseSettings(dsn=dsn, port=settings.database.port)
        settings = Settings(root=file.parent, **{**sections, "database": database})
    return settings


def find_project(start: Path) -> Path:
    """The nearest `bitvelocity.toml` at or above `start`."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise SettingsError(
        f"There is no {FILE_NAME} in {start.resolve()} or above it.",
        remedy="Go into a project's folder, or make one: bitvelocity init my-shop",
    )


_Checks = dict[str, tuple[Any, Callable[[Any], object], str]]


def _source_checks(capture: CaptureSettings) -> _Checks:
    return {
        "[capture] source": (capture.source, SOURCES.__contains__, f"Write one of: {', '.join(SOURCES)}."),
        "[capture] topics": (capture.topics or capture.source == "postgres", bool, "Name Debezium's topic.prefix."),
        "[capture] slot": (capture.slot, SLOT_NAME.fullmatch, "Use 1 to 63 small letters, digits and underscores."),
        "[capture] publication": (capture.publication, bool, "Give it a name."),
    }  # fmt: skip


def _check_values(settings: Settings, file: Path) -> None:
    """Refuse here what could only fail later and elsewhere."""
    database, capture = settings.database, settings.capture
    checks: _Checks = {
        "[project] entities": (settings.project.entities, bool, "Name the file that declares the entities."),
        "[project] models": (settings.project.models, bool, "Name the folder of the models."),
        "[database] port": (database.port, range(65536).__contains__, "Give a port from 1 to 65535, or 0 for a free one."),
        **_source_checks(capture),
        "[capture] cycle_ms": (capture.cycle_ms, range(60_001).__contains__, "Give milliseconds, from 0 to 60000."),
        "[capture] snapshot": (capture.snapshot, SNAPSHOTS.__contains__, f"Write one of: {', '.join(SNAPSHOTS)}."),
        "[capture] feed": (capture.feed, FEEDS.__contains__, f"Write one of: {', '.join(FEEDS)}."),
        "[capture] heartbeat_seconds": (capture.heartbeat_seconds, range(86_401).__contains__, "Give seconds, or 0 for none."),
        "[capture] silence_seconds": (capture.silence_seconds, range(1, 86_401).__contains__, "Give seconds, from 1 on."),
        **{
            f"[capture] {name}": (getattr(capture, name), range(1 << 40).__contains__, "Give megabytes, 0 or more.")
            for name in ("backlog_mb", "warn_retained_mb", "bad_retained_mb", "warn_lag_mb", "warn_left_mb", "bad_left_mb")
        },
        "[capture] snapshot_readers": (capture.snapshot_readers, range(1, 65).__contains__, "Give a number from 1 to 64."),
        "[registry] port": (settings.registry.port, range(65536).__contains__, "Give a port from 1 to 65535, or 0 for a free one."),
        "[lake] path": (settings.lake.path, bool, "Name a folder of its own: .bitvelocity/lake"),
        "[streams] route": (settings.streams.route, ROUTES.__contains__, f"Write one of: {', '.join(ROUTES)}."),
        "[streams] dead_letters": (
            settings.streams.dead_letters, DEAD_LETTERS.__contains__, f"Write one of: {', '.join(DEAD_LETTERS)}.",
        ),
        "[streams] wire": (settings.streams.wire, WIRES.__contains__, f"Write one of: {', '.join(WIRES)}."),
        "[streams] prefix": (settings.streams.prefix, PREFIX.fullmatch, "Use letters, digits, _ and -."),
        "[streams] partitions": (settings.streams.partitions, range(1, 10_001).__contains__, "Give a number from 1 to 10000."),
        "[streams] replicas": (settings.streams.replicas, range(1, 33).__contains__, "Give a number from 1 to 32."),
        "[streams] retention_hours": (settings.streams.retention_hours, range(1_000_000).__contains__, "Give hours, or 0."),
        "[streams] bus": (settings.streams.bus, BUSES.__contains__, f"Write one of: {', '.join(BUSES)}."),
        "[streams] run": (settings.streams.run, lambda names: set(names) <= set(TRANSPORTS), f"Name some of: {', '.join(TRANSPORTS)}."),
        "[streams.embedded] path": (settings.streams.embedded.path, bool, "Name a folder of its own: .bitvelocity/streams"),
        "[streams.kafka] patience_seconds": (settings.streams.kafka.patience_seconds, range(1, 3601).__contains__, "Give seconds, from 1 to 3600."),
    }  # fmt: skip
    for route in settings.routes:
        checks |= _route_checks(route)
    names = [route.name for route in settings.routes]
    checks["[[routes]] name"] = (names, lambda found: len(set(found)) == len(found), "Give each route a name of its own.")
    for path, (value, fits, remedy) in checks.items():
        if not fits(value):
            raise SettingsError(f"{file}: {path} is {value!r}.", remedy=remedy)


def _route_checks(route: RouteSettings) -> dict[str, tuple[Any, Callable[[Any], object], str]]:
    where = f"[[routes]] {route.name}"
    words = {
        "bus": ("", *BUSES), "format": ROUTE_FORMATS, "wire": ROUTE_WIRES, "subjects": ("topic", "record", "topic-record"),
        "start": ("bronze", "now"), "order": ("key", "none"),
    }  # fmt: skip
    numbers = {"partitions": range(1, 10_001), "replicas": range(1, 100), "retention_hours": range(1_000_000)}
    return {
        "[[routes]] name": (route.name, ROUTE_NAME.fullmatch, "Give each a name of small letters, digits, - and _."),
        f"{where} entities": (route.entities, bool, 'Name entities, or write "*".'),
        f"{where} operations": (route.operations, lambda of: of and set(of) <= set("cudtr"), "Name some of: c, u, d, t, r."),
        **{
            f"{where} {name}": (getattr(route, name), known.__contains__, f"Write one of: {', '.join(filter(None, known))}.")
            for name, known in words.items()
        },
        **{
            f"{where} {name}": (getattr(route, name), known.__contains__, f"From {known.start} to {known.stop - 1}.")
            for name, known in numbers.items()
        },
    }


def _sections(raw: dict[str, Any], file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    kinds = {name: kind for name, kind in get_type_hints(Settings).items() if is_dataclass(kind)}
    for name in raw:
        if name not in kinds and name != "routes":
            raise _unknown(file, f"[{name}]", name, [*kinds, "routes"])
    routes = raw.get("routes", [])
    if not isinstance(routes, list):
        raise SettingsError(f"{file}: routes must be a list of tables.", remedy="Write each as a section: [[routes]]")
    told = [_section(RouteSettings, one, path="[[routes]]", file=file, environment=environment) for one in routes]
    return {
        name: _section(kind, raw.get(name, {}), path=f"[{name}]", file=file, environment=environment)
        for name, kind in kinds.items()
    } | {"routes": tuple(told)}


def _section(kind: Any, raw: Any, *, path: str, file: Path, environment: Mapping[str, str]) -> Any:
    if not isinstance(raw, dict):
        raise SettingsError(f"{file}: {path} must be a table.", remedy=f"Write it as a section: {path}")
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    values = {}
    for name, value in raw.items():
        if name not in known:
            raise _unknown(file, f"{path} {name}", name, known)
        inner = f"{path[:-1]}.{name}]"
        if is_dataclass(hints[name]):
            values[name] = _section(hints[name], value, path=inner, file=file, environment=environment)
        elif get_origin(hints[name]) is Mapping:
            values[name] = _texts(value, path=inner, file=file, environment=environment)
        elif get_origin(hints[name]) is tuple:
            values[name] = _list(value, f"{path} {name}", file, environment)
        else:
            values[name] = _value(hints[name], _expand(value, f"{path} {name}", environment), f"{path} {name}", file)
    return kind(**values)


def _texts(raw: Any, *, path: str, file: Path, environment: Mapping[str, str]) -> Mapping[str, str]:
    """A table of free names. TOML reads a name with dots as tables within tables: they are put together again."""
    if not isinstance(raw, dict):
        raise SettingsError(f"{file}: {path} must be a table.", remedy=f"Write it as a section: {path}")
    found: dict[str, str] = {}
    for name, value in raw.items():
        if isinstance(value, dict):
            inner = _texts(value, path=path, file=file, environment=environment)
            found.update({f"{name}.{rest}": text for rest, text in inner.items()})
        elif isinstance(value, str | int | float):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found[name] = _expand(text, f"{path} {name}", environment)
        else:
            raise SettingsError(f"{file}: {path} {name} must be a text, a number or a truth.", remedy="Write it as a text.")
    return found


def _list(value: Any, path: str, file: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise SettingsError(f"{file}: {path}: expected a list, got {type(value).__name__}.", remedy='Write ["...", "..."].')
    return tuple(_value(str, _expand(one, path, environment), path, file) for one in value)


def _value(kind: type, value: Any, path: str, file: Path) -> Any:
    if type(value) is not kind:
        raise SettingsError(
            f"{file}: {path}: expected {kind.__name__}, got {type(value).__name__}.",
            remedy=f"Give a value of type {kind.__name__}.",
        )
    return value


def _expand(value: Any, path: str, environment: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise SettingsError(
                f"{path} asks for the environment variable {name}, which is not set.",
                remedy=f"Set it: export {name}=...",
            )
        return environment[name]

    return re.sub(r"\$\{(\w+)\}", look_up, value)


def _unknown(file: Path, path: str, name: str, known: list[str]) -> SettingsError:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return SettingsError(f"{file}: {path} is not a setting.", remedy=f"{hint}Known: {', '.join(known)}.")

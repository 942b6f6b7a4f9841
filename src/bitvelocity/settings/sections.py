"""The sections of `bitvelocity.toml`, typed: what each setting is called, means, and is when nobody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
    envelope, in Avro or in JSON. A lake is filled by one of them for good."""
    topics: str = ""
    """Of Debezium: its `topic.prefix`. The topics of its tables are read: `<prefix>.<schema>.<table>`."""
    debezium: Mapping[str, str] = field(default_factory=dict)
    """Of Debezium's JSON without schemas: the connector's options that say how values are written, by their own names, such
    as `decimal.handling.mode = "string"`: a table, `[capture.debezium]`. What is not written has Debezium's default, and a value
    that could be another one by another mode is not taken."""
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
class TlsSettings:
    """Whom we trust, and what we show of ourselves, where a server is reached over TLS: settings of its own section."""

    ca: str = ""
    """File of the authorities that we trust, if they are not this machine's: PEM. Its path, and the next two, begin at the project."""
    certificate: str = ""
    """File of our own certificate, where the server asks for one: PEM."""
    key: str = ""
    """File of its key, without a password; empty: it stands in `certificate`."""


@dataclass(frozen=True, slots=True)
class RegistrySettings(TlsSettings):
    """The schema registry. Tokens stand in the environment only: `BITVELOCITY_REGISTRY_TOKEN` for those who write,
    `BITVELOCITY_REGISTRY_READ_TOKEN` for those who read."""

    url: str = ""
    """Address of a registry that serves instead of ours, such as `https://registry:8081`."""
    user: str = ""
    """Where it asks for a user, as Confluent Cloud for an API key: `BITVELOCITY_REGISTRY_TOKEN` is his password."""
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
    direct: bool = True
    """Records are read from brokers without the C client where that is possible (no Kerberos or OAuth, no snappy): a quarter of the CPU."""
    client: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Settings of Kafka's C client (librdkafka) by their names, such as those of SASL and TLS: a table of its own. Its
    secrets are taken from the environment: `sasl.password = "${KAFKA_PASSWORD}"`."""


@dataclass(frozen=True, slots=True)
class NatsSettings(TlsSettings):
    """An empty `url` means: the server that `bitvelocity up --with nats` runs."""

    url: str = field(default="", repr=False)
    """Servers to begin with, such as `nats://nats-1:4222,nats://nats-2:4222`; `tls://` says nothing without TLS, and so does `ca`."""
    user: str = ""
    """Who we are, with `password`; a `token` or a file of `credentials` instead of them."""
    password: str = field(default="", repr=False)
    """From the environment: `"${NATS_PASSWORD}"`."""
    token: str = field(default="", repr=False)
    """From the environment: `"${NATS_TOKEN}"`."""
    credentials: str = ""
    """A `.creds` file, as nsc makes it (`pip install 'nats-py[nkeys]'`). Its path begins at the project."""


@dataclass(frozen=True, slots=True)
class RabbitmqSettings(TlsSettings):
    """An empty `url` means: the server that `bitvelocity up --with rabbitmq` runs."""

    url: str = field(default="", repr=False)
    """A server, such as `amqp://rabbit:5672/vhost?stream_port=5552`; `amqps://` for TLS, where the ports are 5671 and 5551."""
    user: str = ""
    """Who we are, if that is not in `url`."""
    password: str = field(default="", repr=False)
    """From the environment: `"${RABBITMQ_PASSWORD}"`. In `url` it would need %XX for what is no letter or digit."""


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
    """How records are written, with their schemas in the registry: `avro`, `protobuf` or `json` (by JSON Schema)."""
    cloudevents: bool = True
    """Give each record the headers of CloudEvents. A client that makes an object of each header pays for them: without these
    seven, topics on Kafka come to bronze with 0.7 of the CPU."""
    packed: bool = False
    """Let a message of NATS hold many records: such topics come to bronze with a fifth of the CPU, and only this product reads
    them."""
    dead_letters: str = "stop"
    """A record that is no change: `stop` before it, or set it apart in `bronze._dead_letters` (`table`), and on
    `<topic>.dlq` too (`topic`). Later records of its key wait with it."""
    dead_letters_hours: int = 2160
    """How long those that were replayed or dropped stay in the table; 0 keeps them for good. Parked ones always stay."""
    contract: str = "types"
    """Of an entity, what a record must fit where dead letters are set apart: its `types`, or all its `rules` (NOT NULL, length,
    choices, pattern, range)."""
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
    packed: bool = False
    """Let a message of NATS hold many records: a tenth of the work, and only this product reads them. Nothing elsewhere."""
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
class ConsumerSettings:
    """Somebody who reads what this project writes, and what of it; as many `[[consumers]]` as there are. A change that would
    break one is told by `bitvelocity schema check`."""

    name: str = ""
    """Who: it stands in the answer."""
    entity: str = ""
    """What it reads, by its name."""
    topic: str = ""
    """Where it reads it, if it reads one topic and not the lake: the topic must carry the entity, with these fields."""
    fields: tuple[str, ...] = ()
    """The columns that it cannot do without, each with or without the type as which it reads it, and whether it can stand NULL:
    `"order_id"`, `"total: decimal(12,2)"`, `"placed_at: timestamptz not null"`."""


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
    consumers: tuple[ConsumerSettings, ...] = ()

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

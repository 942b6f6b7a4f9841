"""Kafka as one node (KRaft: broker and controller in one process), for development and tests."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import BusError
from .jars import java, kafka_jars, look_for_jars
from .local import Launch, Ports, Tell

FLAGS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
METADATA = struct.pack("!ihhihi", 14, 3, 1, 7, -1, 0)
"""A metadata request, version 1, of no client and for no topic."""

LOGGING = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
"""


class KafkaServer:
    """The recipe of Kafka. What was acknowledged is on the disk: there is no replica that could have it instead.

    `more` are further properties, or other values of ours; `{client}` and the like in them are ports. `formatted`: words
    for the formatting of the data folder, such as those of users. `cluster`: it is one node of the cluster of this id, whose
    voters `more` names; by itself it is alone in a cluster of its own.
    """

    name = "kafka"
    ports: Sequence[str] = ("client", "controller")

    def __init__(self, more: Mapping[str, str] | None = None, formatted: Sequence[str] = (), *, cluster: str = "") -> None:
        self._jars = Path()
        self._more, self._formatted = dict(more or {}), tuple(formatted)
        self._cluster = ["-t", cluster] if cluster else ["-t", cluster_id(), "--standalone"]

    def look(self) -> None:
        java()
        look_for_jars()

    def find(self, tell: Tell) -> None:
        java()
        self._jars = kafka_jars(tell)

    def prepare(self, folder: Path, ports: Ports) -> Launch:
        properties = folder / "server.properties"
        wanted = {**_properties(folder, ports), **{name: value.format(**ports) for name, value in self._more.items()}}
        properties.write_text("".join(f"{name}={value}\n" for name, value in wanted.items()))
        (folder / "log4j2.properties").write_text(LOGGING)
        if not (folder / "data" / "meta.properties").exists():
            self._format(properties)
        return Launch([*self._java(folder), "kafka.Kafka", str(properties)])

    def ready(self, ports: Ports) -> bool:
        """It tells of itself as a broker when it is asked for metadata."""
        with socket.create_connection(("127.0.0.1", ports["client"]), timeout=5) as connection:
            connection.sendall(METADATA)
            with connection.makefile("rb") as answer:
                head = answer.read(12)
        return len(head) == 12 and struct.unpack("!iii", head)[2] > 0

    def address(self, ports: Ports) -> str:
        return f"127.0.0.1:{ports['client']}"

    def tidy(self, folder: Path) -> None:
        """It leaves nothing behind."""

    def _java(self, folder: Path) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
        return [java(), *FLAGS, logging, "-cp", f"{self._jars}/*"]

    def _format(self, properties: Path) -> None:
        words = ["kafka.tools.StorageTool", "format", *self._cluster, "-c", str(properties), *self._formatted]
        done = subprocess.run([*self._java(properties.parent), *words], capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise BusError(
                f"Kafka could not make its data folder: {said[-1][:300]}",
                safe="Nothing was started.",
                remedy="Kafka needs Java 17 or newer (`java -version`), and room on the disk.",
                code="ServerFailed",
            )


def cluster_id() -> str:
    """A name for a cluster, as Kafka's `Uuid.randomUuid` draws one: none that begins with "-", which its tools take for an option."""
    while True:
        drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not drawn.startswith("-"):
            return drawn


def _properties(folder: Path, ports: Ports) -> dict[str, object]:
    client, controller = f"127.0.0.1:{ports['client']}", f"127.0.0.1:{ports['controller']}"
    single = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": controller,
        "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{client}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": folder / "data",
        "log.flush.interval.messages": 1,
        **{f"{topic}.replication.factor": 1 for topic in single},
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "broker.session.timeout.ms": 2000,  # how long it waits for its own predecessor when that was killed
        "broker.heartbeat.interval.ms": 250,
        "group.initial.rebalance.delay.ms": 0,
        **{f"group.consumer.{least}session.timeout.ms": 4000 for least in ("", "min.")},  # members that were killed
        **{f"group.consumer.{least}heartbeat.interval.ms": 400 for least in ("", "min.")},  # how soon others hear of it
        "auto.create.topics.enable": "false",
    }

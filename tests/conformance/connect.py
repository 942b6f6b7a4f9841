"""Kafka Connect, one worker in a process of its own, and Apicurio's registry: as recipes of local servers."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from bitvelocity.streams.servers import MISSING, LocalServer
from bitvelocity.streams.servers.local import Launch, Ports, Tell, missing

BUILD = Path(__file__).resolve().parents[1] / "java" / "build.py"
FLAGS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)
SETTINGS = {
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "offset.flush.interval.ms": "500",
    "plugin.discovery": "service_load",
    "config.providers": "env",
    "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
}
AVRO = "io.apicurio.registry.utils.converter.AvroConverter"


def commands() -> Mapping[str, Sequence[str]]:
    """The words that run Debezium's jars, and Apicurio's registry."""
    built = subprocess.run([sys.executable, str(BUILD), "registry"], capture_output=True, text=True, check=False)
    if built.returncode == 3:
        raise missing("The real Debezium cannot be run here.", built.stderr.strip())
    assert built.returncode == 0, built.stderr
    found: Mapping[str, Sequence[str]] = json.loads(built.stdout)
    return found


class Worker:
    """The recipe of Connect. `connectors` are documents as one POSTs them: its own store of them is its memory."""

    name = "connect"
    ports: Sequence[str] = ("rest",)

    def __init__(self, kafka: str, env: Mapping[str, str]) -> None:
        self._kafka, self._env = kafka, env
        self.connectors: dict[str, str] = {}
        self._words: Sequence[str] = ()

    def look(self) -> None: ...

    def find(self, tell: Tell) -> None:
        self._words = self._words or commands()["java"]

    def prepare(self, folder: Path, ports: Ports) -> Launch:
        own = {
            "bootstrap.servers": self._kafka, "offset.storage.file.filename": str(folder / "offsets"),
            "listeners": f"http://127.0.0.1:{ports['rest']}",
        }  # fmt: skip
        (folder / "worker.properties").write_text("".join(f"{name}={value}\n" for name, value in {**SETTINGS, **own}.items()))
        for name, text in self.connectors.items():
            (folder / f"{name}.json").write_text(text)
        program, *words = self._words
        files = [str(folder / "worker.properties"), *(str(folder / f"{name}.json") for name in self.connectors)]
        return Launch([program, *FLAGS, *QUIET, *words, "org.apache.kafka.connect.cli.ConnectStandalone", *files], self._env)

    def ready(self, ports: Ports) -> bool:
        """All connectors run."""
        base = f"http://127.0.0.1:{ports['rest']}/connectors"
        found = _asked(f"{base}?expand=status")
        tasks = [task for one in found.values() for task in one["status"]["tasks"]]
        failed = [task["trace"] for task in tasks if task["state"] == "FAILED"]
        assert not failed, failed[0]
        return len(tasks) == len(self.connectors) and all(task["state"] == "RUNNING" for task in tasks)

    def address(self, ports: Ports) -> str:
        return f"http://127.0.0.1:{ports['rest']}"

    def tidy(self, folder: Path) -> None:
        """It leaves nothing behind."""


class Apicurio:
    """The recipe of Apicurio's registry, which keeps schemas in its memory."""

    name = "apicurio"
    ports: Sequence[str] = ("http",)

    def __init__(self) -> None:
        self._words: Sequence[str] = ()

    def look(self) -> None: ...

    def find(self, tell: Tell) -> None:
        self._words = commands()["registry"]

    def prepare(self, folder: Path, ports: Ports) -> Launch:
        program, *words = self._words
        where = ("-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={ports['http']}")
        return Launch([program, *FLAGS, *where, *words])

    def ready(self, ports: Ports) -> bool:
        return _asked(f"{self.address(ports)}/apis/ccompat/v7/subjects") is not None

    def address(self, ports: Ports) -> str:
        return f"http://127.0.0.1:{ports['http']}"

    def tidy(self, folder: Path) -> None:
        """It leaves nothing behind."""


def _asked(url: str) -> dict[str, dict[str, dict[str, list[dict[str, str]]]]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: dict[str, dict[str, dict[str, list[dict[str, str]]]]] = json.loads(answer.read())
    except urllib.error.HTTPError as error:  # which is an OSError: not ready yet
        error.close()
        raise
    return found


__all__ = ["AVRO", "MISSING", "Apicurio", "LocalServer", "Worker"]

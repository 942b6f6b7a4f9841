"""The real Debezium as a peer of the benches: its engine, embedded in a Java program of ours (tests/java/Peer.java)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shop import Shop

BUILD = Path(__file__).resolve().parents[1] / "tests" / "java" / "build.py"
PASSWORD = "of-the-bench"
JVM = ("-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error")


def java() -> list[str]:
    """The words before the name of a class; ends the bench when there is no Java."""
    built = subprocess.run([sys.executable, str(BUILD)], capture_output=True, text=True, check=False)
    if built.returncode:
        sys.exit(built.stderr)
    program, *words = json.loads(built.stdout)["java"]
    return [program, *JVM, *words]


def role(shop: Shop) -> None:
    """A role that a JDBC driver can log in with."""
    shop.sql(f"create role debezium login superuser replication password '{PASSWORD}'")


def properties(shop: Shop, slot: str, offsets: Path, **more: str) -> dict[str, str]:
    """Debezium's plain configuration for a slot that exists, JSON without schemas; `more` has _ for the dots."""
    return {
        "name": "peer",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(offsets),
        "offset.flush.interval.ms": "0",
        "database.hostname": "127.0.0.1",
        "database.port": str(shop.server.port),
        "database.user": "debezium",
        "database.password": PASSWORD,
        "database.dbname": "postgres",
        "topic.prefix": "bench",
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": "bitvelocity",
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        **{name.replace("_", "."): value for name, value in more.items()},
    }


def start(mode: str, out: Path, settings: Mapping[str, str]) -> subprocess.Popen[str]:
    """The engine, running."""
    engine = subprocess.Popen(
        [*java(), "Peer", mode, str(out)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert engine.stdin is not None
    engine.stdin.write("".join(f"{name}={value}\n" for name, value in settings.items()))
    engine.stdin.close()
    engine.stdin = None
    return engine


def finish(engine: subprocess.Popen[str], code: int = 0) -> dict[str, Any]:
    """Wait for its end; what it says of itself."""
    told, complaint = engine.communicate()
    if engine.returncode != code:
        sys.exit(f"Debezium ended with {engine.returncode}:\n{complaint}")
    return dict(json.loads(told.splitlines()[-1])) if told else {}

"""Debezium in a worker of Kafka Connect, over a real Kafka, into the lake: as people run it, killed on both sides.

One worker has two connectors for the same tables, as `bitvelocity debezium-config` makes them: one writes JSON, without schemas
at first and with them later, one Avro by Apicurio's converter and registry. Each fills a lake of its own.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo
from tests.conformance.conftest import PASSWORD
from tests.conformance.connect import AVRO, MISSING, Apicurio, LocalServer, Worker
from tests.conformance.servers import needed
from tests.forked import started

from bitvelocity.errors import BusError
from bitvelocity.flow import (
    DebeziumWish,
    Project,
    debezium_config,
    diagnose,
    open_project,
    open_reader,
    prepare,
    status,
)
from bitvelocity.lakehouse import read_watermark
from bitvelocity.oltp import connect
from bitvelocity.serving import ask

pytestmark = pytest.mark.any_postgres
ENTITIES = '''
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Numeric

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
    name: str | None
    price: Annotated[Decimal | None, Numeric(12, 3)]
    made: date | None
    at: datetime | None
    good: bool | None

class Part(Entity, table="parts", name="parts", audit=False):
    """A part of a thing."""

    id: Annotated[int, Key()]
    thing_id: int
    note: str | None
'''
COLUMNS = {"things": "id, name, price::varchar, made::varchar, epoch_us(\"at\"), good", "parts": "id, thing_id, note"}
PATIENCE_S = 60.0


@dataclass
class World:
    """A database, the worker that captures it twice, and a lake for each."""

    dsn: str
    worker: LocalServer
    recipe: Worker
    registry: str
    json: Project
    avro: Project

    def write(self, first: int, count: int, *, copy: bool = True) -> None:
        """Transactions over both tables: new rows, changed rows and keys, deletes; and a COPY, many rows at one LSN.

        Not before Debezium is killed: it may lose rows of a COPY then, by itself (bench/debezium_copy_loss.py).
        """
        with connect(self.dsn, autocommit=True) as connection:
            for number in range(first, first + count):
                with connection.transaction():
                    words = [number, f"näme {number}", number * 1.125, number % 2 == 0]
                    connection.execute("insert into things values (%s, %s, %s, '2026-02-03', now(), %s)", words)
                    connection.execute("insert into parts select %s * 10 + i, %s, 'p' from generate_series(0, 4) i", [number, number])
                    if number % 3 == 0:
                        connection.execute("update things set price = null, name = repeat('x', 3000) where id = %s", [number])
                    if number % 5 == 0:
                        connection.execute("delete from parts where thing_id = %s and id %% 2 = 0", [number])
                    if number % 7 == 0:
                        connection.execute("update parts set id = -id where id = %s", [number * 10 + 1])
            if not copy:
                return
            with connection.cursor().copy("copy parts (id, thing_id, note) from stdin") as copying:
                for number in range(40):
                    copying.write_row((1_000_000 + first * 1000 + number, first, None))

    def tell(self, name: str, document: str) -> None:
        """Another configuration for a connector that is level: it stops in good order, and goes on with that."""
        words = json.dumps(json.loads(document)["config"]).encode()
        url = f"{self.worker.address}/connectors/{name}/config"
        urllib.request.urlopen(urllib.request.Request(url, words, {"Content-Type": "application/json"}, method="PUT"), timeout=30).close()

    def source(self, table: str) -> list[tuple[Any, ...]]:
        told = COLUMNS[table].replace("epoch_us(\"at\")", "(extract(epoch from \"at\") * 1000000)::bigint")
        with connect(self.dsn) as connection:
            return connection.execute(f"select {told} from {table} order by id").fetchall()


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bv-apicurio-", ignore_cleanup_errors=True) as folder:
        server = LocalServer(Apicurio(), Path(folder))
        try:
            server.start()
        except BusError as error:
            if error.code != MISSING or needed("java"):
                raise
            pytest.skip(f"the real Debezium cannot be run here: {error.remedy}")
        yield server.address
        server.stop()


@pytest.fixture
def world(registry: str, kafka_server: LocalServer, over_tcp: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("BITVELOCITY_DSN", over_tcp)
    prefix = f"{conninfo.conninfo_to_dict(over_tcp)['dbname']}_{os.getpid()}"
    made = {wire: lake(open_folder / wire, f"{prefix}_{wire}", kafka_server.address, registry) for wire in ("json", "avro")}
    prepare(made["json"], over_tcp)
    recipe = Worker(kafka_server.address, {"DEBEZIUM_PASSWORD": PASSWORD})
    for wire, project in made.items():
        recipe.connectors[wire] = connector(project, wire, registry)
    worker = LocalServer(recipe, open_folder / "connect")
    yield World(over_tcp, worker, recipe, registry, **made)
    worker.stop()


def lake(folder: Path, prefix: str, kafka: str, registry: str) -> Project:
    folder.mkdir()
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "bitvelocity.toml").write_text(
        f'[capture]\nsource = "debezium"\ntopics = "{prefix}"\n[capture.debezium]\ndecimal.handling.mode = "string"\n[lake]\nsync = false\n[streams]\nbus = "kafka"\n'
        f'[streams.kafka]\nbootstrap = "{kafka}"\n[registry]\nurl = "{registry}/apis/ccompat/v7"\n'
    )
    return open_project(folder)


FRAMED = {"headers.enabled": "false", "id-handler": "io.apicurio.registry.serde.Legacy4ByteIdHandler"}
"""Schemas are named in front of values, as Confluent's converter does it, and not in headers."""


def connector(project: Project, wire: str, registry: str, how: Mapping[str, str] = FRAMED, *, schemas: bool = False) -> str:
    """As `bitvelocity debezium-config --form connect` makes it, with what the page names for each converter."""
    own = {"topic.creation.default.partitions": "2", "topic.creation.default.replication.factor": "1",
           "slot.name": f"debezium_{wire}", "heartbeat.interval.ms": "1000"}  # fmt: skip
    if wire == "json":
        own |= {f"{part}.converter.schemas.enable": str(schemas).lower() for part in ("key", "value")}
    else:
        own |= {"decimal.handling.mode": "precise", "schema.name.adjustment.mode": "avro"}
        for part in ("key", "value"):
            own |= {f"{part}.converter": AVRO} | {
                f"{part}.converter.apicurio.registry.{name}": value
                for name, value in {"url": f"{registry}/apis/registry/v2", "auto-register": "true", "use-id": "contentId", **how}.items()
            }
    wish = DebeziumWish(form="connect", topic_prefix=project.settings.capture.topics, more=own)
    return json.dumps(json.loads(debezium_config(project, wish)) | {"name": wire})


def rows(project: Project, sql: str) -> list[tuple[Any, ...]]:
    if read_watermark(project.lake) is None:
        return []
    with open_reader(project) as reader:
        return [tuple(row.values()) for row in ask(reader, sql).as_dicts()]


class Up:
    """`bitvelocity up` on a lake, and on the same again after it was killed."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self._folder = project, folder
        folder.mkdir()
        self.start()

    def start(self) -> None:
        self._process = started("-m", "bitvelocity", "up", "--project", str(self.project.root), into=str(self._folder))

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def assert_level(self, world: World) -> None:
        """Each table of the lake comes to hold what the source holds."""
        deadline = time.monotonic() + PATIENCE_S
        for table, columns in COLUMNS.items():
            wanted = world.source(table)
            while (found := rows(self.project, f"select {columns} from silver.{table} order by id")) != wanted:
                assert self._process.is_alive(), (self._folder / "err").read_text()
                assert time.monotonic() < deadline, f"{table}: {len(found)} rows, {len(wanted)} in the source"
                time.sleep(0.2)

    def assert_once(self) -> None:
        """Each change is in bronze once: no place and no row's version stands there twice."""
        for table in COLUMNS:
            versions = f"select count(*) from (select distinct * exclude (_lsn, _ordinal) from bronze.{table})"
            counts = f"select count(*), count(distinct (_lsn, _ordinal)), ({versions}) from bronze.{table}"
            assert len(set(rows(self.project, counts)[0])) == 1


    def assert_told(self) -> None:
        """Status counts no record that is not taken, and doctor finds all in order."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := status(self.project)).way is None or found.way.heartbeat_age is None:
            assert time.monotonic() < deadline, "no heartbeat of Debezium"
        assert found.level
        assert {lag.records for lag in found.way.lags} == {0}
        assert {one.name: one.state for one in diagnose(self.project.root) if one.state != "ok"} == {}


@pytest.fixture
def lakes(world: World, open_folder: Path) -> Iterator[list[Up]]:
    """Both lakes, being filled."""
    made = [Up(project, open_folder / f"of-{project.root.name}") for project in (world.json, world.avro)]
    yield made
    for one in made:
        one.kill()


def test_json_and_avro_fill_the_lake_whoever_is_killed(world: World, lakes: list[Up]) -> None:
    world.write(1, 30)
    world.worker.start()
    for one in lakes:
        one.assert_level(world)
    world.write(100, 30, copy=False)
    for one in lakes:
        one.kill()
    world.worker.kill()
    world.write(200, 30)
    for one in lakes:
        one.start()
    world.worker.start()
    world.write(300, 10)
    for one in lakes:
        one.assert_level(world)
        one.assert_once()
    world.tell("avro", connector(world.avro, "avro", world.registry, {}))  # Apicurio's own way, in headers
    world.tell("json", connector(world.json, "json", world.registry, schemas=True))
    world.write(400, 10)
    for one in lakes:
        one.assert_level(world)
        one.assert_once()
        one.assert_told()

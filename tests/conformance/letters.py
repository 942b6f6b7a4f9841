"""A shop whose changes go over a bus, and what can be put on its topics that is no change."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
from tests.conformance.buses import whole
from tests.forked import FORKS

from bitvelocity.flow import Pipeline, Project, open_bus, open_project, open_reader, prepare
from bitvelocity.flow.carrying import Carrier
from bitvelocity.oltp import connect
from bitvelocity.serving import ask
from bitvelocity.streams import PLACE_HEADER, PLACED_SCHEMA, Bus, parse_place

ENTITIES = '''
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Numeric, Pattern

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
    name: Annotated[str | None, Pattern("[A-Za-z]+")]
    price: Annotated[Decimal | None, Numeric(6, 2)]
'''


def name_at(folder: Path) -> str:
    """Slot and prefix of its topics: a server that others use too has no others of that name."""
    return f"letters_{folder.name.lower().replace('-', '_')}"


def project_at(folder: Path, dsn: str, dead_letters: str, more: str = "", *, entities: str = ENTITIES) -> Project:
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "entities.py").write_text(entities)
    name = name_at(folder)
    (folder / "bitvelocity.toml").write_text(
        f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "{name}"\n[lake]\nsync = false\n'
        f'[streams]\nroute = "bus"\nprefix = "{name}"\ndead_letters = "{dead_letters}"\n{more}\n'
    )
    return open_project(folder)


def _live(root: Path, last: str, patience: float) -> None:
    def fault(step: str) -> None:
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    project = open_project(root)
    with Pipeline(project, at=fault) as pipeline:
        pipeline.connect(project.settings.database.dsn)
        pipeline.start()
        pipeline.step(patience)


class Shop:
    """A project whose changes a carrier puts on the bus when it is told to."""

    def __init__(self, folder: Path, dsn: str, more: str = "", *, entities: str = ENTITIES) -> None:
        self._folder, self._dsn, self._more = folder, dsn, more
        self.topic = f"{name_at(folder)}.public.things"
        self.project = project_at(folder, dsn, "table", more, entities=entities)
        prepare(self.project, dsn)
        self._patience = 1.0 if more else 0.0
        """How long a transport that is not our own is waited for."""
        self._carrier = Carrier(self.project)
        self._carrier.connect(dsn)
        self.bus: Bus = open_bus(self.project.settings)

    def set(self, dead_letters: str, more: str = "") -> None:
        self.project = project_at(self._folder, self._dsn, dead_letters, more or self._more)

    def write(self, *statements: str) -> None:
        before = self._end()
        with connect(self._dsn) as connection:
            for statement in statements:
                connection.execute(statement)
        while self._end() == before:
            self._carrier.step(0.05)

    def _end(self) -> int:
        return self.bus.spans(self.topic)[0].end if self.topic in self.bus.topics() else 0

    def records(self) -> list[dict[str, Any]]:
        return whole(self.bus, self.topic, 0).to_pylist()

    def spoil(self, value: bytes, key: bytes | None) -> None:
        """Put a record with a place behind the last one. It is in no count of a boundary."""
        last = self.records()[-1]
        self._publish(value, key, dict(last["headers"]), further=0)

    def poison(self, like: int) -> None:
        """Put a change behind the last one that can be read, and not be written: its absent columns are no JSON."""
        records = self.records()
        headers = dict(records[-1]["headers"])
        op, lsn, xid, ordinal, *rest = headers["bv-change"].decode().split("/")
        headers |= {"bv-change": "/".join([op, lsn, xid, str(int(ordinal) + 1), *rest]).encode(), "bv-absent": b"no JSON"}
        self._publish(records[like]["value"], records[like]["key"], headers, further=1)

    def _publish(self, value: bytes, key: bytes | None, headers: dict[str, bytes], *, further: int) -> None:
        lsn, ordinal, step = parse_place(headers.pop(PLACE_HEADER))
        place = {"lsn": lsn, "ordinal": ordinal + further, "step": step + 1 - further}
        row = {"key": key, "value": value, "headers": list(headers.items()), "timestamp": 0, **place}
        publisher = self.bus.publisher("other")
        publisher.publish({self.topic: pa.Table.from_pylist([row], schema=PLACED_SCHEMA)})
        publisher.close()

    def flow(self, at: Any = lambda _: None) -> None:
        with Pipeline(self.project, at=at) as pipeline:
            self.step(pipeline)

    def step(self, pipeline: Pipeline) -> None:
        pipeline.connect(self._dsn)
        pipeline.start()
        pipeline.step(self._patience)

    def flow_killed(self, step: str) -> bool:
        """In a process of its own, which ends itself by `kill -9` at that step; whether it came to it."""
        process = FORKS.Process(target=_live, args=(self.project.root, step, self._patience))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), (step, process.exitcode)
        return process.exitcode != 0

    def ask(self, query: str) -> list[dict[str, Any]]:
        with open_reader(self.project) as reader:
            return ask(reader, query).as_dicts()

    def letters(self, columns: str = "code") -> list[Any]:
        rows = self.ask(f'select {columns} from bronze._dead_letters order by "offset"')
        return [tuple(row.values()) if "," in columns else row[columns] for row in rows]

    def names(self) -> dict[int, str]:
        return {row["id"]: row["name"] for row in self.ask("select id, name from silver.things order by id")}

    def close(self) -> None:
        self._carrier.close()
        self.bus.close()

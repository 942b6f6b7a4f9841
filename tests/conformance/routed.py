"""A small project whose changes may go over a bus, people who write to it, and what its lake must be then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bitvelocity.errors import BitVelocityError
from bitvelocity.flow import Database, Project, open_project, open_reader, prepare, prove, supervise
from bitvelocity.flow.companion import beside
from bitvelocity.oltp import connect
from bitvelocity.serving import ask

ENTITIES = '''
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Numeric, Reference

class Thing(Entity, table="things", name="things"):
    """A thing."""

    id: Annotated[int, Key()]
    name: str | None
    price: Annotated[Decimal | None, Numeric(12, 3)]

class Part(Entity, table="parts", name="parts", audit=False):
    """A part of a thing."""

    id: Annotated[int, Key()]
    thing_id: int
    note: str | None
'''
MODEL = """-- model: parts_of
-- key: thing_id
-- columns:
--   thing_id  bigint
--   n         bigint
select thing_id, count(*) as n from silver.parts group by thing_id
"""


def make(folder: Path, dsn: str) -> Project:
    """A project on a database of its own, with the route `bus`."""
    (folder / "models").mkdir(parents=True)
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "models" / "parts_of.sql").write_text(MODEL)
    return routed(folder, dsn, "bus")


def routed(folder: Path, dsn: str, route: str, wire: str = "avro", *, prefix: str = "shop", more: str = "") -> Project:
    slot = f"route_{folder.parent.name.lower().replace('-', '_')}"
    (folder / "bitvelocity.toml").write_text(
        f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "{slot}"\n[lake]\nsync = false\n'
        f'[streams]\nroute = "{route}"\nprefix = "{prefix}"\npartitions = 3\nwire = "{wire}"\n{more}'
    )
    return open_project(folder)


@contextmanager
def running(project: Project) -> Iterator[Callable[[], None]]:
    """`up`, in a thread."""
    told: list[BitVelocityError] = []
    database = Database(project.settings.database.dsn)
    prepare(project, database.dsn)
    with beside("up", lambda stop: supervise(project, database, stop, trouble=lambda error, _: told.append(error))) as check:
        yield check
    check()
    assert not told


def write(project: Project, first: int, count: int = 50) -> None:
    with connect(project.settings.database.dsn) as connection:
        for number in range(first, first + count):
            with connection.transaction():
                connection.execute("insert into things (id, name, price) values (%s, %s, %s)", [number, f"n{number}", number])
                connection.execute("insert into parts select %s * 10 + i, %s, 'p' from generate_series(0, 4) i", [number, number])
            if number % 3 == 0:
                connection.execute("update things set price = 'NaN', name = null where id = %s", [number])
            if number % 5 == 0:
                connection.execute("delete from parts where thing_id = %s and id %% 2 = 0", [number])
            if number % 7 == 0:
                connection.execute("update parts set id = -id where id = %s", [number * 10 + 1])
            connection.commit()


def proved(project: Project, check: Callable[[], None]) -> int:
    verdict = prove(project, Database(project.settings.database.dsn), check)
    assert verdict.ok, verdict.as_dict()
    return verdict.lsn


def counted(project: Project, entity: str) -> tuple[int, int]:
    with open_reader(project) as reader:
        row = ask(reader, f"select count(*) as n, count(distinct (_lsn, _ordinal)) as places from bronze.{entity}").as_dicts()[0]
    return row["n"], row["places"]

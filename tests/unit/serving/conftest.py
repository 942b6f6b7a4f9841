"""A lake with a few lives in it, made the long way from a real database, which is gone when the questions come."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from psycopg import conninfo, sql
from tests.conftest import create_database, drop_slots

from bitvelocity.flow import Database, Project, flowing, open_project, open_reader, prepare, wait_until
from bitvelocity.lakehouse import LakeReader
from bitvelocity.oltp import Server, audit, connect

ENTITIES = '''
from datetime import date
from typing import Annotated
from uuid import UUID
from bitvelocity.contracts import Entity, Key, Length

class Person(Entity, table="people", name="people", audit=False):
    """Somebody."""

    id: Annotated[UUID, Key()]
    name: str

class Visit(Entity, table="visits", name="visits", audit=False):
    """Somebody came somewhere."""

    place: Annotated[str, Length(4, fixed=True), Key()]
    day: Annotated[date, Key()]
    person: UUID | None
    note: str | None

class Log(Entity, table="log", name="log", audit=False, key=()):
    """Lines that nothing tells apart."""

    line: str | None
'''
MODELS = {
    "visit_facts": """-- model: visit_facts
-- key: place, day
-- columns:
--   place  text
--   day    date
--   name   text
select v.place, v.day, p.name from silver.visits v left join silver.people p on p.id = v.person
""",
    "per_day": """-- model: per_day
-- key: day
-- columns:
--   day    date
--   visits bigint
select day, count(*) as visits from gold.visit_facts group by day
""",
}
ADA, BEN = "0b9c1f0e-3d5c-4f6e-9a57-1f1d2a3b4c5d", "5d4c3b2a-1d1f-47a5-9e6f-4c5d0b9c1f0e"
DAYS = (
    ("anna", "import", f"insert into people values ('{ADA}', 'Ada'), ('{BEN}', 'Ben')"),
    ("anna", "desk", f"insert into visits values ('ab', '2024-02-29', '{ADA}', null), ('abcd', '2024-02-29', '{BEN}', null)"),
    ("ben", "desk", "update visits set note = 'loud' where place = 'ab'"),
    (None, None, "update visits set day = '2024-03-01' where place = 'ab'"),
    ("carl", None, "delete from visits where place = 'abcd'"),
    ("carl", None, f"insert into visits values ('abcd', '2024-02-29', '{ADA}', 'again')"),
    (None, None, "insert into log values ('a line'), ('a line')"),
)


_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def project(postgres: Server) -> Iterator[Project]:
    name = f"visits_{os.getpid()}_{next(_numbers)}"
    with tempfile.TemporaryDirectory() as folder, connect(postgres.dsn, autocommit=True) as admin:
        create_database(admin, name)
        made = write_project(Path(folder), conninfo.make_conninfo(postgres.dsn, dbname=name), slot=name)
        fill(made)
        drop_slots(postgres.dsn, name)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        yield made


def write_project(folder: Path, dsn: str, slot: str) -> Project:
    (folder / "models").mkdir()
    for name, text in MODELS.items():
        (folder / "models" / f"{name}.sql").write_text(text)
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "bitvelocity.toml").write_text(f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "{slot}"\n')
    return open_project(folder)


def fill(project: Project) -> None:
    dsn = project.settings.database.dsn
    prepare(project, dsn)
    with connect(dsn, autocommit=True) as connection, flowing(project, Database(dsn)) as check:
        wait_until(project, 0, check)
        for user, source, statement in DAYS:
            context = audit(connection, user=user, source=source) if user else nullcontext()
            with connection.transaction(), context:
                connection.execute(statement.encode())
        row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row
        connection.execute("select pg_logical_emit_message(true, 'the end', '')")
        wait_until(project, int(row[0]), check)


@pytest.fixture
def reader(project: Project) -> Iterator[LakeReader]:
    with open_reader(project) as opened:
        yield opened

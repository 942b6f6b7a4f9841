"""A database to break: two tables, one of them partitioned, published as capture wants it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import conninfo

from bitvelocity.contracts import EntitySpec
from bitvelocity.oltp import adopt, connect, prepare_capture
from bitvelocity.oltp.checks import Check, Limits, Wanted, look

TABLES = """
create table orders (id int primary key, code text not null, note text);
create table moves (id int, area int, primary key (id, area)) partition by list (area);
create table moves_1 partition of moves for values in (1);
create table moves_2 partition of moves for values in (2);
"""


@dataclass
class Patient:
    """A source with its entities, and a role that is not a superuser."""

    dsn: str
    role: str
    specs: Sequence[EntitySpec]

    def run(self, script: str) -> None:
        """Statements as a person pastes them: one after the other, the `begin; ...; commit;` of a script as it says."""
        with connect(self.dsn, autocommit=True) as admin:
            for statement in re.split(r";\s*", script):
                if statement.strip():
                    admin.execute(statement.encode())

    def one(self, query: str) -> Any:
        with connect(self.dsn, autocommit=True) as admin:
            return (admin.execute(query.encode()).fetchone() or [None])[0]

    def look(self, *, as_role: bool = False, **options: Any) -> list[Check]:
        wanted = Wanted(**{"specs": self.specs, "publication": "bitvelocity", "slot": self.slot, "begun": True, **options})
        return look(conninfo.make_conninfo(self.dsn, user=self.role, password="r") if as_role else self.dsn, wanted)

    def find(self, name: str, **options: Any) -> list[Check]:
        """What a check found fault with."""
        return [check for check in self.look(**options) if check.name == name and check.state != "ok"]

    @property
    def slot(self) -> str:
        return f"slot_{self.role}"


MakePatient = Callable[[str], Patient]
STRICT = Limits(retained_bytes=0, open_seconds=0.0)


@pytest.fixture
def patient(database: str) -> Iterator[Patient]:
    with connect(database, autocommit=True) as admin:
        admin.execute(TABLES)
        specs = adopt(database).specs
        prepare_capture(database, specs)
        role = f"reader_{admin.info.dbname}"
        admin.execute(f"create role {role} login replication password 'r'".encode())
        admin.execute(f"grant select on all tables in schema public to {role}".encode())
        try:
            yield Patient(database, role, specs)
        finally:
            admin.execute("alter system reset all")
            admin.execute("select pg_reload_conf()")
            admin.execute(f"drop owned by {role}".encode())
            admin.execute(f"drop role {role}".encode())

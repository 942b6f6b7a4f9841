"""Projects for the commands to fail on, and the one way in which a command must fail."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo, sql
from tests.conftest import create_database, drop_slots

from bitvelocity.cli import main
from bitvelocity.flow import Database, open_project, prepare, reconcile
from bitvelocity.oltp import Server, connect

SECRET = "s3cret-of-the-test"
ENTITIES = '''
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Length

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
    name: Annotated[str | None, Length(40)]
'''
MODEL = """-- model: counted
-- key: name
-- columns:
--   name  text
--   n     bigint
select name, count(*) as n from silver.things group by name
"""
Fails = Callable[..., dict[str, Any]]
MakeProject = Callable[..., Path]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_numbers = itertools.count(1)


@pytest.fixture
def make_project(open_folder: Path) -> MakeProject:
    """`make_project(dsn, more=)`: one entity, one model, an empty lake; `more` ends its settings."""
    return lambda dsn="", more="": write_project(open_folder / "project", dsn, more)


@pytest.fixture(scope="module")
def asked(postgres: Server) -> Iterator[Path]:
    """A project with three things in its lake. Its database is gone: a question needs the lake only."""
    name = f"asked_{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder, connect(postgres.dsn, autocommit=True) as admin:
        create_database(admin, name)
        dsn = conninfo.make_conninfo(postgres.dsn, dbname=name)
        project = open_project(write_project(Path(folder) / "project", dsn))
        prepare(project, dsn)
        with connect(dsn) as connection:
            connection.execute("insert into things values (1, 'spoon'), (2, 'spoon'), (3, 'fork')")
        assert reconcile(project, Database(dsn)).ok
        drop_slots(postgres.dsn, name)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        yield project.root


def write_project(folder: Path, dsn: str, more: str = "") -> Path:
    """The small project, with a slot of its own."""
    (folder / "models").mkdir(parents=True)
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "models" / "counted.sql").write_text(MODEL)
    slot = f"slot_{os.getpid()}_{next(_numbers)}"
    (folder / "bitvelocity.toml").write_text(f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "{slot}"\n{more}\n')
    return folder


@pytest.fixture(scope="session")
def fails() -> Fails:
    """Run a command that must fail, for a person and with `--json`; the error as data, when both say it well.

    Exit code 1, a sentence and a remedy; no traceback, no secret, and on standard output nothing but the document.
    `alone`: the person's command is a process of its own, as in life; else, for speed, it runs in this one.
    """

    def run(*words: str, cwd: Path, env: dict[str, str] | None = None, alone: bool = False) -> dict[str, Any]:
        person = (_alone if alone else _here)([*words], cwd, env or {})
        program = _here([*words, "--json"], cwd, env or {})
        told = f"{person}{program}"
        assert (person.code, program.code) == (1, 1), told
        assert "Traceback" not in told, told
        assert SECRET not in told, told
        error: dict[str, Any] = json.loads(program.out)
        assert error["what"].strip()
        assert error["remedy"], error
        assert person.err.startswith("error: "), person.err
        assert "Remedy: " in person.err, person.err
        return error

    return run


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it said."""

    code: object
    out: str
    err: str


def _alone(words: list[str], cwd: Path, env: dict[str, str]) -> Ended:
    command = [sys.executable, "-m", "bitvelocity", *words]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def _here(words: list[str], cwd: Path, env: dict[str, str]) -> Ended:
    out, err, handlers = io.StringIO(), io.StringIO(), {number: signal.getsignal(number) for number in SIGNALS}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        for name, value in env.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as left:
            main(words)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return Ended(left.value.code, out.getvalue(), err.getvalue())
